import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as net from "node:net"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Peer from "./Peer.ts"

const connect = (port: number) =>
  Effect.callback<"connected" | string | undefined>((resume) => {
    const socket = net.connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed("connected"))
    })
    socket.once("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code)))
  })

const connected = (server: EchoServer.EchoServer, n: number) =>
  EchoServer.until(`the server has ${n} connections`, () => server.server.connections() === n)

describe("connections", () => {
  it.live("scenario 1: a new connection after the drain began is refused, while what is in flight runs on", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({ say: ({ text }) => Effect.as(gate.pass, { text }) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
      assert.strictEqual(yield* connect(server.port), "ECONNREFUSED")
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      yield* Fiber.join(closing)
    }))

  it.live("a new RPC on an old connection goes elsewhere: with nobody else there it is UNAVAILABLE, never lost", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({ say: ({ text }) => Effect.as(gate.pass, { text }) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
      const late = yield* Effect.flip(EchoClient.say(client, "late"))
      assert.strictEqual(late.code, grpc.status.UNAVAILABLE)
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, succeeded: 1, refused: 0 })
    }))

  it.live("scenario 2: connections that race the stop are closed in order, not reset, and the stop ends", () =>
    Effect.gen(function*() {
      const errors: Array<string | undefined> = []
      const server = yield* EchoServer.make()
      const sockets = Array.from({ length: 20 }, () => {
        const socket = net.connect({ port: server.port, host: "127.0.0.1" })
        socket.on("error", (error: NodeJS.ErrnoException) => errors.push(error.code))
        socket.resume()
        return socket
      })
      const report = yield* server.close
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(server.server.connections(), 0)
      yield* EchoServer.until("every peer sees its connection closed", () => sockets.every(({ closed }) => closed))
      assert.deepStrictEqual(errors, [])
    }))

  it.effect("scenario 6: a peer that never ACKs, never closes and keeps its half of TCP open is destroyed after a linger", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const peer = yield* Peer.make(server.port, Peer.preface)
      yield* EchoServer.until("the session is up", () => peer.received().length > 0)
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the server has closed its half", () => peer.isEnded())
      // An idle session gets a second, equal GOAWAY from Node when it is destroyed.
      const goaways = Peer.goaways(peer.received())
      assert.isAbove(goaways.length, 0)
      for (const goaway of goaways) assert.deepStrictEqual(goaway, [0, 0])
      assert.strictEqual(server.server.connections(), 1)
      yield* TestClock.adjust("299 millis")
      assert.strictEqual(server.server.connections(), 1)
      yield* TestClock.adjust("1 millis")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(server.server.connections(), 0)
    }))

  it.effect("scenario 28: a silent TCP peer does not hold the stop", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const peer = yield* Peer.make(server.port)
      yield* connected(server, 1)
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the server has closed its half", () => peer.isEnded())
      yield* TestClock.adjust("300 millis")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      assert.strictEqual(server.server.connections(), 0)
    }))

  it.effect("scenario 31: half a preface does not hold the stop", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const peer = yield* Peer.make(server.port, Peer.preface.subarray(0, 11))
      yield* connected(server, 1)
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the server has closed its half", () => peer.isEnded())
      yield* TestClock.adjust("300 millis")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      assert.strictEqual(server.server.connections(), 0)
    }))

  it.live("scenario 8: the last response and its trailers are flushed before the connection closes", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const large = "x".repeat(3_000_000)
      const server = yield* EchoServer.make({ say: () => Effect.as(gate.pass, { text: large }) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(rpc)).length, large.length)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("scenario 9: a connection closes after its last stream, while another goes on", () =>
    Effect.gen(function*() {
      const gates = { one: yield* EchoServer.makeGate, two: yield* EchoServer.makeGate }
      const server = yield* EchoServer.make({
        say: ({ text }) => Effect.as(gates[text as keyof typeof gates].pass, { text })
      })
      const first = yield* EchoClient.make(server.target)
      const second = yield* EchoClient.make(server.target)
      const one = yield* Effect.forkChild(EchoClient.say(first, "one"))
      const two = yield* Effect.forkChild(EchoClient.say(second, "two"))
      yield* gates.one.reached
      yield* gates.two.reached
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
      assert.strictEqual(server.server.connections(), 2)
      yield* gates.one.open
      yield* Fiber.join(one)
      yield* connected(server, 1)
      assert.strictEqual(server.server.phase(), "Draining")
      yield* gates.two.open
      yield* Fiber.join(two)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.effect("scenario 18: a reader that does not read is destroyed when the grace period is over, and counted so", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make(
        { count: () => Stream.forever(Stream.sync(() => ({ n: 1, padding: new Uint8Array(100_000) }))) },
        { stop: { grace: "5 seconds", forceTimeout: "1 seconds" } }
      )
      const session = yield* EchoClient.session(server.port)
      const stream = session.request({
        ":method": "POST",
        ":path": EchoClient.countPath,
        "content-type": "application/grpc",
        te: "trailers"
      })
      stream.on("error", () => {})
      stream.pause()
      stream.end(EchoClient.emptyMessage)
      yield* EchoServer.until("the RPC is in flight", () => server.server.inFlight().length === 1)
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
      yield* TestClock.adjust("5 seconds")
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* TestClock.adjust("1 second")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "forced")
      assert.deepInclude(report.counts, { admitted: 1, destroyed: 1, abandoned: 0 })
      assert.strictEqual(report.blockers[0]!.kind, "lastcall.test.v1.EchoService/Count")
      yield* connected(server, 0)
      yield* EchoServer.until("the peer sees its connection closed", () => session.destroyed)
    }))
})
