/**
 * Virtual time, in two modes: the default scheduler under `TestClock`, and a seeded scheduler that preempts and picks at
 * random, with a clock of its own.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"

/** `undefined` is the default scheduler, a number the seed of a shuffled one. */
export type Seed = number | undefined

/** No scenario has anything left to do after this many virtual milliseconds. */
const horizon = 20_000

const stuck = Effect.die(new Error("it did not end"))

/** Runs an effect in virtual time; dies if it never ends. The kernel's own logs are silenced. */
export const simulate = <A, E>(seed: Seed, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const quiet = Effect.provideService(effect, References.MinimumLogLevel, "None")
  return seed === undefined ? underTestClock(quiet) : shuffled(seed, quiet)
}

/** Advances the `TestClock` until a fiber is done. */
export const drive = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    for (let elapsed = 0; elapsed < horizon && fiber.pollUnsafe() === undefined; elapsed += 100) {
      yield* TestClock.adjust(100)
    }
    return yield* fiber.pollUnsafe() ?? stuck
  })

/** The effect is woken by the clock, at zero, so that the clock waits for what it does at zero as well. */
const underTestClock = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.andThen(
    TestClock.setTime(-1),
    Effect.flatMap(
      Effect.forkChild(Effect.andThen(Effect.sleep(1), effect), { startImmediately: true }),
      drive
    )
  ).pipe(Effect.provide(TestClock.layer({ warningDelay: "1 minute" }), { local: true }))

/**
 * Every fiber may be preempted before every operation, and any ready fiber may be the next to run. Time stands still while
 * a fiber is ready; then all that sleep until the next moment are woken together, so that what happens at one moment
 * interleaves too. The same seed gives the same run.
 */
const shuffled = <A, E>(seed: number, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.callback<A, E>((resume) => {
    const random = mulberry32(seed)
    const world = makeWorld(random, () => resume(stuck))
    const fiber = Effect.runForkWith(
      Context.make(Clock.Clock, world.clock).pipe(Context.add(Scheduler.Scheduler, world.scheduler))
    )(effect)
    fiber.addObserver((exit: Exit.Exit<A, E>) => {
      world.end()
      resume(exit)
    })
  })

const makeWorld = (random: () => number, onStuck: () => void) => {
  const ready: Array<() => void> = []
  let sleepers: Array<{ readonly until: number; readonly wake: () => void }> = []
  let nanos = 0
  let scheduled = false
  let ended = false

  const take = () => {
    const index = Math.floor(random() * ready.length)
    const task = ready[index]!
    ready[index] = ready.at(-1)!
    ready.pop()
    return task
  }
  const advance = () => {
    nanos = Math.min(...sleepers.map(({ until }) => until))
    const due = sleepers.filter(({ until }) => until === nanos)
    sleepers = sleepers.filter(({ until }) => until !== nanos)
    for (const { wake } of due) ready.push(wake)
  }
  const run = () => {
    while (!ended) {
      while (!ended && ready.length > 0) take()()
      if (ended) return
      if (sleepers.length === 0) return onStuck()
      advance()
      if (nanos > horizon * 1_000_000) return onStuck()
    }
  }
  const schedule = (task: () => void) => {
    ready.push(task)
    if (scheduled) return
    scheduled = true
    setImmediate(run)
  }
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: () => random() < 0.25,
    makeDispatcher: () => ({ scheduleTask: schedule, flush: () => {} })
  }

  const millis = () => nanos / 1_000_000
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: () => BigInt(nanos),
    currentTimeNanos: Effect.sync(() => BigInt(nanos)),
    monotonicTimeNanosUnsafe: () => BigInt(nanos),
    monotonicTimeNanos: Effect.sync(() => BigInt(nanos)),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const until = nanos + Math.ceil(Duration.toMillis(duration) * 1_000_000)
        if (until === nanos) return resume(Effect.void)
        if (until === Number.POSITIVE_INFINITY) return
        const sleeper = { until, wake: () => resume(Effect.void) }
        sleepers.push(sleeper)
        return Effect.sync(() => {
          sleepers = sleepers.filter((other) => other !== sleeper)
        })
      })
  }

  return {
    clock,
    scheduler,
    end: () => {
      ended = true
    }
  }
}

const mulberry32 = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}

/** A cause as a failure, so that a property that dies can be shrunk like one that fails. */
export const falsifiable = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, string> =>
  Effect.catchCause(effect, (cause) => Effect.fail(Cause.pretty(cause)))
