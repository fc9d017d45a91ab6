import { assert, describe, it } from "@effect/vitest"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as net from "node:net"
import * as path from "node:path"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

/** Accepts connections at a path, and keeps them. */
const listen = (path: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: net.Server; readonly sockets: Array<net.Socket> }>((resume) => {
      const sockets: Array<net.Socket> = []
      const server = net.createServer({ allowHalfOpen: true }, (socket) => {
        sockets.push(socket)
        socket.on("error", () => {})
        socket.resume()
        // An empty SETTINGS frame: an HTTP/2 client takes it for a connection.
        socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
      }).listen(path, () => resume(Effect.succeed({ server, sockets })))
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  )

describe("no connection outlives its channel", () => {
  it.live("one that is made after a backoff, when the channel has long been closed", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "late.sock")
      const made = yield* Sockets.made
      const { channel, close, echo } = yield* open({
        address: GrpcChannel.unix(file),
        // Its policy asks for the connection again while the backoff runs.
        loadBalancing: "round_robin",
        reconnect: { initialBackoff: 400, maxBackoff: 400 },
        stop: { grace: 0 }
      })
      const saying = yield* Effect.forkChild(Effect.exit(echo.say({ text: "" }, { waitForReady: true })))
      yield* EchoServer.until("it backs off", () => channel.state() === "TRANSIENT_FAILURE")
      const before = made.length
      yield* close
      yield* Fiber.join(saying)
      assert.strictEqual(channel.state(), "SHUTDOWN")
      const { sockets } = yield* listen(file)
      yield* EchoServer.until("grpc-js connects all the same", () => made.length > before)
      yield* EchoServer.until("none is open", () => made.every(({ destroyed }) => destroyed))
      yield* EventLoop.turns(10)
      assert.isTrue(made.every(({ destroyed }) => destroyed))
      yield* EchoServer.until("the peer sees it", () =>
        sockets.every(({ destroyed, readableEnded }) => destroyed || readableEnded))
    }))

  it.live.prop(
    "whenever its scope closes: while it resolves, connects, says hello, serves, backs off",
    {
      turns: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
      policy: Schema.Literals(["pick_first", "round_robin"]),
      rpc: Schema.Boolean,
      isThere: Schema.Boolean
    },
    ({ isThere, policy, rpc, turns: wait }) =>
      Effect.gen(function*() {
        const made = yield* Sockets.made
        const { port, server } = yield* EchoServer.make()
        const directory = yield* Sockets.directory
        const file = path.join(directory, "nobody.sock")
        const { channel, close, echo } = yield* open({
          address: isThere ? GrpcChannel.dns("localhost", port) : GrpcChannel.unix(file),
          loadBalancing: policy,
          reconnect: { initialBackoff: 1, maxBackoff: 2 },
          stop: { grace: 0 }
        })
        const using = yield* Effect.forkChild(Effect.exit(rpc ? echo.say({ text: "" }) : channel.awaitReady))
        yield* EventLoop.turns(wait)
        yield* close
        yield* Fiber.join(using)
        const { sockets } = yield* listen(file)
        yield* EventLoop.turns(20)
        yield* EchoServer.until("none is open", () => made.every(({ destroyed }) => destroyed))
        yield* EchoServer.until("the server has none", () => server.connections() === 0)
        yield* EchoServer.until("the peer sees it", () =>
          sockets.every(({ destroyed, readableEnded }) => destroyed || readableEnded))
      }),
    { arbitrary: { runs: 60 }, timeout: 30_000 }
  )

  it.live("of many channels that are closed at the same moment", () =>
    Effect.gen(function*() {
      const made = yield* Sockets.made
      const { server, target } = yield* EchoServer.make({}, {
        listen: GrpcListener.tcp({ port: 0, host: "127.0.0.1" })
      })
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, i) => i),
        (i) =>
          Effect.gen(function*() {
            const { channel, close } = yield* open({ address: target, stop: { grace: 0 } })
            const connecting = yield* Effect.forkChild(Effect.exit(channel.awaitReady))
            yield* EventLoop.turns(i % 8)
            yield* close
            yield* Fiber.join(connecting)
          }),
        { concurrency: "unbounded" }
      )
      yield* EchoServer.until("none is open", () => made.every(({ destroyed }) => destroyed))
      yield* EchoServer.until("the server has none", () => server.connections() === 0)
    }))
})
