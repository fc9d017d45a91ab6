/** What a test needs to know of the machine's sockets and directories. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"

/** Connects: the socket, or the code of the error. */
export const connect = (
  to: { readonly port: number; readonly host?: string } | { readonly path: string }
): Effect.Effect<net.Socket, string | undefined, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<net.Socket, string | undefined>((resume) => {
      const socket = net.connect({ host: "127.0.0.1", ...to })
      socket.once("connect", () => resume(Effect.succeed(socket)))
      socket.on("error", (cause: NodeJS.ErrnoException) => resume(Effect.fail(cause.code)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Whether nobody accepts connections there. */
export const isFree = (
  to: { readonly port: number; readonly host?: string } | { readonly path: string }
): Effect.Effect<boolean> =>
  Effect.scoped(connect(to)).pipe(
    Effect.as(false),
    Effect.catch((code) => Effect.succeed(code === "ECONNREFUSED" || code === "ENOENT"))
  )

/** A port of 127.0.0.1 that was free a moment ago. */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** An empty directory of the test's own. */
export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "lastcall-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** Leaves a socket file behind as a killed process does. */
export const leaveStale = (file: string): void => {
  const script =
    "require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))"
  spawnSync(process.execPath, ["-e", script, file])
  if (!fs.lstatSync(file).isSocket()) throw new Error("no stale socket was left")
}

/** A network before a server: connections reach it at once, bytes of clients only when it thaws. */
export const frozenNetwork = (
  to: number
): Effect.Effect<{ readonly port: number; readonly thaw: () => void }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly thaw: () => void; readonly close: () => void }>((resume) => {
      const sockets = new Set<net.Socket>()
      let waiting: Array<() => void> | undefined = []
      const network = net.createServer((client) => {
        const server = net.connect({ port: to, host: "127.0.0.1" })
        for (const [socket, other] of [[client, server], [server, client]] as const) {
          sockets.add(socket)
          socket.on("error", () => other.destroy())
          socket.on("close", () => other.destroy())
        }
        server.pipe(client)
        const flow = () => client.pipe(server)
        if (waiting === undefined) flow()
        else waiting.push(flow)
      }).listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          port: (network.address() as net.AddressInfo).port,
          thaw() {
            const flows = waiting
            waiting = undefined
            for (const flow of flows ?? []) flow()
          },
          close() {
            network.close()
            for (const socket of sockets) socket.destroy()
          }
        })))
    }),
    ({ close }) => Effect.sync(close)
  )

/** The sockets that this process makes from now on as a client. */
export const made: Effect.Effect<ReadonlyArray<net.Socket>, never, Scope.Scope> = Effect.gen(function*() {
  const sockets: Array<net.Socket> = []
  const listener = (message: unknown) => void sockets.push((message as { readonly socket: net.Socket }).socket)
  yield* Effect.acquireRelease(
    Effect.sync(() => subscribe("net.client.socket", listener)),
    () => Effect.sync(() => unsubscribe("net.client.socket", listener))
  )
  return sockets
})
