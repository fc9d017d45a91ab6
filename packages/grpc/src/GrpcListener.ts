/**
 * Where a server listens.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { Duplex } from "node:stream"
import { type GrpcCredentials, insecure } from "./GrpcCredentials.ts"

/**
 * A place to listen at.
 *
 * @category models
 * @since 0.1.0
 */
export type GrpcListener = Tcp | Unix | Fd | Systemd | Injected

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
  readonly reusePort: boolean
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
  readonly uid: number | undefined
  readonly gid: number | undefined
  readonly takeover: boolean
  readonly credentials: GrpcCredentials
}

/**
 * A socket that this process inherited, by the number of its descriptor.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fd {
  readonly _tag: "Fd"
  readonly fd: number
  readonly credentials: GrpcCredentials
}

/**
 * A socket that systemd passed to this process.
 *
 * @category models
 * @since 0.1.0
 */
export interface Systemd {
  readonly _tag: "Systemd"
  readonly name: string | undefined
  readonly index: number | undefined
  readonly credentials: GrpcCredentials
}

/**
 * Connections that the program itself has made or accepted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Injected {
  readonly _tag: "Injected"
  readonly name: string
  readonly start: (inject: (connection: Connection) => void) => () => void
  readonly credentials: GrpcCredentials
}

/**
 * A connection: a `net.Socket`, or another duplex stream of bytes that counts what it has read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection extends Duplex {
  /** How many bytes have come from the client. */
  readonly bytesRead: number
  /** The address of the client, by which `GrpcLimits` counts. */
  readonly remoteAddress?: string | undefined
}

/**
 * Where a listener is bound. An inherited Unix socket is known by its path on Linux, elsewhere by its descriptor only.
 *
 * @category models
 * @since 0.1.0
 */
export type Address =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }
  | { readonly _tag: "Fd"; readonly fd: number }
  | { readonly _tag: "Injected"; readonly name: string }

/**
 * Why a server does not listen:
 *
 * - `AddressInUse`: another process listens there. A live Unix socket is taken over only by one that says `takeover`, a port
 *   shared only if both say `reusePort`.
 * - `AddressNotAvailable`: no interface of this machine has the address.
 * - `HostNotFound`: the host name cannot be resolved.
 * - `PermissionDenied`: a low port, a directory that must not be written to, or an owner that a socket must not be given to.
 * - `MissingDirectory`: the directory of the socket file does not exist.
 * - `PathTooLong`: the kernel's limit for socket paths, 107 bytes on Linux and 103 on macOS.
 * - `NotASocket`: the path is taken by something that is not a socket.
 * - `InvalidAddress`: a port that is no port, an empty path.
 * - `InvalidPermissions`: a `mode`, `uid` or `gid` of a Unix socket that is none.
 * - `InvalidDescriptor`: an inherited descriptor that is not open or no socket that can listen, or that does not exist
 *   under the name or index that was asked for.
 * - `NotActivated`: systemd passed no sockets to this process.
 * - `NotSupported`: this platform or version of Node has no `reusePort`.
 * - `InvalidCredentials`: a key or certificate that is not there, cannot be read or do not belong together.
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
  | "InvalidPermissions"
  | "InvalidDescriptor"
  | "NotActivated"
  | "NotSupported"
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
 * With `reusePort` several processes of one user can listen at one port, if all of them say so; the system spreads new
 * connections over them. For a handover: the successor listens, and then the predecessor is told to stop. Linux, FreeBSD and
 * some others have it; macOS and Windows have not.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tcp = (
  options: {
    readonly port: number
    readonly host?: string | undefined
    readonly reusePort?: boolean | undefined
    readonly credentials?: GrpcCredentials | undefined
  }
): GrpcListener => ({
  _tag: "Tcp",
  host: options.host,
  port: options.port,
  reusePort: options.reusePort ?? false,
  credentials: options.credentials ?? insecure
})

/**
 * Listens on a Unix socket.
 *
 * **Details**
 *
 * The socket is bound under a private name in the same directory and then moved to its path, so that the path never leads
 * to a socket that does not listen yet or has other permissions than `mode` and another owner than `uid` and `gid` (default:
 * as the umask says, and this process's own). A stale file is replaced; a live socket is not taken over, unless `takeover`
 * says so. When the server stops, the path is free at once, before the drain: a successor can listen while this server
 * drains, and its file is left alone.
 *
 * `mode` is from 0 to `0o777` (octal: `0o660`, not `660`), `uid` and `gid` are whole numbers from 0 to 4294967294. With others
 * the server fails with `InvalidPermissions`, and where this process may not give the socket away, with `PermissionDenied`;
 * nothing is bound then.
 *
 * With `takeover` the socket is moved to its path in one step whoever listens there: there is no moment without one. For a
 * handover: the successor listens, and then the predecessor is told to stop. In this order: the predecessor looks whether the
 * file is still its own and then removes it, which are two steps.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unix = (
  path: string,
  options?: {
    readonly mode?: number | undefined
    readonly uid?: number | undefined
    readonly gid?: number | undefined
    readonly takeover?: boolean | undefined
    readonly credentials?: GrpcCredentials | undefined
  }
): GrpcListener => ({
  _tag: "Unix",
  path,
  mode: options?.mode,
  uid: options?.uid,
  gid: options?.gid,
  takeover: options?.takeover ?? false,
  credentials: options?.credentials ?? insecure
})

/**
 * Listens on a bound socket, TCP or Unix, that this process inherited.
 *
 * **Details**
 *
 * The server closes the descriptor when it stops, and nothing else: whoever passed the socket may still listen on it, so the
 * file of a Unix socket is not removed, and connections that come meanwhile wait for the next process.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fd = (
  fd: number,
  options?: { readonly credentials?: GrpcCredentials | undefined }
): GrpcListener => ({ _tag: "Fd", fd, credentials: options?.credentials ?? insecure })

/**
 * Listens on a socket that systemd passed to this process (socket activation, `sd_listen_fds`), as {@link fd} does.
 *
 * **Details**
 *
 * Without options it is the only one. Of several it is that of the `name` (`FileDescriptorName=`), or the one at `index`,
 * counted from 0 among those of the name, in the order of the unit file. Read when the listener is bound, from `LISTEN_PID`,
 * `LISTEN_FDS` and `LISTEN_FDNAMES`. `LISTEN_PID` must be this process: `ExecStart=` runs node itself, not npm or a shell.
 *
 * @category constructors
 * @since 0.1.0
 */
