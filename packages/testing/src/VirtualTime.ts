/**
 * Virtual time: sleeps take none of the machine's time, and a seed shuffles what runs at the same moment.
 *
 * Time stands still while a fiber is ready. Then it jumps to the next moment at which something wakes, and all that sleep
 * until that moment are woken together. Nobody has to move it, so finalizers that sleep end too.
 *
 * With a `seed`, every fiber may be preempted before every operation, and any ready fiber may be the next to run: races that
 * the default scheduler never shows are shown, and the same seed shows the same one again. It rests on Effect's `Scheduler`
 * and `Clock` references; real I/O has no place in an order that a seed can repeat.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"
import * as CheckedOption from "./internal/checkedOption.ts"

/**
 * The options of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** A whole number; shuffles what runs at the same moment. Default: in the order in which fibers became ready. */
  readonly seed?: number | undefined
  /**
   * For how many turns of the event loop nothing must happen before time moves on: I/O without a network, such as that of
   * `MemorySocket`, is done by then. A whole number. Default: 0, for programs without I/O.
   */
  readonly turns?: number | undefined
  /**
   * When it has not ended by then, it never will: the run dies with {@link Stuck}. Finite, 0 or longer. Default: 1 day. Where
   * nothing sleeps, it dies at once, and with `turns` after two seconds of real time without I/O.
   */
  readonly horizon?: Duration.Input | undefined
}

/**
 * A program that does not end: all its fibers wait for each other or for something outside of it, or it sleeps for ever.
 *
 * @category errors
 * @since 0.1.0
 */
export class Stuck extends Data.TaggedError("Stuck")<{
  /** The virtual time, in milliseconds. */
  readonly at: number
  readonly seed: number | undefined
}> {
  override get message(): string {
    return `it does not end: nothing happens any more after ${this.at} ms` +
      (this.seed === undefined ? "" : ` (seed ${this.seed})`)
  }
}

/**
 * Runs an effect in virtual time, from 0 on.
 *
 * **Details**
 *
 * Its `Clock` and its `Scheduler` are those of the run; a `TestClock` has no part in it. Interrupting the run interrupts the
 * effect, whose finalizers run in virtual time too. An option that makes no sense is a defect: a `TestOptionError`.
 *
 * **Example** (Ten seconds in no time, and a seed that shuffles them)
 *
 * ```ts
 * import * as VirtualTime from "@lastcall/testing/VirtualTime"
 * import * as Clock from "effect/Clock"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.andThen(Effect.sleep("10 seconds"), Clock.currentTimeMillis)
 *
 * const elapsed = await Effect.runPromise(VirtualTime.run(program, { seed: 42 }))
 * if (elapsed !== 10_000) throw new Error(`${elapsed} ms`)
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Options = {}): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const checked = check(options)
    return Effect.callback<A, E>((resume) => {
      const { seed } = checked
      const world = makeWorld(checked, (at) => resume(Effect.die(new Stuck({ at, seed }))))
      const fiber = Effect.runForkWith(
        context.pipe(Context.add(Clock.Clock, world.clock), Context.add(Scheduler.Scheduler, world.scheduler))
      )(effect)
      fiber.addObserver((exit) => {
        world.end()
        resume(exit)
      })
      return Effect.callback<void>((done) => {
        fiber.addObserver(() => done(Effect.void))
        fiber.interruptUnsafe()
      })
    })
  })

/**
 * Lets the I/O of this process that needs no network happen, without a moment passing on any `Clock`: for tests that move a
 * `TestClock` themselves. Default: 50 turns of the event loop. What is no whole number of turns is a defect: a
 * `TestOptionError`.
 *
 * @category running
 * @since 0.1.0
 */
export const settle = (turns = 50): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let immediate: NodeJS.Immediate
    const turn = (left: number) => {
      if (left === 0) return resume(Effect.void)
      immediate = setImmediate(turn, left - 1)
    }
    turn(CheckedOption.count("VirtualTime.settle", "turns", turns, 0))
    return Effect.sync(() => clearImmediate(immediate))
  })

/**
 * Moves the `TestClock` until a fiber is done: for a test that has one and waits for a stop, whose finalizers sleep. In steps
 * of 100 ms; dies with {@link Stuck} after 20 seconds of virtual time.
 *
 * @category running
 * @since 0.1.0
 */
