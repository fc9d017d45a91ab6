/** When an RPC of a client must have ended: its own deadline, and that of the RPC that is being served. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { GrpcCall } from "../GrpcCall.ts"

export class GrpcClientOptionError extends Data.TaggedError("GrpcClientOptionError")<{
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `client option ${this.option} is ${String(this.value)}: ${this.reason}`
  }
}

/** `undefined` if nothing was said. Throws {@link GrpcClientOptionError}. */
export const millisOf = (deadline: Duration.Input | undefined): number | undefined => {
  if (deadline === undefined) return undefined
  const duration = Number.isNaN(deadline) ? Option.none() : Duration.fromInput(deadline)
  if (Option.isNone(duration)) {
    throw new GrpcClientOptionError({ option: "deadline", value: deadline, reason: "not a duration" })
  }
  return Math.max(0, Duration.toMillis(duration.value))
}

/** In milliseconds of the machine's clock, which grpc-js measures by on both sides; `Infinity` without one. */
export const of = (context: Context.Context<never>, deadline: Duration.Input | undefined): number => {
  const millis = millisOf(deadline)
  const own = millis === undefined ? Number.POSITIVE_INFINITY : Date.now() + millis
  const served = Context.getOption(context, GrpcCall)
  return Option.isNone(served) ? own : Math.min(own, served.value.deadline)
}
