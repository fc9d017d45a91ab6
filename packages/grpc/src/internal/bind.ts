/** Binding a `net.Server` to its listener's address, and giving the address back. */
import * as Effect from "effect/Effect"
import type { AddressInfo, ListenOptions, Server } from "node:net"
import {
  type Address,
  type Connection,
  type GrpcListener,
  GrpcListenerError,
  type Injected,
  type Reason,
  type Tcp
} from "../GrpcListener.ts"
import { bindFd, bindSystemd } from "./inheritedSocket.ts"
import { bindUnix } from "./unixSocket.ts"

/** A bound listener. `release` frees the address at once; it is synchronous and harmless to repeat. */
export interface Bound {
  readonly address: Address
  readonly release: () => void
}

const reasons: { readonly [code: string]: readonly [Reason, string] } = {
  EADDRINUSE: ["AddressInUse", "another process listens there"],
  EAFNOSUPPORT: ["AddressNotAvailable", "this machine has no addresses of this family"],
  EADDRNOTAVAIL: ["AddressNotAvailable", "no interface of this machine has this address"],
  EACCES: ["PermissionDenied", "permission denied"],
  EPERM: ["PermissionDenied", "permission denied"],
  EROFS: ["PermissionDenied", "the file system is read-only"],
  ENOTFOUND: ["HostNotFound", "the host name cannot be resolved"],
  EAI_AGAIN: ["HostNotFound", "the host name cannot be resolved now"],
  ENAMETOOLONG: ["PathTooLong", "the path is too long for a socket"],
  ERR_SOCKET_BAD_PORT: ["InvalidAddress", "the port must be a whole number from 0 to 65535"]
}

export const listenerError = (listener: GrpcListener, cause: unknown): GrpcListenerError => {
  const { code, message } = cause as { readonly code?: string; readonly message?: string }
  const [reason, detail] = reasons[code ?? ""] ?? ["Unknown" as const, message ?? String(cause)]
  return new GrpcListenerError({ reason, listener, detail, cause })
}

/**
 * Listens. A bind cannot be called back: when it is interrupted, the server is closed as soon as it listens.
 */
export const listen = (
  server: Server,
  options: ListenOptions | { readonly fd: number },
  toError: (cause: unknown) => GrpcListenerError
): Effect.Effect<void, GrpcListenerError> =>
  Effect.callback((resume) => {
    const onError = (cause: unknown) => {
      server.off("listening", onListening)
      resume(Effect.fail(toError(cause)))
    }
    const onListening = () => {
      server.off("error", onError)
      resume(Effect.void)
    }
    server.once("error", onError)
    server.once("listening", onListening)
    try {
      server.listen(options)
    } catch (cause) {
      server.off("error", onError)
      onError(cause)
    }
    return Effect.sync(() => {
      server.off("listening", onListening)
      server.once("listening", () => server.close())
      if (server.listening) server.close()
    })
  })

/** Node 23.0 does not know the option, and would bind the port for itself. */
const hasReusePort = !process.versions.node.startsWith("23.0.")

const isNotSupported = (cause: unknown): boolean =>
  ["ENOTSUP", "EOPNOTSUPP", "ENOPROTOOPT"].includes((cause as { readonly code?: string }).code ?? "")

const bindTcp = (server: Server, listener: Tcp, restore: Restore): Effect.Effect<Bound, GrpcListenerError> => {
  const { host, port, reusePort } = listener
  const notSupported = () =>
    new GrpcListenerError({
      reason: "NotSupported",
      listener,
      detail: "this platform or version of Node cannot share a port (reusePort)"
    })
  if (reusePort && !hasReusePort) return Effect.fail(notSupported())
  // Resolving the host may take long.
  return Effect.map(
    restore(listen(
      server,
      { port, ...(host === undefined ? {} : { host }), ...(reusePort ? { reusePort } : {}) },
      (cause) => reusePort && isNotSupported(cause) ? notSupported() : listenerError(listener, cause)
    )),
    () => {
      const { address, port } = server.address() as AddressInfo
      return { address: { _tag: "Tcp", host: address, port }, release: () => server.close() }
    }
  )
}

/** The server does not listen: it is told of the connections as Node tells it of those that it accepts. */
const bindInjected = (server: Server, listener: Injected): Effect.Effect<Bound, GrpcListenerError> =>
  Effect.try({
    try(): Bound {
      let isReleased = false
      const stop = listener.start((connection: Connection) => {
        // One that has closed meanwhile never says so again.
        if (connection.destroyed) return
        if (isReleased) connection.destroy()
        else server.emit("connection", connection)
      })
      return {
        address: { _tag: "Injected", name: listener.name },
        release() {
          if (isReleased) return
          isReleased = true
          stop()
        }
      }
    },
    catch: (cause) => listenerError(listener, cause)
  })

/** Makes a part of an uninterruptible effect interruptible. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The caller is not interruptible, so that what is bound is not lost; `restore` makes the parts that may wait so. */
export const bind = (
  server: Server,
  listener: GrpcListener,
  restore: Restore
): Effect.Effect<Bound, GrpcListenerError> => {
  switch (listener._tag) {
    case "Tcp":
      return bindTcp(server, listener, restore)
    case "Unix":
      return bindUnix(server, listener)
    case "Fd":
      return bindFd(server, listener, listener.fd)
    case "Systemd":
      return bindSystemd(server, listener)
    case "Injected":
      return bindInjected(server, listener)
  }
}
