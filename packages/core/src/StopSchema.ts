/**
 * The schemas of the events and reports of a stop, to send them elsewhere: they encode to JSON and back.
 *
 * A module of its own, so that a program that does not send them does not load Effect's `Schema` (measured: a third of
 * the time to load a server).
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as InFlight from "./InFlight.ts"
import type * as Event from "./StopEvent.ts"
import type * as Report from "./StopReport.ts"

/**
 * Numbers of pieces of work by outcome.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Counts: Schema.Codec<InFlight.Counts> = Schema.Struct({
  admitted: Schema.Int,
  succeeded: Schema.Int,
  failed: Schema.Int,
  interrupted: Schema.Int,
  destroyed: Schema.Int,
  abandoned: Schema.Int,
  refused: Schema.Int
})

/**
 * A piece of work and its age.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Running: Schema.Codec<InFlight.Running> = Schema.Struct({
  kind: Schema.String,
  ageMillis: Schema.Finite
})

/**
 * Why a stop was forced.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ForcedBy: Schema.Codec<Report.ForcedBy> = Schema.Literals(["grace", "budget", "escalation", "failure"])

const Outcome = Schema.Literals(["graceful", "forced"])

/**
 * What happened in one stop of one resource.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StopReport: Schema.Codec<Report.StopReport> = Schema.Struct({
  name: Schema.String,
  outcome: Outcome,
  forcedBy: Schema.optionalKey(ForcedBy),
  startedAt: Schema.Finite,
  durations: Schema.Struct({
    announced: Schema.Finite,
    draining: Schema.Finite,
    interrupting: Schema.Finite,
    total: Schema.Finite
  }),
  counts: Counts,
  kinds: Schema.Record(Schema.String, Counts),
  notified: Schema.Int,
  slowest: Schema.optionalKey(Running),
  blockers: Schema.Array(Running),
  abandoned: Schema.Array(Running),
  failures: Schema.Array(Schema.String)
})

/**
 * What happened in the stop of a process.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ProcessReport: Schema.Codec<Report.ProcessReport> = Schema.Struct({
  outcome: Outcome,
  startedAt: Schema.Finite,
  durations: Schema.Struct({
    drainDelay: Schema.Finite,
    closing: Schema.Finite,
    total: Schema.Finite
  }),
  resources: Schema.Array(StopReport)
})

const event = <const Tag extends string, const Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
  Schema.TaggedStruct(tag, { resource: Schema.String, at: Schema.Finite, ...fields })

/**
 * Any event of a stop.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StopEvent: Schema.Codec<Event.StopEvent> = Schema.Union([
  event("Announced", {}),
  event("DrainStarted", { inFlight: Schema.Int }),
  event("StillRunning", { running: Schema.Array(Running), leftMillis: Schema.NullOr(Schema.Finite) }),
  event("DrainCut", { by: ForcedBy, blockers: Schema.Array(Running) }),
  event("Interrupted", { ended: Schema.Int, left: Schema.Int }),
  event("Destroyed", { abandoned: Schema.Array(Running) }),
  event("StepFailed", { step: Schema.String, cause: Schema.String }),
  event("Stopped", { report: StopReport })
])
