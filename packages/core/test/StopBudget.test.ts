import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as StopBudget from "@lastcall/core/StopBudget"
import { drive } from "@lastcall/testing/VirtualTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** Closes a scope, and says how long that took. */
const close = Effect.fnUntraced(function*(scope: Scope.Closeable) {
  const before = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  const fiber = yield* Effect.forkChild(
    Effect.andThen(Scope.close(scope, Exit.void), Effect.clockWith((clock) => clock.currentTimeMillis)),
    { startImmediately: true }
  )
  return (yield* drive(fiber)) - before
})

const stuck = Effect.fnUntraced(function*(name: string) {
  const inFlight = yield* InFlight.make
  yield* Effect.forkDetach(InFlight.run(inFlight, "deaf", Effect.uninterruptible(Effect.never)), {
    startImmediately: true
  })
  return yield* GracefulStop.make({ name, inFlight }, { grace: "10 seconds", forceTimeout: "1 second" })
})

const quietly = Effect.provideService(References.MinimumLogLevel, "None")

it.effect("three stuck resources in sequence take the budget, not three grace periods", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const stops = yield* Effect.forEach(["a", "b", "c"], stuck).pipe(
      Effect.provideService(StopBudget.StopBudget, yield* StopBudget.make("12 seconds")),
      Scope.provide(scope)
    )
    assert.strictEqual(yield* close(scope), 12_000)
    const reports = yield* Effect.forEach(stops, ({ stop }) => stop)
    // c stops first; its whole grace period would not leave each of them a second for its force
    assert.deepStrictEqual(reports.map(({ durations }) => durations.draining), [0, 0, 9_000])
    assert.deepStrictEqual(reports.map(({ durations }) => durations.interrupting), [1_000, 1_000, 1_000])
    assert.deepStrictEqual(reports.map(({ forcedBy }) => forcedBy), ["budget", "budget", "budget"])
  }).pipe(quietly))

it.effect("three stuck resources in parallel each drain until their own force timeout is left", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make("parallel")
    const stops = yield* Effect.forEach(["a", "b", "c"], stuck).pipe(
      Effect.provideService(StopBudget.StopBudget, yield* StopBudget.make("5 seconds")),
      Scope.provide(scope)
    )
    assert.strictEqual(yield* close(scope), 5_000)
    for (const { stop } of stops) assert.strictEqual((yield* stop).durations.draining, 4_000)
  }).pipe(quietly))

it.effect("the time of a budget begins with the first stop", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const self = yield* stuck("api").pipe(
      Effect.provideService(StopBudget.StopBudget, yield* StopBudget.make("4 seconds")),
      Scope.provide(scope)
    )
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(yield* close(scope), 4_000)
    assert.strictEqual((yield* self.stop).durations.draining, 3_000)
  }).pipe(quietly))

it.effect("when force timeouts do not fit into the budget they share it in proportion", () =>
  Effect.gen(function*() {
    const budget = yield* StopBudget.make("4 seconds")
    const first = budget.share(6_000)
    const second = budget.share(2_000)
    first.begin()
    assert.isBelow(first.drainUntil(), 0)
    assert.strictEqual(first.forceFor(), 3_000)
    yield* TestClock.adjust("3 seconds")
    first.end()
    second.begin()
    assert.strictEqual(second.forceFor(), 1_000)
  }))

it.effect("however many wait, they leave one that drains half of the budget less its own force", () =>
  Effect.gen(function*() {
    const budget = yield* StopBudget.make("10 seconds")
    const first = budget.share(2_000)
    const others = Array.from({ length: 4 }, () => budget.share(1_000))
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(first.drainUntil() - 3_600_000, 4_000)
    budget.begin()
    yield* TestClock.adjust("1 second")
    first.begin()
    assert.strictEqual(first.drainUntil() - 3_600_000, 4_000)
    others.push(budget.share(1_000), budget.share(1_000))
    assert.strictEqual(first.drainUntil() - 3_600_000, 4_000)
    for (const other of others.slice(0, 3)) other.end()
    assert.strictEqual(first.drainUntil() - 3_600_000, 5_000)
  }))

it.effect("a share that ended reserves nothing for itself any more", () =>
  Effect.gen(function*() {
    const budget = yield* StopBudget.make("10 seconds")
    const first = budget.share(1_000)
    const second = budget.share(2_000)
    first.begin()
    assert.strictEqual(first.drainUntil(), 7_000)
    second.begin()
    assert.strictEqual(first.drainUntil(), 9_000)
    second.end()
    assert.strictEqual(first.drainUntil(), 9_000)
  }))

it.effect("a resource that goes without a stop of its own gives back what was kept for its force", () =>
  Effect.gen(function*() {
    const budget = yield* StopBudget.make("10 seconds")
    const first = budget.share(1_000)
    const second = budget.share(2_000)
    first.begin()
    assert.strictEqual(first.drainUntil(), 7_000)
    second.end()
    assert.strictEqual(first.drainUntil(), 9_000)
  }))

it.effect("awaitBegin waits until the time runs, again where it was taken back", () =>
  Effect.gen(function*() {
    const budget = yield* StopBudget.make("10 seconds")
    const share = budget.share(1_000)
    const begins = () => Effect.forkChild(share.awaitBegin, { startImmediately: true })
    const first = yield* begins()
    yield* TestClock.adjust("1 hour")
    assert.isUndefined(first.pollUnsafe())
    budget.begin()
    yield* Fiber.join(first)
    budget.hold()
    const second = yield* begins()
    yield* TestClock.adjust("1 hour")
    assert.isUndefined(second.pollUnsafe())
    budget.begin()
    yield* Fiber.join(second)
  }))

it.effect("a layer gives all that is built with it one budget", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const layer = Layer.provide(
      Layer.provide(Layer.effectDiscard(stuck("api")), Layer.effectDiscard(stuck("admin"))),
      StopBudget.layer("3 seconds")
    )
    yield* Layer.buildWithScope(layer, scope)
    assert.strictEqual(yield* close(scope), 3_000)
  }).pipe(quietly))

it.effect("a budget that makes no sense is refused", () =>
  Effect.gen(function*() {
    for (const total of [Number.NaN, -1]) {
      const exit = yield* Effect.exit(StopBudget.make(total))
      assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
    }
  }))