export const systemd = (
  options?: {
    readonly name?: string | undefined
    readonly index?: number | undefined
    readonly credentials?: GrpcCredentials | undefined
  }
): GrpcListener => ({
  _tag: "Systemd",
  name: options?.name,
  index: options?.index,
  credentials: options?.credentials ?? insecure
})

/**
 * Takes connections from the program itself: from memory in a test, from a tunnel or a proxy protocol.
 *
 * **Details**
 *
 * `start` is called when the listener is bound, with a function that hands a connection to the server; `name` is for logs. The
 * function that `start` returns is called once, when the listener closes: from then on the source makes no more connections,
 * and one that is handed over all the same is destroyed. The server owns its connections: it limits them and sends them the
 * GOAWAY as any other, and destroys them in the end.
 *
 * **Example** (The connections of a server that is not this library's)
 *
 * ```ts
 * import * as GrpcListener from "@lastcall/grpc/GrpcListener"
 * import type { Server } from "node:net"
 *
 * export const from = (server: Server) =>
 *   GrpcListener.injected("proxy", {
 *     start(inject) {
 *       server.on("connection", inject)
 *       return () => void server.off("connection", inject)
 *     }
 *   })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const injected = (
  name: string,
  options: {
    readonly start: (inject: (connection: Connection) => void) => () => void
    readonly credentials?: GrpcCredentials | undefined
  }
): GrpcListener => ({
  _tag: "Injected",
  name,
  start: options.start,
  credentials: options.credentials ?? insecure
})

/**
 * The listener in words, as errors and logs name it.
 *
 * @category rendering
 * @since 0.1.0
 */
export const describe = (listener: GrpcListener | Address): string => {
  switch (listener._tag) {
    case "Tcp":
      return `${bracketed(listener.host ?? "*")}:${listener.port}`
    case "Unix":
      return `unix:${listener.path}`
    case "Fd":
      return `fd:${listener.fd}`
    case "Systemd":
      return `systemd:${listener.name ?? "*"}${listener.index === undefined ? "" : `[${listener.index}]`}`
    case "Injected":
      return `injected:${listener.name}`
  }
}

/**
 * The gRPC target that a client on this machine dials: `127.0.0.1:50051`, `[::1]:50051` or `unix:/run/app.sock`. The
 * wildcard addresses become loopback. An address of which only the descriptor or a name is known has none: `fd:3` cannot be
 * dialled.
 *
 * @category rendering
 * @since 0.1.0
 */
export const target = (address: Address): string => {
  if (address._tag !== "Tcp") return describe(address)
  const host = address.host === "0.0.0.0" || address.host === "::" ? "127.0.0.1" : address.host
  return `${bracketed(host)}:${address.port}`
}

const bracketed = (host: string): string => host.includes(":") ? `[${host}]` : host