export const drive = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    for (let elapsed = 0; elapsed < driveMillis && fiber.pollUnsafe() === undefined; elapsed += 100) {
      yield* TestClock.adjust(100)
    }
    return yield* fiber.pollUnsafe() ?? Effect.die(new Stuck({ at: driveMillis, seed: undefined }))
  })

const driveMillis = 20_000

/** How long I/O may be waited for when nothing else can happen. */
const ioMillis = 2_000

interface Sleeper {
  readonly until: number
  readonly wake: () => void
}

interface Checked {
  readonly seed: number | undefined
  readonly turns: number
  readonly horizon: Duration.Duration
}

const check = ({ horizon = "1 day", seed, turns = 0 }: Options): Checked => ({
  seed: seed === undefined ? undefined : CheckedOption.whole("VirtualTime.run", "seed", seed),
  turns: CheckedOption.count("VirtualTime.run", "turns", turns, 0),
  // finite: with nobody to stop it a program that sleeps for ever would hold the event loop for ever
  horizon: CheckedOption.duration("VirtualTime.run", "horizon", horizon, "finite")
})

const makeWorld = (options: Checked, onStuck: (at: number) => void) => {
  const random = options.seed === undefined ? undefined : mulberry32(options.seed)
  const horizon = Duration.toMillis(options.horizon) * 1_000_000
  const patience = options.turns
  let ready: Array<() => void> = []
  /** Those before it have run; removed now and then, so that a queue is not moved for each. */
  let head = 0
  let sleepers: Array<Sleeper> = []
  let nanos = 0
  let isScheduled = false
  let isEnded = false
  /** How often something was scheduled: nothing has been while it stays the same. */
  let rounds = 0
  let waiting: NodeJS.Timeout | undefined

  const take = (): () => void => {
    if (random === undefined) {
      const task = ready[head++]!
      if (head === ready.length) {
        ready = []
        head = 0
      }
      return task
    }
    const index = Math.floor(random() * ready.length)
    const task = ready[index]!
    ready[index] = ready.at(-1)!
    ready.pop()
    return task
  }

  const advance = (): void => {
    nanos = Math.min(...sleepers.map(({ until }) => until))
    const due = sleepers.filter(({ until }) => until === nanos)
    sleepers = sleepers.filter(({ until }) => until !== nanos)
    for (const { wake } of due) ready.push(wake)
  }

  const next = (idleTurns: number): void => {
    isScheduled = true
    rounds++
    clearTimeout(waiting)
    setImmediate(go, idleTurns)
  }

  /** What a blocked event loop has held up may come first. */
  const giveUp = (round: number, turnsLeft: number): void => {
    if (isEnded || round !== rounds) return
    if (turnsLeft === 0) return onStuck(nanos / 1_000_000)
    setImmediate(giveUp, round, turnsLeft - 1)
  }

  const go = (idleTurns: number): void => {
    let idle = ready.length === 0 ? idleTurns + 1 : 0
    while (!isEnded) {
      while (!isEnded && ready.length > 0) {
        take()()
        idle = 0
      }
      if (isEnded) return
      if (idle < patience) return next(idle)
      if (sleepers.length === 0) {
        isScheduled = false
        if (patience === 0) onStuck(nanos / 1_000_000)
        else waiting = setTimeout(giveUp, ioMillis, rounds, patience)
        return
      }
      advance()
      if (nanos > horizon) return onStuck(nanos / 1_000_000)
      idle = 0
    }
  }

  const schedule = (task: () => void): void => {
    ready.push(task)
    if (!isScheduled) next(0)
  }

  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: random === undefined
      ? (fiber) => fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
      : () => random() < 0.25,
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
        if (until <= nanos) return resume(Effect.void)
        if (until === Number.POSITIVE_INFINITY) return
        const sleeper = { until, wake: () => resume(Effect.void) }
        sleepers.push(sleeper)
        // An I/O callback may run a fiber that sleeps at once, without a task.
        if (!isScheduled) next(0)
        return Effect.sync(() => {
          sleepers = sleepers.filter((other) => other !== sleeper)
        })
      })
  }

  return {
    clock,
    scheduler,
    end: () => {
      isEnded = true
      clearTimeout(waiting)
    }
  }
}

const mulberry32 = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}
