/**
 * A piece of work: how long it takes, how it ends, and what it thinks of interruption.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"

/**
 * A piece of work. Times are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Work {
  /** How long it takes; `Infinity` never ends. */
  readonly duration: number
  readonly ending: "succeeds" | "fails" | "dies"
  /** It ignores interruption until its duration is over. */
  readonly deaf: boolean
  /** How long its finalizer takes; `Infinity` hangs. */
  readonly finalizer: number
}

/**
 * A whole number between two others, both included.
 *
 * @category arbitraries
 * @since 0.1.0
 */
export const int = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/**
 * One of the items; those that come several times are more likely, and it shrinks towards the first.
 *
 * @category arbitraries
 * @since 0.1.0
 */
export const oneOf = <const A>(...items: ReadonlyArray<A>): Arbitrary.Arbitrary<A> =>
  Arbitrary.map(int(0, items.length - 1), (index) => items[index]!)

/**
 * A number of milliseconds from zero, rarely `Infinity`.
 *
 * @category arbitraries
 * @since 0.1.0
 */
export const millisOrForever = (maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.map(int(0, Math.ceil(maximum * 1.2)), (n) => n > maximum ? Number.POSITIVE_INFINITY : n)

/**
 * Any work.
 *
 * @category arbitraries
 * @since 0.1.0
 */
export const arbitrary: Arbitrary.Arbitrary<Work> = Arbitrary.all({
  duration: millisOrForever(40),
  ending: oneOf("succeeds", "succeeds", "fails", "dies"),
  deaf: oneOf(false, false, false, true),
  finalizer: Arbitrary.flatMap(int(0, 3), (n) => n < 2 ? Arbitrary.Constant(0) : millisOrForever(12))
})

/**
 * How long it takes when nobody disturbs it.
 *
 * @category getters
 * @since 0.1.0
 */
export const length = ({ duration, finalizer }: Work): number => duration + finalizer

/**
 * How long it takes to end when it is interrupted at this age.
 *
 * @category getters
 * @since 0.1.0
 */
export const lengthOfEnd = (work: Work, age: number): number => {
  if (work.deaf || age >= work.duration) return Math.max(0, length(work) - age)
  return work.finalizer
}

/**
 * How it ends when nobody disturbs it.
 *
 * @category getters
 * @since 0.1.0
 */
export const ending = ({ ending }: Work, name: string): Exit.Exit<string, string> => {
  if (ending === "succeeds") return Exit.succeed(name)
  return ending === "fails" ? Exit.fail(name) : Exit.die(name)
}

/**
 * The work itself. It says when it begins, takes a step, and ends.
 *
 * @category running
 * @since 0.1.0
 */
export const enact = (
  work: Work,
  name: string,
  say: (verb: "begins" | "steps" | "ends") => Effect.Effect<void>
): Effect.Effect<string, string> => {
  const body = Effect.gen(function*() {
    yield* say("begins")
    const visible = Math.min(work.duration, 100)
    for (let age = 0; age < visible; age += 5) {
      yield* Effect.sleep(Math.min(5, visible - age))
      yield* say("steps")
    }
    if (work.duration > visible) yield* Effect.never
    return yield* ending(work, name)
  })
  const finalizer = work.finalizer === Number.POSITIVE_INFINITY
    ? Effect.never
    : Effect.andThen(work.finalizer === 0 ? Effect.void : Effect.sleep(work.finalizer), say("steps"))
  return Effect.onExit(
    Effect.ensuring(work.deaf ? Effect.uninterruptible(body) : body, finalizer),
    () => say("ends")
  )
}
