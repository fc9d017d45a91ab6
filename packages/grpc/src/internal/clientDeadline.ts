/** When an RPC of a client must have ended: its own deadline, and that of the RPC that is being served. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import { GrpcCall } from "../GrpcCall.ts"
import * as CheckedDuration from "./checkedDuration.ts"

export class GrpcClientOptionError extends Data.TaggedError("GrpcClientOptionError")<{
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `client option ${this.option} is ${Formatter.format(this.value)}: ${this.reason}`
  }
}

/** `undefined` if nothing was said. Throws {@link GrpcClientOptionError}. */
export const millisOf = (deadline: Duration.Input | undefined): number | undefined => {
  if (deadline === undefined) return undefined
  const duration = CheckedDuration.parse(deadline)
  if (duration === undefined) {
    throw new GrpcClientOptionError({ option: "deadline", value: deadline, reason: "not a duration" })
  }
  return Math.max(0, Duration.toMillis(duration))
}

/**
 * Eight digits of seconds: for just a little more grpc-js sends nine, which a server reads as another number, and above eight
 * digits of hours it throws where nobody can catch it.
 */
const longestMillis = 99_999_999_000

/**
 * In whole milliseconds of the machine's clock, which grpc-js measures by on both sides; `Infinity` without one, or with one that
 * is too far away to be told.
 */
export const of = (context: Context.Context<never>, deadline: Duration.Input | undefined): number => {
  const millis = millisOf(deadline)
  const now = Date.now()
  const own = millis === undefined ? Number.POSITIVE_INFINITY : now + Math.ceil(millis)
  const served = Context.getOption(context, GrpcCall)
  const earliest = Option.isNone(served) ? own : Math.min(own, served.value.deadline)
  return earliest - now > longestMillis ? Number.POSITIVE_INFINITY : earliest
}
