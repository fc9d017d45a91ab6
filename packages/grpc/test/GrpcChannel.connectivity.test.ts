import { assert, describe, it } from "@effect/vitest"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import * as net from "node:net"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

const reconnect = { initialBackoff: 5, maxBackoff: 10 }

describe("the state of a channel", () => {
  it.live("is a value and a stream, from idle to shut down", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const { channel, close, echo } = yield* open({ address: target })
      assert.strictEqual(channel.state(), "IDLE")
      const seen: Array<GrpcChannel.State> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(channel.states, (state) => Effect.sync(() => seen.push(state))),
        { startImmediately: true }
      )
      yield* EchoServer.until("the first is seen", () => seen.length === 1)
      yield* echo.say({ text: "" })
      assert.strictEqual(channel.state(), "READY")
      yield* close
      yield* Fiber.join(watching)
      assert.deepStrictEqual(seen, ["IDLE", "CONNECTING", "READY", "SHUTDOWN"])
      assert.deepStrictEqual(yield* Stream.runCollect(channel.states), ["SHUTDOWN"])
    }))

  it.live("awaitReady connects; a channel that is ready is so at once", () =>
    Effect.gen(function*() {
      const { server, target } = yield* EchoServer.make()
      const { channel } = yield* open({ address: target })
      assert.strictEqual(server.connections(), 0)
      yield* channel.awaitReady
      assert.strictEqual(channel.state(), "READY")
      assert.strictEqual(server.connections(), 1)
      yield* channel.awaitReady
    }))

  it.live("awaitReady waits for a server that is not there yet, and for one that comes back", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = `${directory}/api.sock`
      const { channel } = yield* open({ address: GrpcChannel.unix(file), reconnect })
      const waiting = yield* Effect.forkChild(channel.awaitReady)
      yield* EchoServer.until("there is no server", () => channel.state() === "TRANSIENT_FAILURE")
      assert.isUndefined(waiting.pollUnsafe())
      const first = yield* EchoServer.make({}, { listen: GrpcListener.unix(file) })
      yield* Fiber.join(waiting)
      yield* first.close
      yield* EchoServer.until("it is gone", () => channel.state() !== "READY")
      const again = yield* Effect.forkChild(channel.awaitReady)
      const second = yield* EchoServer.make({}, { listen: GrpcListener.unix(file) })
      yield* Fiber.join(again)
      assert.strictEqual(second.server.connections(), 1)
    }))

  it.live("awaitReady fails when the channel has stopped, and connects nothing then", () =>
    Effect.gen(function*() {
      const made = yield* Sockets.made
      const directory = yield* Sockets.directory
      const { channel, close } = yield* open({
        address: GrpcChannel.unix(`${directory}/no.sock`),
        name: "api",
        reconnect
      })
      const waiting = yield* Effect.forkChild(Effect.flip(channel.awaitReady))
      yield* EchoServer.until("there is no server", () => channel.state() === "TRANSIENT_FAILURE")
      yield* close
      assert.deepInclude(yield* Fiber.join(waiting), { code: "UNAVAILABLE", message: "api was stopped" })
      const before = made.length
      assert.strictEqual((yield* Effect.flip(channel.awaitReady)).code, "UNAVAILABLE")
      assert.strictEqual(channel.state(), "SHUTDOWN")
      assert.lengthOf(made, before)
    }))

  it.live("awaitReady is interruptible", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const { channel } = yield* open({ address: GrpcChannel.unix(`${directory}/no.sock`) })
      assert.strictEqual((yield* Effect.exit(Effect.timeout(channel.awaitReady, 20)))._tag, "Failure")
    }))
})

