/** Checks of options. Each throws `TestOptionError`, and returns what was checked. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { TestOptionError } from "../TestOption.ts"

export const fail = (where: string, option: string, value: unknown, reason: string): never => {
  throw new TestOptionError({ where, option, value, reason })
}

export const whole = (where: string, option: string, value: number): number =>
  Number.isSafeInteger(value) ? value : fail(where, option, value, "must be a whole number")

export const count = (where: string, option: string, value: number, minimum: 0 | 1): number =>
  Number.isSafeInteger(value) && value >= minimum
    ? value
    : fail(where, option, value, `must be a whole number of at least ${minimum}`)

export const port = (where: string, option: string, value: number): number =>
  Number.isInteger(value) && value >= 0 && value <= 65_535
    ? value
    : fail(where, option, value, "must be a whole number from 0 to 65535")

export const rate = (where: string, option: string, value: number): number =>
  value > 0 && value < Number.POSITIVE_INFINITY ? value : fail(where, option, value, "must be above 0 and finite")

const ranges = {
  any: "must be a duration of 0 or longer",
  finite: "must be a finite duration of 0 or longer",
  positive: "must be a finite duration longer than 0"
}

/** A `Duration` made of `NaN` is zero. */
const hasNaN = (value: Duration.Input): boolean => [value, ...Object.values(Object(value))].some(Number.isNaN)

export const duration = (
  where: string,
  option: string,
  value: Duration.Input,
  range: keyof typeof ranges
): Duration.Duration => {
  const result = hasNaN(value) ? undefined : Option.getOrUndefined(Duration.fromInput(value))
  const millis = result === undefined ? Number.NaN : Duration.toMillis(result)
  const isAllowed = millis >= 0 &&
    (range === "any" || millis < Number.POSITIVE_INFINITY) &&
    (range !== "positive" || millis > 0)
  return result !== undefined && isAllowed ? result : fail(where, option, value, ranges[range])
}
