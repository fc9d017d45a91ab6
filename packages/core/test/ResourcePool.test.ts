import { assert, it } from "@effect/vitest"
import * as InFlight from "@lastcall/core/InFlight"
import * as ResourcePool from "@lastcall/core/ResourcePool"
import { StopPolicyError } from "@lastcall/core/StopPolicy"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

const make = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const released: Array<number> = []
  let made = 0
  const pool = yield* Scope.provide(
    ResourcePool.make({
      name: "database",
      size: 2,
      acquire: Effect.acquireRelease(
        Effect.sync(() => ++made),
        (n) => Effect.sync(() => void released.push(n))
      ),
      stop: { grace: "5 seconds", forceTimeout: "1 second" }
    }),
    scope
  )
  return { pool, released, close: Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true }) }
})

it.effect("a pool waits for what is lent, also to those who wait for a member, and then releases its members", () =>
  Effect.gen(function*() {
    const { close, pool, released } = yield* make
    const uses = yield* Effect.forEach(
      [1, 2, 3],
      () =>
        Effect.forkChild(pool.use((member) => Effect.as(Effect.sleep("1 second"), member)), { startImmediately: true })
    )
    const closing = yield* close
    yield* TestClock.adjust("1999 millis")
    assert.deepStrictEqual(released, [])
    yield* TestClock.adjust("1 millis")
    yield* Fiber.join(closing)
    yield* Fiber.joinAll(uses)
    assert.deepStrictEqual(released.toSorted(), [1, 2])
    const report = yield* pool.stop.stop
    assert.strictEqual(report.outcome, "graceful")
    assert.deepInclude(report.counts, { admitted: 3, succeeded: 3 })
  }))

it.effect("a pool that drains lends nothing more", () =>
  Effect.gen(function*() {
    const { close, pool } = yield* make
    yield* Fiber.join(yield* close)
    assert.instanceOf(yield* Effect.flip(pool.use(() => Effect.void)), InFlight.Refused)
  }))

it.effect("a member that is lent for too long is taken back by force before it is released", () =>
  Effect.gen(function*() {
    const { close, pool, released } = yield* make
    const seen: Array<string> = []
    yield* Effect.forkChild(
      pool.use(() =>
        Effect.onInterrupt(Effect.never, () => Effect.sync(() => void seen.push(`released ${released.length}`)))
      ),
      { startImmediately: true }
    )
    const closing = yield* close
    yield* TestClock.adjust("5 seconds")
    yield* Fiber.join(closing)
    assert.deepStrictEqual(seen, ["released 0"])
    assert.deepInclude((yield* pool.stop.stop).counts, { admitted: 1, interrupted: 1 })
  }))

it.effect("a use that is abandoned does not hold the scope, and its member is released when it has ended", () =>
  Effect.gen(function*() {
    const { close, pool, released } = yield* make
    let lent: number | undefined
    const use = yield* Effect.forkChild(
      pool.use((member) => {
        lent = member
        return Effect.uninterruptible(Effect.sleep("1 minute"))
      }),
      { startImmediately: true }
    )
    const closing = yield* close
    let early: ReadonlyArray<number> = []
    closing.addObserver(() => {
      early = released.slice()
    })
    yield* TestClock.adjust("30 seconds")
    yield* Fiber.join(closing)
    assert.strictEqual((yield* pool.stop.stop).abandoned.length, 1)
    assert.deepStrictEqual(early, [1, 2].filter((member) => member !== lent), "what is not lent is released at once")
    yield* TestClock.adjust("1 minute")
    yield* Fiber.await(use)
    assert.deepStrictEqual(released.toSorted(), [1, 2])
  }))

it.effect("the scope of a pool closes when its members are released, and not before", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const pool = yield* Scope.provide(
      ResourcePool.make({
        name: "database",
        size: 1,
        acquire: Effect.acquireRelease(Effect.void, () => Effect.sleep("1 second"))
      }),
      scope
    )
    yield* pool.use(() => Effect.void)
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    yield* TestClock.adjust("999 millis")
    assert.isUndefined(closing.pollUnsafe())
    yield* TestClock.adjust("1 millis")
    assert.isDefined(closing.pollUnsafe())
  }))

it.effect("a pool with a policy that makes no sense is a defect, and leaves no members", () =>
  Effect.gen(function*() {
    let held = 0
    const exit = yield* Effect.exit(Effect.scoped(ResourcePool.make({
      name: "database",
      size: 2,
      acquire: Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)),
      stop: { grace: -1 }
    })))
    assert.isTrue(Exit.isFailure(exit))
    const defects = Exit.isFailure(exit) ? exit.cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect) : []
    assert.lengthOf(defects, 1)
    assert.instanceOf(defects[0], StopPolicyError)
    assert.strictEqual(held, 0)
  }))

it.effect.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
  "a pool whose size is %d is a defect, and makes no members",
  (size) =>
    Effect.gen(function*() {
      let made = 0
      const exit = yield* Effect.exit(Effect.scoped(ResourcePool.make({
        name: "database",
        size,
        acquire: Effect.sync(() => made++)
      })))
      const defects = Exit.isFailure(exit)
        ? exit.cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)
        : []
      assert.lengthOf(defects, 1)
      assert.instanceOf(defects[0], StopPolicyError)
      assert.deepInclude(defects[0], { option: "size", value: size, reason: "must be a whole number above 0" })
      assert.strictEqual(made, 0)
    })
)

it.effect("where finalizers run in parallel, the members are released when the pool has stopped all the same", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make("parallel")
    let released = 0
    const pool = yield* Scope.provide(
      ResourcePool.make({
        name: "database",
        size: 2,
        acquire: Effect.acquireRelease(Effect.void, () => Effect.sync(() => released++))
      }),
      scope
    )
    const seen: Array<number> = []
    yield* Effect.forkChild(
      pool.use(() => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => seen.push(released)))),
      { startImmediately: true }
    )
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(closing)
    assert.deepStrictEqual([seen, released], [[0], 2])
  }))
