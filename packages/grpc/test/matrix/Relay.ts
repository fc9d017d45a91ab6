/** A network between a client and a server that can freeze: connections stay open, and nothing gets through. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

export interface Relay {
  /** What to dial instead of the server. */
  readonly target: string
  readonly freeze: () => void
  /** How many bytes the client has sent. */
  readonly sentBytes: () => number
}

const destination = (target: string): net.NetConnectOpts => {
  if (target.startsWith("unix:")) return { path: target.slice("unix:".length) }
  const [host, port] = target.split(":")
  return { host: host!, port: Number(port) }
}

/** Before a server that listens at `target`; on a Unix socket at `file` if the server is on one. */
export const make = (target: string, file: string): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = new Set<net.Socket>()
    let isFrozen = false
    let sentBytes = 0
    const pass = (from: net.Socket, to: net.Socket, onBytes: (bytes: number) => void): void => {
      sockets.add(from)
      from.on("data", (chunk) => {
        if (isFrozen) return
        onBytes(chunk.length)
        to.write(chunk)
      })
      from.on("end", () => isFrozen || to.end())
      from.on("error", () => to.destroy())
      from.on("close", () => to.destroy())
    }
    const network = net.createServer({ allowHalfOpen: true }, (client) => {
      const server = net.connect({ ...destination(target), allowHalfOpen: true })
      pass(client, server, (bytes) => sentBytes += bytes)
      pass(server, client, () => {})
    })
    const isUnix = target.startsWith("unix:")
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        const listening = () => resume(Effect.void)
        if (isUnix) network.listen(file, listening)
        else network.listen(0, "127.0.0.1", listening)
      }),
      () =>
        Effect.sync(() => {
          network.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    return {
      sentBytes: () => sentBytes,
      target: isUnix ? `unix:${file}` : `127.0.0.1:${(network.address() as net.AddressInfo).port}`,
      freeze() {
        isFrozen = true
      }
    }
  })
