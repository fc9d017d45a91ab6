import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

const inFlight = (server: EchoServer.EchoServer, n: number) =>
  EchoServer.until(`${n} RPCs are in flight`, () => server.server.inFlight().length === n)

/** Begins to close the server; returns when nothing new is admitted. */
const beginDrain = Effect.fnUntraced(function*(server: EchoServer.EchoServer) {
  const closing = yield* Effect.forkChild(server.close)
  yield* EchoServer.until("the drain has begun", () => !server.server.isAdmitting())
  return closing
})

const shuttingDown = { code: grpc.status.UNAVAILABLE, details: "server is shutting down" }

describe("when the grace period is over", () => {
  it.effect("scenario 24: a unary RPC gets UNAVAILABLE and a reason, after its handler's finalizers", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const server = yield* EchoServer.make({
        say: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void events.push("finalizer")))
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(
        Effect.tapError(
          Effect.flip(Effect.flip(EchoClient.say(client, "hello"))),
          () => Effect.sync(() => void events.push("answer"))
        )
      )
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(server.server.phase(), "Draining")
      yield* TestClock.adjust("1 millis")
      assert.deepInclude({ ...(yield* Effect.flip(Fiber.join(rpc))) }, shuttingDown)
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(events, ["finalizer", "answer"])
      assert.strictEqual(report.forcedBy, "grace")
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
    }))

  it.effect("scenario 25: streams of all kinds get UNAVAILABLE and a reason, with the messages that were sent before", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        count: () => Stream.concat(Stream.make({ n: 1 }, { n: 2 }), Stream.never),
        sum: () => Effect.never,
        chat: () => Stream.concat(Stream.make({ text: "hi" }), Stream.never)
      })
      const client = yield* EchoClient.make(server.target)
      let seen = 0
      const count = yield* Effect.forkChild(EchoClient.gather(client.count({ to: 2 }), () => seen++))
      const { call, total } = EchoClient.sum(client)
      call.write({ n: 1 })
      const chat = yield* Effect.forkChild(EchoClient.gather(client.chat(), () => seen++))
      yield* EchoServer.until("the streams are open", () => seen === 3 && server.server.inFlight().length === 3)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      const counted = yield* Fiber.join(count)
      assert.deepInclude(counted.status, shuttingDown)
      assert.deepStrictEqual(counted.messages.map(({ n }) => n), [1, 2])
      assert.deepInclude({ ...(yield* Effect.flip(total)) }, shuttingDown)
      assert.deepInclude((yield* Fiber.join(chat)).status, shuttingDown)
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 3, interrupted: 3 })
    }))

  it.effect("an RPC whose request has not come gets UNAVAILABLE too", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const session = yield* EchoClient.session(server.port)
      let trailers: { readonly [header: string]: unknown } = {}
      const stream = session.request({
        ":method": "POST",
        ":path": EchoClient.countPath,
        "content-type": "application/grpc",
        te: "trailers"
      })
      stream.on("response", (headers) => {
        trailers = headers
      })
      stream.on("error", () => {})
      stream.resume()
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      yield* EchoServer.until("the answer came", () => trailers["grpc-status"] !== undefined)
      assert.strictEqual(trailers["grpc-status"], "14")
      stream.end()
      session.close()
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, interrupted: 1 })
    }))

  it.effect("an uninterruptible step of a handler runs to its end, and then the client gets UNAVAILABLE", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const gate = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.andThen(
            Effect.uninterruptible(Effect.andThen(gate.pass, Effect.sync(() => void events.push("committed")))),
            Effect.sync(() => {
              events.push("after")
              return { text }
            })
          )
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* gate.reached
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* gate.open
      assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, interrupted: 1 })
      assert.deepStrictEqual(events, ["committed"])
    }))

  it.effect("scenario 26: a handler that ignores interruption is bounded and named; its client gets UNAVAILABLE before the end", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.uninterruptible(Effect.never) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* TestClock.adjust("1800 millis")
      assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.strictEqual(server.server.phase(), "Interrupting")
      yield* TestClock.adjust("200 millis")
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(report.abandoned.map(({ kind }) => kind), ["lastcall.test.v1.EchoService/Say"])
      assert.deepInclude(report.counts, { admitted: 1, abandoned: 1, interrupted: 0 })
      assert.strictEqual(report.durations.total, 12_000)
    }))

  it.effect("scenario 27: a handler that ignores interruption is bounded and named also when its client has gone", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.uninterruptible(Effect.never) })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* Fiber.interrupt(rpc)
      client.close()
      yield* EchoServer.until("the client has gone", () => server.server.connections() === 0)
      assert.strictEqual(server.server.phase(), "Draining")
      yield* TestClock.adjust("10 seconds")
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* TestClock.adjust("2 seconds")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.abandoned.length, 1)
      assert.deepInclude(report.counts, { admitted: 1, abandoned: 1 })
    }))

  it.effect("scenario 32: with grace 0 what is in flight is interrupted at once", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.never }, { stop: { grace: 0 } })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* inFlight(server, 1)
      const report = yield* server.close
      assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.strictEqual(report.forcedBy, "grace")
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
    }))

  it.effect("scenario 33: with grace infinite the drain waits until it is escalated", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.never }, { stop: { grace: "Infinity" } })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(server.server.phase(), "Draining")
      yield* server.server.escalate
      assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.strictEqual((yield* Fiber.join(closing)).forcedBy, "escalation")
    }))

  it.effect("scenario 34: an RPC that ends exactly at the deadline is answered OK, one a millisecond later is not", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: ({ text }) => Effect.as(Effect.sleep(Number(text)), { text }) })
      const client = yield* EchoClient.make(server.target)
      const inTime = yield* Effect.forkChild(EchoClient.say(client, "10000"))
      const late = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "10001")))
      yield* inFlight(server, 2)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(inTime), "10000")
      assert.deepInclude({ ...(yield* Fiber.join(late)) }, shuttingDown)
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 2, succeeded: 1, interrupted: 1 })
    }))

  it.effect("scenario 35: a force before the GOAWAYs have gone out still answers every RPC", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.never })
      const client = yield* EchoClient.make(server.target)
      const rpcs = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      )
      yield* inFlight(server, 20)
      const closing = yield* Effect.forkChild(server.close, { startImmediately: true })
      yield* server.server.escalate
      for (const rpc of rpcs) assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 20, interrupted: 20 })
    }))

  it.effect("a short force answers for handlers that ignore interruption when half of it is over", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ say: () => Effect.uninterruptible(Effect.never) }, {
        stop: { grace: 0, forceTimeout: "100 millis" }
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* inFlight(server, 1)
      const closing = yield* Effect.forkChild(server.close)
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* TestClock.adjust("49 millis")
      let turns = 0
      yield* EchoServer.until("an answer would have come", () => ++turns === 30)
      assert.isUndefined(rpc.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude({ ...(yield* Fiber.join(rpc)) }, shuttingDown)
      assert.strictEqual(server.server.phase(), "Interrupting")
      yield* TestClock.adjust("50 millis")
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, abandoned: 1 })
    }))

  it.effect("scenario 36: a dependency is released only after the handlers have ended, finalizers included", () =>
    Effect.gen(function*() {
      let isOpen = true
      const seenOpen: Array<boolean> = []
      const server = yield* EchoServer.make({
        say: () =>
          Effect.onInterrupt(
            Effect.never,
            () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void seenOpen.push(isOpen)))
          )
      }, {
        dependency: Effect.acquireRelease(Effect.void, () => Effect.sync(() => void (isOpen = false)))
      })
      const client = yield* EchoClient.make(server.target)
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* inFlight(server, 1)
      const closing = yield* beginDrain(server)
      yield* TestClock.adjust("10 seconds")
      yield* EchoServer.until("the force has begun", () => server.server.phase() === "Interrupting")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(rpc)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seenOpen, [true])
      assert.isFalse(isOpen)
    }))
})
