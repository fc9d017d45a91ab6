/** TCP ports that the system gives to no one else while a replica restarts. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** Below the ports that Linux and macOS give to outgoing connections. */
const first = 25_000
const count = 5_000

/** Binds a port that is free, and holds it for the scope: the next one is another. */
const hold: Effect.Effect<number, never, Scope.Scope> = Effect.suspend(() => {
  const port = first + Math.floor(Math.random() * count)
  return Effect.acquireRelease(
    Effect.callback<net.Server, "taken">((resume) => {
      const server = net.createServer()
      server.once("error", () => resume(Effect.fail("taken")))
      server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
      })
  ).pipe(Effect.as(port), Effect.catch(() => hold))
})

/** So many ports, all different, that were free a moment ago. */
export const find = (count: number): Effect.Effect<ReadonlyArray<number>> =>
  Effect.scoped(Effect.forEach(Array.from({ length: count }), () => hold))
