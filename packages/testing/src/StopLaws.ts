/**
 * The laws of a graceful stop, for any resource: hand over how it is made and how it gets work, and get the promises of the
 * stop protocol as property tests, in virtual time and with shuffled interleavings.
 *
 * The promises:
 *
 * 1. A stop ends, within drain delay + grace period + force timeout, whatever the work does.
 * 2. Work that was admitted before the drain and would end within the grace period ends as if nothing had happened.
 * 3. Work that is not admitted is refused or never taken. Nothing is lost.
 * 4. No work takes a step once the scope has closed, except what the report names as abandoned; then dependencies are released.
 * 5. Stopping often, at the same time or meanwhile, is one stop with one report.
 * 6. Accounting: admitted = succeeded + failed + interrupted + destroyed + abandoned.
 * 7. Several of them under one budget end within the budget, in the declared order.
 * 8. Nothing is left: nothing runs, and nobody waits.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as References from "effect/References"
import * as CheckedOption from "./internal/checkedOption.ts"
import * as OneStop from "./internal/oneStop.ts"
import * as SameMoment from "./internal/sameMoment.ts"
import * as SharedBudget from "./internal/sharedBudget.ts"
import * as StopScenario from "./StopScenario.ts"
import * as VirtualTime from "./VirtualTime.ts"
import { int } from "./Work.ts"

/**
 * How a resource is made, and how it gets work; see `StopScenario.Make`.
 *
 * @category models
 * @since 0.1.0
 */
export type Make = StopScenario.Make

/**
 * The options of a check. One that makes no sense is a mistake in the test, a `TestOptionError`: `register` throws it, of `check`
 * it is a defect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How many scenarios each law is tried with, half of them shuffled: a whole number above 0. Default: 50. */
  readonly runs?: number | undefined
  /** Which scenarios: the same seed, a whole number, tries the same ones. Default: 1, so that a test repeats itself. */
  readonly seed?: number | undefined
  /** In which order what is ready at one moment runs. Default: `both`. */
  readonly interleaving?: "in order" | "shuffled" | "both" | undefined
  /** How many simpler scenarios are tried once one fails: a whole number. Default: 200. */
  readonly maxShrinks?: number | undefined
  /**
   * How long the resource may take to stop when its last work has ended, for instance to close connections. Finite, 0 or longer.
   * Default: 0.
   */
  readonly linger?: Duration.Input | undefined
  /** For resources with I/O in memory; see `VirtualTime.Options`. Default: 0. */
  readonly turns?: number | undefined
}

/**
 * A scenario in which a resource breaks a promise, as simple as one was found.
 *
 * @category errors
 * @since 0.1.0
 */
export class Counterexample extends Data.TaggedError("Counterexample")<{
  /** The number of the promise. */
  readonly promise: number
  /** The law that is broken. */
  readonly law: string
  /** What was seen, and what was expected. */
  readonly detail: string
  /** What happens to the resource: see `StopScenario.Scenario`. */
  readonly scenario: unknown
  /** The seed of the interleaving; `undefined` where nothing was shuffled. */
  readonly interleaving: number | undefined
  /** The seed of the check, which finds it again. */
  readonly seed: number
}> {
  override get message(): string {
    return [
      `promise ${this.law}`,
      this.detail,
      `scenario: ${Formatter.format(this.scenario, { space: 2 })}`,
      `interleaving: ${this.interleaving === undefined ? "in order" : `shuffled by seed ${this.interleaving}`}`,
      `found with seed ${this.seed}`
    ].join("\n")
  }
}

/**
 * A law: a property of resources that can be falsified.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  /** The number of the promise that it is a part of. */
  readonly promise: number
  /** Begins with that number. */
  readonly name: string
  /** Fails with a {@link Counterexample} if one is found. */
  readonly check: (make: Make, options?: Options) => Effect.Effect<void, Counterexample>
}

const interleavings = {
  "in order": Arbitrary.Constant(undefined),
  "shuffled": int(0, 1_000_000),
  "both": Arbitrary.flatMap(
    int(0, 1),
    (n): Arbitrary.Arbitrary<number | undefined> => n === 0 ? Arbitrary.Constant(undefined) : int(0, 1_000_000)
  )
} as const

/** No scenario has anything left to do after this long. */
const horizon = "1 minute"

/** The time in which a scenario plays. What the kernel logs of it is of no interest. */
const simulate = <A, E>(effect: Effect.Effect<A, E>, seed: number | undefined, turns: number): Effect.Effect<A, E> =>
  VirtualTime.run(Effect.provideService(effect, References.MinimumLogLevel, "None"), { seed, turns, horizon })

const law = <S>(
  name: string,
  scenario: Arbitrary.Arbitrary<S>,
  holds: (make: Make, scenario: S, linger: number) => Effect.Effect<void>
): Law => ({
  promise: Number.parseInt(name, 10),
  name,
  check: (make, options) =>
    Effect.gen(function*() {
      const { interleaving, linger, maxShrinks, runs, seed, turns } = checked(options)
      const result = yield* Arbitrary.checkEffect(
        Arbitrary.all({
          scenario,
          interleaving: interleavings[interleaving] as Arbitrary.Arbitrary<number | undefined>
        }),
        (input) =>
          simulate(holds(make, input.scenario, linger), input.interleaving, turns).pipe(
            // a defect as a failure, so that it shrinks
            Effect.catchCause((cause) => Effect.fail(Cause.squash(cause))),
            Effect.as(true)
          ),
        { runs, seed, maxShrinks }
      )
      if (result._tag === "Passed") return
      if (result._tag !== "Falsified") throw new Error(Arbitrary.formatCheckFailure(result))
      const { failure, shrunkInput } = result
      return yield* Effect.fail(
        new Counterexample({
          promise: Number.parseInt(name, 10),
          law: name,
          detail: failure._tag === "PropertyError" ? detailOf(failure.error) : "it does not hold",
          scenario: shrunkInput.scenario,
          interleaving: shrunkInput.interleaving,
          seed
        })
      )
    })
})

