import { assert, describe, it } from "@effect/vitest"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as TestClock from "effect/testing/TestClock"

const seeds = Array.from({ length: 50 }, (_, seed) => seed)

/** Two fibers look whether a seat is free, and take it: how many got one. */
const bookOneSeat = Effect.gen(function*() {
  let free = 1
  let booked = 0
  const book = Effect.gen(function*() {
    if (yield* Effect.sync(() => free > 0)) {
      yield* Effect.sync(() => {
        free--
        booked++
      })
    }
  })
  yield* Effect.all([book, book], { concurrency: "unbounded" })
  return booked
})

/** The order in which ten fibers say their number, three times each. */
const tenFibers = Effect.gen(function*() {
  const said: Array<number> = []
  yield* Effect.forEach(
    Array.from({ length: 10 }, (_, n) => n),
    (n) => Effect.replicateEffect(Effect.andThen(Effect.sync(() => said.push(n)), Effect.sleep(10)), 3),
    { concurrency: "unbounded" }
  )
  return said
})

describe("in virtual time", () => {
  it.live("a day passes at once, and sleepers wake in the order of time", () =>
    Effect.gen(function*() {
      const woken: Array<string> = []
      const sleeper = (millis: number) =>
        Effect.andThen(
          Effect.sleep(millis),
          Effect.map(Clock.currentTimeMillis, (now) => woken.push(`${millis} at ${now}`))
        )
      yield* VirtualTime.run(
        Effect.all([sleeper(86_400_000), sleeper(5), sleeper(0.5)], { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(woken, ["0.5 at 0.5", "5 at 5", "86400000 at 86400000"])
    }))

  it.live("both clocks move together", () =>
    Effect.gen(function*() {
      const [wall, monotonic] = yield* VirtualTime.run(Effect.andThen(
        Effect.sleep("1 second"),
        Effect.all([Clock.currentTimeNanos, Clock.Clock.pipe(Effect.flatMap((clock) => clock.monotonicTimeNanos))])
      ))
      assert.deepStrictEqual([wall, monotonic], [1_000_000_000n, 1_000_000_000n])
    }))

  it.live("failures, defects and services are those of the effect", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.exit(VirtualTime.run(Effect.fail("no"))), Exit.fail("no"))
      assert.deepStrictEqual(yield* Effect.exit(VirtualTime.run(Effect.die("no"))), Exit.die("no"))
    }))

  it.live("interrupting a run runs its finalizers, which sleep in virtual time, and waits for them", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      let end = 0
      const run = yield* Effect.forkChild(VirtualTime.run(
        Effect.onInterrupt(
          Effect.andThen(Deferred.succeed(begun, undefined), Effect.never),
          () => Effect.andThen(Effect.sleep("1 hour"), Effect.map(Clock.currentTimeMillis, (now) => void (end = now)))
        ),
        { turns: 1 }
      ))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(run)
      assert.strictEqual(end, 3_600_000)
    }))

  it.live("a program whose fibers wait for each other is stuck", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(VirtualTime.run(Effect.andThen(Effect.sleep(5), Effect.never), { seed: 7 }))
      const stuck = Exit.isFailure(exit) ? exit.cause.reasons.map((reason) => "defect" in reason && reason.defect) : []
      assert.deepStrictEqual(stuck, [new VirtualTime.Stuck({ at: 5, seed: 7 })])
      assert.include((stuck[0] as Error).message, "after 5 ms (seed 7)")
    }))

  it.live("a program that sleeps for ever is stuck at the horizon", () =>
    Effect.gen(function*() {
      const program = Effect.forever(Effect.sleep("1 minute"))
      const exit = yield* Effect.exit(VirtualTime.run(program, { horizon: "1 hour" }))
      assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
    }))

  it.live("a program that waits for I/O that never comes is stuck too, after two seconds of real time", () =>
    Effect.gen(function*() {
      const never = Effect.andThen(Effect.sleep(5), Effect.never)
      const exit = yield* Effect.exit(VirtualTime.run(never, { turns: 30 }))
      assert.deepStrictEqual(exit, Exit.die(new VirtualTime.Stuck({ at: 5, seed: undefined })))
    }))

  it.live("a program that has ended, or goes on meanwhile, is not taken for stuck", () =>
    Effect.gen(function*() {
      const real = (millis: number) =>
        Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), millis))
      const program = Effect.andThen(Effect.repeat(Effect.andThen(real(900), Effect.yieldNow), { times: 2 }), real(10))
      yield* VirtualTime.run(program, { turns: 30 })
      assert.strictEqual(yield* VirtualTime.run(Effect.succeed("done"), { turns: 30 }), "done")
    }))

  it.live("with turns of the event loop, time waits for I/O in memory", () =>
    Effect.gen(function*() {
      const afterTurns = (turns: number) => Effect.andThen(VirtualTime.settle(turns), Clock.currentTimeMillis)
      const race = Effect.all([afterTurns(10), Effect.sleep(1)], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* VirtualTime.run(race, { turns: 20 }), [0, undefined])
    }))
})

describe("interleavings", () => {
  it.live("without a seed they are always the same", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* VirtualTime.run(bookOneSeat), 1)
      assert.deepStrictEqual(yield* VirtualTime.run(tenFibers), yield* VirtualTime.run(tenFibers))
    }))

  it.live("a seed shows a race that the default scheduler never shows, and shows it again", () =>
    Effect.gen(function*() {
      for (const _ of seeds) assert.strictEqual(yield* bookOneSeat, 1)
      const overbooked = yield* Effect.filter(
        seeds,
        (seed) => Effect.map(VirtualTime.run(bookOneSeat, { seed }), (booked) => booked === 2)
      )
      assert.isNotEmpty(overbooked)
      for (const seed of overbooked) assert.strictEqual(yield* VirtualTime.run(bookOneSeat, { seed }), 2)
    }))

  it.live("the same seed gives the same order, and others give others", () =>
    Effect.gen(function*() {
      const orders = yield* Effect.forEach(seeds, (seed) => VirtualTime.run(tenFibers, { seed }))
      const again = yield* Effect.forEach(seeds, (seed) => VirtualTime.run(tenFibers, { seed }), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(again, orders)
      assert.strictEqual(new Set(orders.map((order) => order.join())).size, seeds.length)
    }))
})

describe("under a TestClock", () => {
  it.effect("drive moves the clock until a fiber is done, and dies if it never is", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.as(Effect.sleep("5 seconds"), "done"))
      assert.strictEqual(yield* VirtualTime.drive(fiber), "done")
      assert.strictEqual(yield* Clock.currentTimeMillis, 5_000)
      const stuck = yield* Effect.forkChild(Effect.never)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(VirtualTime.drive(stuck))))
    }))

  it.effect("settle lets I/O happen while time stands still", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      setImmediate(() => setImmediate(() => latch.openUnsafe()))
      yield* VirtualTime.settle(3)
      assert.isTrue(latch.isOpen())
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      yield* TestClock.adjust(1)
    }))
})
