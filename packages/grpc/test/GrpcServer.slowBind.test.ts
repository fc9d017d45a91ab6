import { assert, describe, it } from "@effect/vitest"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import dns from "node:dns"
import { vi } from "vitest"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

/** A server that is stopped while it binds a listener whose host takes long to be looked up. */
const make = Effect.fnUntraced(function*(handlers: Partial<EchoServer.Handlers> = {}) {
  /** One for each lookup. */
  const found: Array<() => void> = []
  const lookup = dns.lookup
  const spy = vi.spyOn(dns, "lookup").mockImplementation(
    ((host: string, ...args: Array<never>) => {
      if (host !== "slow.test") return (lookup as (...args: Array<unknown>) => void)(host, ...args)
      const callback = args.at(-1) as unknown as (error: null, address: string, family: number) => void
      found.push(() => callback(null, "127.0.0.1", 4))
    }) as never
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
  const echo = yield* EchoServer.make(handlers, { stop: { grace: "Infinity" } })
  const listen = Effect.gen(function*() {
    const before = found.length
    const fiber = yield* Effect.forkChild(echo.server.listen(GrpcListener.tcp({ port: 0, host: "slow.test" })), {
      startImmediately: true
    })
    yield* EchoServer.until("the host is looked up", () => found.length === before + 1)
    return fiber
  })
  const listening = yield* listen
  const close = Effect.forkChild(echo.close, { startImmediately: true })
  return { ...echo, listen, listening, beginClose: close, found: Effect.sync(() => found.shift()!()) }
})

describe("a bind that takes long", () => {
  it.effect("is waited for by the drain, which closes what is bound then", () =>
    Effect.gen(function*() {
      const { beginClose, found, listening, server } = yield* make()
      const closing = yield* beginClose
      yield* EchoServer.until("the drain has begun", () => server.phase() === "Draining")
      yield* TestClock.adjust("999 millis")
      assert.isTrue(server.isAdmitting())
      yield* found
      const address = yield* Fiber.join(listening)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      const client = yield* EchoClient.make(GrpcListener.target(address))
      assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "hello"))).details.includes("ECONNREFUSED"), true)
    }))

  it.effect("is waited for by the drain also when another has ended", () =>
    Effect.gen(function*() {
      const { beginClose, found, listen, listening, server } = yield* make()
      const second = yield* listen
      yield* found
      yield* Fiber.join(listening)
      const closing = yield* beginClose
      yield* EchoServer.until("the drain has begun", () => server.phase() === "Draining")
      yield* TestClock.adjust("999 millis")
      assert.isTrue(server.isAdmitting())
      yield* found
      yield* Fiber.join(second)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.effect("is waited for by the drain for a second; what is bound later is closed at once", () =>
    Effect.gen(function*() {
      const { beginClose, found, listening, server } = yield* make()
      const closing = yield* beginClose
      yield* EchoServer.until("the drain has begun", () => server.phase() === "Draining")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      yield* found
      assert.strictEqual((yield* Effect.flip(Fiber.join(listening))).reason, "ServerStopped")
      assert.lengthOf(server.addresses(), 1)
    }))

  it.effect("does not keep a force from closing the listeners, from admitting nothing, and from telling the handlers", () =>
    Effect.gen(function*() {
      let isTold = false
      const gate = yield* EchoServer.makeGate
      const { beginClose, server, target } = yield* make({
        say: () =>
          Effect.andThen(GrpcDrain.awaitDraining, Effect.sync(() => (isTold = true))).pipe(
            Effect.andThen(gate.pass),
            Effect.uninterruptible,
            Effect.as({ text: "too late" })
          )
      })
      const client = yield* EchoClient.make(target)
      yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* EchoServer.until("it is in flight", () => server.inFlight().length === 1)
      const closing = yield* beginClose
      yield* EchoServer.until("the drain has begun", () => server.phase() === "Draining")
      assert.isTrue(server.isAdmitting())
      yield* server.escalate
      yield* EchoServer.until("the handler is told", () => isTold)
      assert.strictEqual(server.phase(), "Interrupting")
      assert.isFalse(server.isAdmitting())
      const other = yield* EchoClient.make(target)
      assert.include((yield* Effect.flip(EchoClient.say(other, "hello"))).details, "ECONNREFUSED")
      yield* gate.open
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, interrupted: 1, refused: 0 })
    }))
})
