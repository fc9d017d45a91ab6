/**
 * What happened in a stop, as a value.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as InFlight from "./InFlight.ts"

/**
 * Why a stop was forced: the grace period was over, the budget of the process was spent, someone escalated, or the drain
 * itself failed.
 *
 * @category models
 * @since 0.1.0
 */
export type ForcedBy = "grace" | "budget" | "escalation" | "failure"

/**
 * What happened in one stop of one resource: plain data. `StopSchema` encodes it to JSON and back.
 *
 * @category models
 * @since 0.1.0
 */
export interface StopReport {
  /** The name of the resource. */
  readonly name: string
  /** `graceful`: the drain ended by itself. `forced`: it was cut short. */
  readonly outcome: "graceful" | "forced"
  /** Why it was forced. */
  readonly forcedBy?: ForcedBy
  /** When the stop began, in milliseconds since the epoch. */
  readonly startedAt: number
  /** How long each phase took, in milliseconds; `total` is their sum. */
  readonly durations: {
    readonly announced: number
    readonly draining: number
    readonly interrupting: number
    readonly total: number
  }
  /** The pieces of work over the life of the resource. */
  readonly counts: InFlight.Counts
  /** The same, by kind. */
  readonly kinds: { readonly [kind: string]: InFlight.Counts }
  /** How many were in flight when the drain began: those that handlers were told in. */
  readonly notified: number
  /** What took longest of all that ended during the stop, and how long it had run by then. */
  readonly slowest?: InFlight.Running
  /** What was in flight when the stop was forced, oldest first: who blocked the drain. */
  readonly blockers: ReadonlyArray<InFlight.Running>
  /** What had not ended when the force timeout was over, oldest first. It may still be running. */
  readonly abandoned: ReadonlyArray<InFlight.Running>
  /** The steps of the stop that failed or died, each with its cause; each was logged as well. */
  readonly failures: ReadonlyArray<string>
}

/**
 * What happened in the stop of a process: plain data. `StopSchema` encodes it to JSON and back.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessReport {
  /** `forced` if one of the resources was, or if a start that could not be interrupted was left behind. */
  readonly outcome: "graceful" | "forced"
  /** When the stop was announced, in milliseconds since the epoch. */
  readonly startedAt: number
  /** How long the drain delay and the closing of the layers took, in milliseconds; `total` is their sum. */
  readonly durations: {
    readonly drainDelay: number
    readonly closing: number
    readonly total: number
  }
  /** The reports of the resources, in the order in which they stopped. */
  readonly resources: ReadonlyArray<StopReport>
}

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
