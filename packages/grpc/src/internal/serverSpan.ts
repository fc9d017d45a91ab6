/**
 * Server spans as `Effect.makeSpan` makes them, without a fiber for each: what rules them is read from the context once.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"

export interface Spans {
  /** A root without a parent. */
  readonly begin: (name: string, parent: Option.Option<Tracer.ExternalSpan>) => Tracer.Span
  /** The time for the end of a span, in nanoseconds since the epoch; 0 where spans have no times. */
  readonly now: () => bigint
}

/** `undefined` where tracing is disabled. */
export const make = (context: Context.Context<never>): Spans | undefined => {
  if (!Context.get(context, References.TracerEnabled)) return undefined
  const tracer = Context.get(context, Tracer.Tracer)
  const clock = Context.get(context, Clock.Clock)
  const hasTimes = Context.get(context, References.TracerTimingEnabled)
  const attributes = Object.entries(Context.get(context, References.TracerSpanAnnotations))
  const links = Context.get(context, References.TracerSpanLinks)
  const isBelowLevel = LogLevel.isGreaterThan(
    Context.get(context, Tracer.MinimumTraceLevel),
    Context.get(context, Tracer.CurrentTraceLevel)
  )
  const now = (): bigint => hasTimes ? clock.currentTimeNanosUnsafe() : 0n
  return {
    now,
    begin(name, parent) {
      const span = tracer.span({
        name,
        parent,
        annotations: Context.empty(),
        links: links.slice(),
        startTime: now(),
        kind: "server",
        root: Option.isNone(parent),
        sampled: !isBelowLevel && !(Option.isSome(parent) && !parent.value.sampled)
      })
      for (const [key, value] of attributes) span.attribute(key, value)
      return span
    }
  }
}
