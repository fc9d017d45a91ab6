/**
 * What happened in a stop, as a value.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type * as InFlight from "./InFlight.ts"

/**
 * Numbers of pieces of work by outcome; see `InFlight.Counts`.
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
 * A piece of work and its age in milliseconds; see `InFlight.Running`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Running: Schema.Codec<InFlight.Running> = Schema.Struct({
  kind: Schema.String,
  ageMillis: Schema.Finite
})

/**
 * Why a stop was forced: the grace period was over, the budget of the process was spent, someone escalated, or the drain
 * itself failed.
 *
 * @category models
 * @since 0.1.0
 */
export type ForcedBy = typeof ForcedBy.Type

/**
 * The schema of {@link ForcedBy}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ForcedBy: Schema.Literals<readonly ["grace", "budget", "escalation", "failure"]> = Schema.Literals([
  "grace",
  "budget",
  "escalation",
  "failure"
])

/**
 * What happened in one stop of one resource. It encodes to JSON and back.
 *
 * @category models
 * @since 0.1.0
 */
export class StopReport extends Schema.Class<StopReport>("@lastcall/core/StopReport")({
  /** The name of the resource. */
  name: Schema.String,
  /** `graceful`: the drain ended by itself. `forced`: it was cut short. */
  outcome: Schema.Literals(["graceful", "forced"]),
  /** Why it was forced. */
  forcedBy: Schema.optionalKey(ForcedBy),
  /** When the stop began, in milliseconds since the epoch. */
  startedAt: Schema.Finite,
  /** How long each phase took, in milliseconds; `total` is their sum. */
  durations: Schema.Struct({
    announced: Schema.Finite,
    draining: Schema.Finite,
    interrupting: Schema.Finite,
    total: Schema.Finite
  }),
  /** The pieces of work over the life of the resource. */
  counts: Counts,
  /** The same, by kind. */
  kinds: Schema.Record(Schema.String, Counts),
  /** How many were in flight when the drain began: those that handlers were told in. */
  notified: Schema.Int,
  /** What took longest of all that ended during the stop, and how long it had run by then. */
  slowest: Schema.optionalKey(Running),
  /** What was in flight when the stop was forced, oldest first: who blocked the drain. */
  blockers: Schema.Array(Running),
  /** What had not ended when the force timeout was over, oldest first. It may still be running. */
  abandoned: Schema.Array(Running),
  /** The steps of the stop that failed or died, each with its cause; each was logged as well. */
  failures: Schema.Array(Schema.String)
}) {}

/**
 * What happened in the stop of a process. It encodes to JSON and back.
 *
 * @category models
 * @since 0.1.0
 */
export class ProcessReport extends Schema.Class<ProcessReport>("@lastcall/core/ProcessReport")({
  /** `forced` if one of the resources was. */
  outcome: Schema.Literals(["graceful", "forced"]),
  /** When the stop was announced, in milliseconds since the epoch. */
  startedAt: Schema.Finite,
  /** How long the drain delay and the closing of the layers took, in milliseconds; `total` is their sum. */
  durations: Schema.Struct({
    drainDelay: Schema.Finite,
    closing: Schema.Finite,
    total: Schema.Finite
  }),
  /** The reports of the resources, in the order in which they stopped. */
  resources: Schema.Array(StopReport)
}) {}

const plural = (n: number, one: string): string => `${n} ${one}${n === 1 ? "" : "s"}`

const list = (running: ReadonlyArray<InFlight.Running>): string => {
  const byKind = new Map<string, { count: number; oldest: number }>()
  for (const { ageMillis, kind } of running) {
    const seen = byKind.get(kind)
    if (seen === undefined) byKind.set(kind, { count: 1, oldest: ageMillis })
    else {
      seen.count++
      seen.oldest = Math.max(seen.oldest, ageMillis)
    }
  }
  return Array.from(
    byKind,
    ([kind, { count, oldest }]) => `${count} x ${kind} (${count > 1 ? "oldest " : ""}${format(oldest)})`
  ).join(", ")
}

const format = (millis: number): string => Duration.format(Duration.millis(Math.round(millis)))

/**
 * One line for people: "api stopped gracefully in 1s 200ms: 12 succeeded, 1 failed".
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (report: StopReport): string => {
  const how = report.outcome === "graceful" ? "stopped gracefully" : `was forced to stop (${report.forcedBy})`
  const { abandoned, admitted, refused, ...outcomes } = report.counts
  const parts = Object.entries(outcomes).filter(([, n]) => n > 0).map(([outcome, n]) => `${n} ${outcome}`)
  if (abandoned > 0) parts.push(`${plural(abandoned, "handler")} abandoned: ${list(report.abandoned)}`)
  if (refused > 0) parts.push(`${refused} refused`)
  if (report.blockers.length > 0) parts.push(`blocked by ${list(report.blockers)}`)
  return `${report.name} ${how} in ${format(report.durations.total)}: ${admitted} admitted` +
    (parts.length > 0 ? `, ${parts.join(", ")}` : "")
}

/**
 * A line for the process, and one for each resource.
 *
 * @category rendering
 * @since 0.1.0
 */
export const renderProcess = (report: ProcessReport): string =>
  [
    `${report.outcome === "graceful" ? "stopped gracefully" : "was forced to stop"} in ${
      format(report.durations.total)
    }`,
    ...report.resources.map((resource) => `  ${render(resource)}`)
  ].join("\n")
