import { assert, it } from "@effect/vitest"
import * as OpenLoop from "@lastcall/testing/OpenLoop"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

it.effect("it sends at its rate, whether or not what was sent has ended", () =>
  Effect.gen(function*() {
    const sent: Array<number> = []
    const load = yield* OpenLoop.start({
      perSecond: 100,
      send: (n) => Effect.andThen(Effect.sync(() => sent.push(n)), Effect.never)
    })
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(sent, Array.from({ length: 100 }, (_, n) => n))
    assert.deepStrictEqual([load.sent(), load.inFlight(), load.succeeded()], [100, 100, 0])
  }))

it.effect("it counts what succeeded and keeps what failed, and its end waits for what was sent", () =>
  Effect.gen(function*() {
    const gate = Deferred.makeUnsafe<void>()
    const load = yield* OpenLoop.start({
      perSecond: 10,
      send: (n) => n === 3 ? Effect.fail("refused") : n === 4 ? Effect.die("a defect") : Deferred.await(gate)
    })
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(load.failures(), ["refused", "a defect"])
    const ending = yield* Effect.forkChild(load.end, { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.isUndefined(ending.pollUnsafe())
    assert.strictEqual(load.sent(), 10)
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.join(ending)
    assert.deepStrictEqual([load.sent(), load.succeeded(), load.inFlight()], [10, 8, 0])
  }))

it.effect("what a pause has delayed is made up for", () =>
  Effect.gen(function*() {
    let sent = 0
    const load = yield* OpenLoop.start({ perSecond: 100, send: () => Effect.sync(() => sent++) })
    yield* TestClock.adjust("10 millis")
    yield* TestClock.setTime(2_000)
    yield* TestClock.adjust("5 millis")
    assert.strictEqual(load.sent(), 200)
    assert.strictEqual(sent, 200)
  }))

it.effect("closing the scope interrupts what is in flight", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    let interrupted = 0
    const load = yield* Scope.provide(
      OpenLoop.start({
        perSecond: 10,
        send: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      }),
      scope
    )
    yield* TestClock.adjust("1 second")
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual(interrupted, 10)
    yield* TestClock.adjust("1 second")
    assert.strictEqual(load.sent(), 10)
  }))