describe("options", () => {
  it.live("reconnect: how long the pauses are", () =>
    Effect.gen(function*() {
      const slow = yield* refusing
      const fast = yield* refusing
      const patient = yield* open({
        address: slow.target,
        reconnect: { initialBackoff: "1 hour", maxBackoff: "2 hours" }
      })
      yield* Effect.forkChild(Effect.ignore(patient.channel.awaitReady))
      yield* EchoServer.until("it was tried", () => slow.attempts() === 1)
      const eager = yield* open({ address: fast.target, reconnect: { initialBackoff: 5, maxBackoff: 5 } })
      yield* Effect.forkChild(Effect.ignore(eager.channel.awaitReady))
      yield* EchoServer.until("it was tried often", () => fast.attempts() === 20)
      assert.strictEqual(slow.attempts(), 1)
    }))

  it.live("idleTimeout: a channel without RPCs is idle, and serves the next one", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const { channel, echo } = yield* open({ address: target, idleTimeout: "1 second" })
      yield* echo.say({ text: "" })
      yield* EchoServer.until("it is idle", () => channel.state() === "IDLE")
      assert.strictEqual((yield* echo.say({ text: "again" })).text, "again")
    }))

  it.live("userAgent and authority: what the server is told", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({
        say: () =>
          Effect.map(GrpcCall, ({ authority, metadata }) => ({
            text: `${authority} ${GrpcMetadata.get(metadata, "user-agent")}`
          }))
      })
      const { echo } = yield* open({ address: target, userAgent: "shop/1.2 (test)", authority: "api.example" })
      assert.match((yield* echo.say({ text: "" })).text, /^api\.example shop\/1\.2 \(test\) grpc-node-js\/\S+$/)
      const plain = yield* open({ address: target })
      assert.match((yield* plain.echo.say({ text: "" })).text, /^127\.0\.0\.1:\d+ grpc-node-js\/\S+$/)
    }))

  it.live("compression: requests are smaller on the wire", () =>
    Effect.gen(function*() {
      const { port } = yield* EchoServer.make({ say: ({ text }) => Effect.succeed({ text: String(text.length) }) })
      const sizes: Array<number> = []
      for (const compression of [undefined, "gzip", "deflate"] as const) {
        let received = 0
        const proxy = yield* forward(port, (bytes) => received += bytes)
        const { close, echo } = yield* open({ address: `127.0.0.1:${proxy}`, compression })
        assert.strictEqual((yield* echo.say({ text: "x".repeat(50_000) })).text, "50000")
        yield* close
        sizes.push(received)
      }
      assert.isAbove(sizes[0]!, 50_000)
      assert.isBelow(sizes[1]!, 5_000)
      assert.isBelow(sizes[2]!, 5_000)
    }))

  it.live("receiveWindowBytes: the server is told", () =>
    Effect.gen(function*() {
      const window = yield* Effect.acquireRelease(
        Effect.callback<{ readonly server: http2.Http2Server; readonly told: Array<number | undefined> }>((resume) => {
          const told: Array<number | undefined> = []
          const server = http2.createServer()
          server.on("session", (session) => {
            session.on("error", () => {})
            session.on("remoteSettings", ({ initialWindowSize }) => told.push(initialWindowSize))
          })
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, told })))
        }),
        ({ server }) => Effect.sync(() => server.close())
      )
      const { port } = window.server.address() as net.AddressInfo
      const { channel, close } = yield* open({ address: `127.0.0.1:${port}`, receiveWindowBytes: 1_000_000 })
      yield* channel.awaitReady
      yield* EchoServer.until("it was told", () => window.told.length > 0)
      assert.deepStrictEqual(window.told, [1_000_000])
      yield* close
    }))

  it.live("httpProxy: the proxy of the environment is used, unless not", () =>
    Effect.gen(function*() {
      const { port, server } = yield* EchoServer.make()
      const connects: Array<string> = []
      const proxy = yield* connectProxy((target) => connects.push(target), port)
      const made = yield* Sockets.made
      yield* Effect.acquireRelease(
        Effect.sync(() => process.env.grpc_proxy = `http://127.0.0.1:${proxy}`),
        () => Effect.sync(() => delete process.env.grpc_proxy)
      )
      const { close, echo } = yield* open({ address: "dns:///api.invalid:443" })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
      assert.deepStrictEqual(connects, ["api.invalid:443"])
      yield* close
      yield* EchoServer.until("no connection is left", () => server.connections() === 0)
      const direct = yield* open({ address: `127.0.0.1:${port}`, httpProxy: false })
      assert.strictEqual((yield* direct.echo.say({ text: "hello" })).text, "hello")
      assert.lengthOf(connects, 1)
      yield* direct.close
      yield* EchoServer.until("none is open", () => made.every(({ destroyed }) => destroyed))
    }))
})

/** Accepts connections and closes them at once. */
const refusing = Effect.map(
  Effect.acquireRelease(
    Effect.callback<{ readonly server: net.Server; readonly attempts: () => number }>((resume) => {
      let attempts = 0
      const server = net.createServer((socket) => {
        attempts++
        socket.destroy()
      }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, attempts: () => attempts })))
    }),
    ({ server }) => Effect.sync(() => server.close())
  ),
  ({ attempts, server }) => ({ target: `127.0.0.1:${(server.address() as net.AddressInfo).port}`, attempts })
)

/** Forwards connections to a port, and tells what clients send. */
const forward = (to: number, onBytes: (bytes: number) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: net.Server; readonly sockets: Set<net.Socket> }>((resume) => {
        const sockets = new Set<net.Socket>()
        const server = net.createServer((client) => {
          const behind = net.connect(to, "127.0.0.1")
          for (const [socket, other] of [[client, behind], [behind, client]] as const) {
            sockets.add(socket)
            socket.on("error", () => other.destroy())
            socket.on("close", () => other.destroy())
            socket.pipe(other)
          }
          client.on("data", (data) => onBytes(data.length))
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ server }) => (server.address() as net.AddressInfo).port
  )

/** An HTTP proxy for CONNECT, which takes every name for this machine. */
const connectProxy = (onConnect: (target: string) => void, to: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: net.Server; readonly sockets: Set<net.Socket> }>((resume) => {
        const sockets = new Set<net.Socket>()
        const server = net.createServer((client) => {
          sockets.add(client)
          client.on("error", () => {})
          client.once("data", (head) => {
            onConnect(/^CONNECT (\S+) /.exec(head.toString("latin1"))![1]!)
            const behind = net.connect(to, "127.0.0.1", () => {
              client.write("HTTP/1.1 200 OK\r\n\r\n")
              client.pipe(behind).pipe(client)
            })
            sockets.add(behind)
            behind.on("error", () => client.destroy())
            behind.on("close", () => client.destroy())
            client.on("close", () => behind.destroy())
          })
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ server }) => (server.address() as net.AddressInfo).port
  )
