/** A free TCP port that the system gives to no one else while a replica restarts. */
import * as Effect from "effect/Effect"
import * as net from "node:net"

/** Below the ports that Linux and macOS give to outgoing connections. */
const first = 20_000
const count = 5_000

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const server = net.createServer()
    server.on("error", () => resume(Effect.succeed(false)))
    server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.succeed(true))))
  })

/** Two lanes never find the same port. */
export const find = (lane: 0 | 1): Effect.Effect<number> =>
  Effect.suspend(() => {
    const port = first + 2 * Math.floor(Math.random() * count) + lane
    return Effect.flatMap(isFree(port), (free) => free ? Effect.succeed(port) : find(lane))
  })
