/**
 * Where a server listens.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { type GrpcCredentials, insecure } from "./GrpcCredentials.ts"

/**
 * A place to listen at.
 *
 * @category models
 * @since 0.1.0
 */
export type GrpcListener = Tcp | Unix

/**
 * A TCP port.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tcp {
  readonly _tag: "Tcp"
  readonly host: string | undefined
  readonly port: number
  readonly credentials: GrpcCredentials
}

/**
 * A Unix socket.
 *
 * @category models
 * @since 0.1.0
 */
export interface Unix {
  readonly _tag: "Unix"
  readonly path: string
  readonly mode: number | undefined
  readonly credentials: GrpcCredentials
}

/**
 * Where a listener is bound.
 *
 * @category models
 * @since 0.1.0
 */
export type Address =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

/**
 * Why a server does not listen:
 *
 * - `AddressInUse`: another process listens there. A live Unix socket is never taken over.
 * - `AddressNotAvailable`: no interface of this machine has the address.
 * - `HostNotFound`: the host name cannot be resolved.
 * - `PermissionDenied`: a low port, or a directory that must not be written to.
 * - `MissingDirectory`: the directory of the socket file does not exist.
 * - `PathTooLong`: the kernel's limit for socket paths, 107 bytes on Linux and 103 on macOS.
 * - `NotASocket`: the path is taken by something that is not a socket.
 * - `InvalidAddress`: a port that is no port, an empty path.
 * - `InvalidCredentials`: a key or certificate that cannot be read or do not belong together.
 * - `ServerStopped`: the server is stopping or has stopped.
 * - `Unknown`: anything else; see `cause`.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason =
  | "AddressInUse"
  | "AddressNotAvailable"
  | "HostNotFound"
  | "PermissionDenied"
  | "MissingDirectory"
  | "PathTooLong"
  | "NotASocket"
  | "InvalidAddress"
  | "InvalidCredentials"
  | "ServerStopped"
  | "Unknown"

/**
 * A server could not listen.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrpcListenerError extends Data.TaggedError("GrpcListenerError")<{
  readonly reason: Reason
  readonly listener: GrpcListener
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `cannot listen on ${describe(this.listener)}: ${this.detail} (${this.reason})`
  }
}

/**
 * Listens on a TCP port.
 *
 * **Details**
 *
 * Port 0 asks the system for a free port; the bound address says which. Without `host` it listens on all interfaces, IPv6
 * and IPv4 (dual stack) where the machine has IPv6. Default credentials: none, plaintext.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tcp = (
  options: {
    readonly port: number
    readonly host?: string | undefined
    readonly credentials?: GrpcCredentials | undefined
  }
): GrpcListener => ({
  _tag: "Tcp",
  host: options.host,
  port: options.port,
  credentials: options.credentials ?? insecure
})

/**
 * Listens on a Unix socket.
 *
 * **Details**
 *
 * The socket is bound under a private name in the same directory and then moved to its path, so that the path never leads
 * to a socket that does not listen yet or has other permissions than `mode` (default: as the umask says). A stale file is
 * replaced; a live socket is not taken over. When the server stops, the path is free at once, before the drain: a successor
 * can listen while this server drains, and its file is left alone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unix = (
  path: string,
  options?: { readonly mode?: number | undefined; readonly credentials?: GrpcCredentials | undefined }
): GrpcListener => ({
  _tag: "Unix",
  path,
  mode: options?.mode,
  credentials: options?.credentials ?? insecure
})

/**
 * The listener in words, as errors and logs name it.
 *
 * @category rendering
 * @since 0.1.0
 */
export const describe = (listener: GrpcListener | Address): string =>
  listener._tag === "Unix" ? `unix:${listener.path}` : `${bracketed(listener.host ?? "*")}:${listener.port}`

/**
 * The gRPC target that a client on this machine dials: `127.0.0.1:50051`, `[::1]:50051` or `unix:/run/app.sock`. The
 * wildcard addresses become loopback.
 *
 * @category rendering
 * @since 0.1.0
 */
export const target = (address: Address): string => {
  if (address._tag === "Unix") return `unix:${address.path}`
  const host = address.host === "0.0.0.0" || address.host === "::" ? "127.0.0.1" : address.host
  return `${bracketed(host)}:${address.port}`
}

const bracketed = (host: string): string => host.includes(":") ? `[${host}]` : host