/** With the defaults. */
const checked = (options: Options = {}) => ({
  interleaving: options.interleaving ?? "both",
  runs: CheckedOption.count("StopLaws", "runs", options.runs ?? 50, 1),
  seed: CheckedOption.whole("StopLaws", "seed", options.seed ?? 1),
  maxShrinks: CheckedOption.count("StopLaws", "maxShrinks", options.maxShrinks ?? 200, 0),
  turns: CheckedOption.count("StopLaws", "turns", options.turns ?? 0, 0),
  linger: Duration.toMillis(CheckedOption.duration("StopLaws", "linger", options.linger ?? 0, "finite"))
})

/** Without the stack of an expectation, which shows the laws and not the resource. */
const detailOf = (error: unknown): string => {
  const cause = Cause.isCause(error) ? Cause.squash(error) : error
  if (cause instanceof Error) return cause.name === "Unexpected" ? cause.message : cause.stack ?? cause.message
  return Formatter.format(cause)
}

/**
 * A law about one stop, as a check of what was seen of it; throws where it does not hold. For scenarios of your own, which
 * `StopScenario.play` plays.
 *
 * @category models
 * @since 0.1.0
 */
export interface Check {
  readonly name: string
  /** `lingerMillis`: how long the resource may take to stop when its last work has ended. */
  readonly check: (facts: StopScenario.Facts, lingerMillis: number) => void
}

/**
 * The laws about one stop as checks. {@link laws} has them with scenarios, and the others.
 *
 * @category laws
 * @since 0.1.0
 */
export const checks: ReadonlyArray<Check> = OneStop.laws

/**
 * All laws, in the order of the promises.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law> = [
  ...OneStop.laws.map(({ check, name }) =>
    law(
      name,
      StopScenario.arbitrary(),
      (make, scenario, linger) => Effect.map(StopScenario.play(make, scenario), (facts) => check(facts, linger))
    )
  ),
  law(SameMoment.name, SameMoment.arbitrary, SameMoment.play),
  ...SharedBudget.laws.map(({ check, name }) =>
    law(
      name,
      SharedBudget.arbitrary,
      (make, scenario, linger) => Effect.map(SharedBudget.play(make, scenario), (facts) => check(facts, linger))
    )
  )
].toSorted((a, b) => a.promise - b.promise)

const titles: { readonly [promise: number]: string } = {
  1: "a stop ends in time",
  2: "what fits ends as if nothing had happened",
  3: "what is not admitted is refused, and nothing is lost",
  4: "no work takes a step after the stop, except what was abandoned",
  5: "stopping often is one stop",
  6: "the counts add up",
  7: "several share one budget",
  8: "nothing is left"
}

const isPromise = (promise: number): boolean => Object.hasOwn(titles, promise)

/** Whether a promise is one of those that the options select. */
const selection = (options: { readonly promises?: ReadonlyArray<number> | undefined } = {}) => {
  const { promises } = options
  if (promises === undefined) return () => true
  // of none nothing would be checked
  if (promises.length === 0 || !promises.every(isPromise)) {
    CheckedOption.fail("StopLaws", "promises", promises, "must be some of 1 to 8; leave it out to check all")
  }
  return (promise: number) => promises.includes(promise)
}

/**
 * Checks all laws, or those of some promises, 1 to 8. Fails with the first {@link Counterexample}.
 *
 * **Details**
 *
 * Each scenario makes a resource of its own, so `make` must take nothing from the others. A scenario has at most five pieces
 * of work at a time; make the resource so that it has room for them.
 *
 * **Example** (A resource that keeps the promises)
 *
 * ```ts
 * import * as GracefulStop from "@lastcall/core/GracefulStop"
 * import * as InFlight from "@lastcall/core/InFlight"
 * import * as StopLaws from "@lastcall/testing/StopLaws"
 * import * as Effect from "effect/Effect"
 *
 * const makeWorker: StopLaws.Make = (policy) =>
 *   Effect.gen(function*() {
 *     const inFlight = yield* InFlight.make
 *     const stop = yield* GracefulStop.make({ name: "worker", inFlight }, policy)
 *     return { stop, run: (work) => InFlight.run(inFlight, "job", work) }
 *   })
 *
 * await Effect.runPromise(StopLaws.check(makeWorker, { runs: 10 }))
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const check = (
  make: Make,
  options?: Options & { readonly promises?: ReadonlyArray<number> | undefined }
): Effect.Effect<void, Counterexample> =>
  Effect.suspend(() => {
    const isSelected = selection(options)
    return Effect.forEach(
      laws.filter(({ promise }) => isSelected(promise)),
      (law) => law.check(make, options),
      { discard: true }
    )
  })

/**
 * Registers one test for each promise, or for some of them, with any test runner: `it.effect` of `@effect/vitest`, or a
 * function that registers a test by its name and the effect that it runs.
 *
 * @category running
 * @since 0.1.0
 */
export const register = (
  test: (name: string, run: () => Effect.Effect<void, Counterexample>) => void,
  make: Make,
  options?: Options & { readonly promises?: ReadonlyArray<number> | undefined }
): void => {
  const isSelected = selection(options)
  checked(options)
  for (const [promise, title] of Object.entries(titles)) {
    const promises = [Number(promise)]
    if (!isSelected(Number(promise))) continue
    test(`${promise}. ${title}`, () => check(make, { ...options, promises }))
  }
}
