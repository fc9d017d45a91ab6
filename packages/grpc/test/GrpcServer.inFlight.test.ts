import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

/** Begins to close the server and waits until it drains; the fiber ends with the report. */
const beginDrain = Effect.fnUntraced(function*(server: EchoServer.EchoServer) {
  const closing = yield* Effect.forkChild(server.close)
  yield* EchoServer.until("the server drains", () => server.server.phase() === "Draining")
  yield* EchoServer.until("nothing new is admitted", () => server.server.isAdmitting() === false)
  return closing
})

describe("what is in flight when a drain begins", () => {
  it.live("scenario 11: a unary RPC ends as if nothing had happened", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({ say: ({ text }) => Effect.as(gate.pass, { text }) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* beginDrain(server)
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.live("scenario 12: a server stream goes on to its end", () =>
    Effect.gen(function*() {
      const numbers = yield* Queue.unbounded<number>()
      const server = yield* EchoServer.make({
        count: () => Stream.fromQueue(numbers).pipe(Stream.take(10), Stream.map((n) => ({ n })))
      })
      const client = yield* EchoClient.make(server.target)
      let seen = 0
      const rpc = yield* Effect.forkChild(EchoClient.gather(client.count({ to: 10 }), () => seen++))
      yield* Queue.offerAll(numbers, [1, 2, 3])
      yield* EchoServer.until("three messages came", () => seen === 3)
      const closing = yield* beginDrain(server)
      for (let n = 4; n <= 10; n++) {
        yield* Queue.offer(numbers, n)
        yield* EchoServer.until(`message ${n} came`, () => seen === n)
      }
      const { messages, status } = yield* Fiber.join(rpc)
      assert.deepStrictEqual(messages.map(({ n }) => n), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      assert.strictEqual(status.code, grpc.status.OK)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("scenario 13: a client stream goes on to its end", () =>
    Effect.gen(function*() {
      let received = 0
      const server = yield* EchoServer.make({
        sum: (requests) =>
          Stream.runFold(requests, () => 0, (total, { n }) => {
            received++
            return total + n
          }).pipe(Effect.map((total) => ({ total })))
      })
      const client = yield* EchoClient.make(server.target)
      const { call, total } = EchoClient.sum(client)
      call.write({ n: 1 })
      yield* EchoServer.until("the first request came", () => received === 1)
      const closing = yield* beginDrain(server)
      for (let n = 2; n <= 10; n++) call.write({ n })
      yield* EchoServer.until("all requests came", () => received === 10)
      call.end()
      assert.strictEqual(yield* total, 55)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("scenario 14: a bidirectional stream goes on in both directions", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      const call = client.chat()
      let seen = 0
      const rpc = yield* Effect.forkChild(EchoClient.gather(call, () => seen++))
      call.write({ text: "1" })
      yield* EchoServer.until("the first answer came", () => seen === 1)
      const closing = yield* beginDrain(server)
      for (let n = 2; n <= 10; n++) {
        call.write({ text: String(n) })
        yield* EchoServer.until(`answer ${n} came`, () => seen === n)
      }
      call.end()
      const { messages, status } = yield* Fiber.join(rpc)
      assert.deepStrictEqual(messages.map(({ text }) => text), Array.from({ length: 10 }, (_, i) => `${i + 1}!`))
      assert.strictEqual(status.code, grpc.status.OK)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("scenarios 15 and 16: a stream that is told, after the GOAWAY, ends OK with a last message", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        count: () => Stream.concat(Stream.make({ n: 1 }), Stream.never).pipe(GrpcDrain.endWith(() => ({ n: 99 })))
      })
      const client = yield* EchoClient.make(server.target)
      let seen = 0
      let closedWhenTold: boolean | undefined
      const rpc = yield* Effect.forkChild(EchoClient.gather(client.count({ to: 1 }), ({ n }) => {
        seen++
        if (n === 99) closedWhenTold = !server.server.isAdmitting()
      }))
      yield* EchoServer.until("the stream is open", () => seen === 1)
      const report = yield* server.close
      const { messages, status } = yield* Fiber.join(rpc)
      assert.deepStrictEqual(messages.map(({ n }) => n), [1, 99])
      assert.strictEqual(status.code, grpc.status.OK)
      assert.isTrue(closedWhenTold)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.live("a stream that ends by itself before the drain has no last message", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        count: () => Stream.make({ n: 1 }, { n: 2 }).pipe(GrpcDrain.endWith(() => ({ n: 99 })))
      })
      const client = yield* EchoClient.make(server.target)
      const { messages } = yield* EchoClient.gather(client.count({ to: 2 }))
      assert.deepStrictEqual(messages.map(({ n }) => n), [1, 2])
    }))

  it.live("scenario 17: an early response to a client stream is delivered while the client still sends", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        sum: (requests) =>
          Stream.runHead(requests).pipe(Effect.map((head) => ({ total: head._tag === "Some" ? head.value.n : -1 })))
      })
      const client = yield* EchoClient.make(server.target)
      const { call, total } = EchoClient.sum(client)
      call.write({ n: 7 })
      assert.strictEqual(yield* total, 7)
      const report = yield* server.close
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.live("scenario 20: a deadline that passes during the drain ends the RPC and its handler, and does not hold the drain", () =>
    Effect.gen(function*() {
      let interrupted = false
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({
        say: () =>
          Effect.onInterrupt(
            Effect.andThen(gate.pass, Effect.never),
            () => Effect.sync(() => void (interrupted = true))
          )
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(
        Effect.flip(EchoClient.say(client, "hello", { deadline: Date.now() + 400 }))
      )
      yield* gate.reached
      const closing = yield* beginDrain(server)
      assert.strictEqual((yield* Fiber.join(rpc)).code, grpc.status.DEADLINE_EXCEEDED)
      const report = yield* Fiber.join(closing)
      assert.isTrue(interrupted)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))

  it.live("scenario 21: a client that cancels interrupts the handler, and the drain ends after its finalizers", () =>
    Effect.gen(function*() {
      const finalizing = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({ say: () => Effect.onInterrupt(Effect.never, () => finalizing.pass) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* EchoServer.until("the RPC is in flight", () => server.server.inFlight().length === 1)
      const closing = yield* beginDrain(server)
      yield* Fiber.interrupt(rpc)
      yield* finalizing.reached
      assert.strictEqual(server.server.phase(), "Draining")
      yield* finalizing.open
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))

  it.live("scenario 22: a client that goes away interrupts the handler, and the drain ends", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ count: () => Stream.never })
      const peer = yield* EchoClient.session(server.port)
      peer.request({
        ":method": "POST",
        ":path": EchoClient.countPath,
        "content-type": "application/grpc",
        te: "trailers"
      })
        .on("error", () => {})
        .end(EchoClient.emptyMessage)
      yield* EchoServer.until("the RPC is in flight", () => server.server.inFlight().length === 1)
      const closing = yield* beginDrain(server)
      peer.destroy()
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))

  it.live("scenario 23: a handler that dies during the drain answers INTERNAL without its text, and the drain ends", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({
        say: () => Effect.andThen(gate.pass, Effect.die(new Error("the password is secret")))
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* gate.reached
      const closing = yield* beginDrain(server)
      yield* gate.open
      const error = yield* Fiber.join(rpc)
      assert.deepInclude({ ...error }, { code: grpc.status.INTERNAL, details: "internal error" })
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))
})
