import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Misbehaviour from "@lastcall/testing/Misbehaviour"
import * as TrackedResource from "@lastcall/testing/TrackedResource"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** The report of a stop that such a handler is in flight in; grace 1 s, force timeout 2 s. */
const stopWith = (handler: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const stop = yield* GracefulStop.makeUnscoped({ name: "api", inFlight }, {
      grace: "1 second",
      forceTimeout: "2 seconds"
    })
    yield* Effect.forkDetach(InFlight.run(inFlight, "handler", handler), { startImmediately: true })
    const stopping = yield* Effect.forkChild(stop.stop)
    yield* TestClock.adjust("10 seconds")
    return yield* Fiber.join(stopping)
  }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))

it.effect("neverEnding holds the drain and ends when it is interrupted", () =>
  Effect.gen(function*() {
    const { counts, durations, outcome } = yield* stopWith(Misbehaviour.neverEnding)
    assert.strictEqual(outcome, "forced")
    assert.deepInclude(counts, { interrupted: 1, abandoned: 0 })
    assert.strictEqual(durations.draining, 1_000)
  }))

it.effect("deaf does not end when it is interrupted: it is abandoned", () =>
  Effect.gen(function*() {
    const { abandoned, counts, durations } = yield* stopWith(Misbehaviour.deaf)
    assert.deepInclude(counts, { interrupted: 0, abandoned: 1 })
    assert.strictEqual(durations.interrupting, 2_000)
    assert.deepStrictEqual(abandoned.map(({ kind }) => kind), ["handler"])
  }))

it.effect("deafUntil ignores interruption until it is let go", () =>
  Effect.gen(function*() {
    const gate = Deferred.makeUnsafe<void>()
    let hasEnded = false
    const fiber = yield* Effect.forkChild(
      Misbehaviour.deafUntil(Effect.andThen(Deferred.await(gate), Effect.sync(() => void (hasEnded = true)))),
      { startImmediately: true }
    )
    fiber.interruptUnsafe()
    yield* Effect.yieldNow
    assert.isUndefined(fiber.pollUnsafe())
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.await(fiber)
    assert.isTrue(hasEnded)
  }))

it.effect("slowToEnd takes its time, and is waited for", () =>
  Effect.gen(function*() {
    const { counts, durations } = yield* stopWith(Misbehaviour.slowToEnd("1500 millis"))
    assert.deepInclude(counts, { interrupted: 1, abandoned: 0 })
    assert.strictEqual(durations.interrupting, 1_500)
  }))

it.effect("usingAfterRelease ends when the resource was released under it", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const resource = yield* Scope.provide(TrackedResource.make, scope)
    const using = yield* Effect.forkChild(Misbehaviour.usingAfterRelease(resource))
    yield* TestClock.adjust("95 millis")
    assert.deepStrictEqual(resource.uses(), { before: 9, after: 0 })
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("5 millis")
    yield* Fiber.join(using)
    assert.deepStrictEqual(resource.uses(), { before: 9, after: 1 })
  }))

it.live("blocking blocks the event loop: a timer that was due long ago has not fired", () =>
  Effect.gen(function*() {
    let fired = false
    const timer = setTimeout(() => {
      fired = true
    }, 1)
    yield* Misbehaviour.blocking("30 millis")
    assert.isFalse(fired)
    clearTimeout(timer)
  }))

it.effect("a tracked resource says how many sessions were open when it was released", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const resource = yield* Scope.provide(TrackedResource.make, scope)
    const session = yield* Scope.make()
    yield* Effect.scoped(resource.session)
    yield* Scope.provide(resource.session, session)
    assert.strictEqual(resource.openSessions(), 1)
    assert.isFalse(resource.isReleased())
    yield* Scope.close(scope, Exit.void)
    yield* Scope.close(session, Exit.void)
    assert.isTrue(resource.isReleased())
    assert.strictEqual(resource.openSessions(), 1)
    assert.deepStrictEqual(resource.uses(), { before: 3, after: 1 })
  }))
