/** A duration that a program gave. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** What a Node timer can wait for at most. */
export const maxTimerMillis: number = 2 ** 31 - 1

/** A `Duration` made of `NaN` is zero. */
const hasNaN = (value: Duration.Input): boolean => [value, ...Object.values(Object(value))].some(Number.isNaN)

/** `undefined` if it is none. */
export const parse = (value: Duration.Input): Duration.Duration | undefined =>
  hasNaN(value) ? undefined : Option.getOrUndefined(Duration.fromInput(value))

/** One that is longer than 0. `fail` is told what is wrong with it. */
export const positive = (value: Duration.Input, fail: (reason: string) => never): Duration.Duration => {
  const duration = parse(value)
  if (duration === undefined) return fail("not a duration")
  return Duration.toMillis(duration) > 0 ? duration : fail("must be longer than 0")
}
