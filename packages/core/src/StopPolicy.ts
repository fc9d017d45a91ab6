/**
 * How long the steps of a stop may take.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"

/**
 * The durations of a stop. A bare number is milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long to keep serving after the announcement, so that load balancers stop sending. Default: 0.
   */
  readonly drainDelay?: Duration.Input | undefined
  /**
   * How long the drain may take. `"Infinity"` waits for ever: then only an escalation or a budget forces the stop.
   * Default: 10 seconds.
   */
  readonly grace?: Duration.Input | undefined
  /**
   * How long interrupted work may take to end, finalizers included, before it is destroyed. Finite. Default: 2 seconds.
   */
  readonly forceTimeout?: Duration.Input | undefined
}

/**
 * A checked policy, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface StopPolicy {
  readonly drainDelayMillis: number
  readonly graceMillis: number
  readonly forceTimeoutMillis: number
}

/**
 * An option of a policy that makes no sense. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export class StopPolicyError extends Data.TaggedError("StopPolicyError")<{
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `stop policy: ${this.option} is ${Formatter.format(this.value)}: ${this.reason}`
  }
}

/** A `Duration` made of `NaN` is zero: of `{ seconds: Number("5s") }` too. */
const hasNaN = (value: Duration.Input): boolean => [value, ...Object.values(Object(value))].some(Number.isNaN)

/** @internal */
export const millis = (option: string, value: Duration.Input, maximum: "finite" | "any"): number => {
  const duration = hasNaN(value) ? undefined : Option.getOrUndefined(Duration.fromInput(value))
  const result = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  if (Number.isNaN(result)) throw new StopPolicyError({ option, value, reason: "not a duration" })
  if (result < 0) throw new StopPolicyError({ option, value, reason: "must not be negative" })
  if (maximum === "finite" && result === Number.POSITIVE_INFINITY) {
    throw new StopPolicyError({ option, value, reason: "must be finite" })
  }
  return result
}

/**
 * Checks the options and fills in the defaults. Throws {@link StopPolicyError}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): StopPolicy => ({
  drainDelayMillis: millis("drainDelay", options.drainDelay ?? 0, "finite"),
  graceMillis: millis("grace", options.grace ?? "10 seconds", "any"),
  forceTimeoutMillis: millis("forceTimeout", options.forceTimeout ?? "2 seconds", "finite")
})

/**
 * The options of resources that do not state their own. Default: the defaults of {@link Options}.
 *
 * @category references
 * @since 0.1.0
 */
export const Defaults: Context.Reference<Options> = Context.Reference<Options>("@lastcall/core/StopPolicy/Defaults", {
  defaultValue: () => ({})
})

/**
 * The options, and others where they say nothing.
 *
 * @category combinators
 * @since 0.1.0
 */
export const orElse = (options: Options | undefined, other: Options): Options => ({
  drainDelay: options?.drainDelay ?? other.drainDelay,
  grace: options?.grace ?? other.grace,
  forceTimeout: options?.forceTimeout ?? other.forceTimeout
})
