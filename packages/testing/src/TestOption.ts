/**
 * The options of this package: what happens where one makes no sense.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Formatter from "effect/Formatter"

/**
 * An option that makes no sense: a duration of `NaN`, a negative rate, half a run. It is a mistake in the test, so it is thrown
 * (a defect in an Effect), before anything is connected or run.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestOptionError extends Data.TaggedError("TestOptionError")<{
  /** The function that was given it, such as `HostilePeer.resetting`. */
  readonly where: string
  readonly option: string
  readonly value: unknown
  /** What is allowed. */
  readonly reason: string
}> {
  override get message(): string {
    return `${this.where}: ${this.option} is ${Formatter.format(this.value)}: ${this.reason}`
  }
}
