/** The options of a channel, checked one by one. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Formatter from "effect/Formatter"
import * as CheckedDuration from "./checkedDuration.ts"

export class GrpcChannelOptionError extends Data.TaggedError("GrpcChannelOptionError")<{
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `channel option ${this.option} is ${Formatter.format(this.value)}: ${this.reason}`
  }
}

export const fail = (option: string, value: unknown, reason: string): never => {
  throw new GrpcChannelOptionError({ option, value, reason })
}

/** In milliseconds; what is longer than a timer of Node's is cut to it. */
export const millis = (option: string, value: Duration.Input, atLeast = 0): number => {
  const result = Duration.toMillis(CheckedDuration.positive(value, (reason) => fail(option, value, reason)))
  if (result < atLeast) return fail(option, value, `must be ${atLeast} ms or longer`)
  return Math.min(result, CheckedDuration.maxTimerMillis)
}

/** As {@link millis}, and 0. */
export const millisOrZero = (option: string, value: Duration.Input): number => {
  const duration = CheckedDuration.parse(value)
  return duration !== undefined && Duration.toMillis(duration) === 0 ? 0 : millis(option, value)
}

/** Protobuf's JSON of a duration. */
export const toSeconds = (millis: number): string => `${(millis / 1_000).toFixed(9)}s`

/** A number of bytes; -1 is grpc-js's "no limit". */
export const bytes = (option: string, value: number): number => {
  if (value === Number.POSITIVE_INFINITY) return -1
  return Number.isInteger(value) && value > 0
    ? value
    : fail(option, value, "must be a whole number above 0, or Infinity")
}

export const integer = (option: string, value: number, from: number, to = Number.MAX_SAFE_INTEGER): number =>
  Number.isSafeInteger(value) && value >= from && value <= to
    ? value
    : fail(
      option,
      value,
      to === Number.MAX_SAFE_INTEGER ? `must be a whole number of at least ${from}` : `must be from ${from} to ${to}`
    )

/** Printable ASCII: it becomes part of a header. */
export const headerText = (option: string, value: string): string =>
  /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)
    ? value
    : fail(option, value, "must be printable ASCII")
