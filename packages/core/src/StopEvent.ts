/**
 * What happens during a stop, as data: one type per event, rendered apart.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Running } from "./InFlight.ts"
import * as Report from "./StopReport.ts"

interface Event<Tag extends string> {
  readonly _tag: Tag
  /** The name of the resource. */
  readonly resource: string
  /** When, in milliseconds since the epoch. */
  readonly at: number
}

/** The end is coming; everything is still served. @category models @since 0.1.0 */
export interface Announced extends Event<"Announced"> {}

/** Nothing new is admitted; this many are in flight. @category models @since 0.1.0 */
export interface DrainStarted extends Event<"DrainStarted"> {
  readonly inFlight: number
}

/**
 * The drain goes on: what is in flight, oldest first, and how many milliseconds are left (`null`: for ever).
 *
 * @category models
 * @since 0.1.0
 */
export interface StillRunning extends Event<"StillRunning"> {
  readonly running: ReadonlyArray<Running>
  readonly leftMillis: number | null
}

/** The drain is cut short: why, and what is in flight. @category models @since 0.1.0 */
export interface DrainCut extends Event<"DrainCut"> {
  readonly by: Report.ForcedBy
  readonly blockers: ReadonlyArray<Running>
}

/** What was in flight was interrupted; this many have ended, this many have not. @category models @since 0.1.0 */
export interface Interrupted extends Event<"Interrupted"> {
  readonly ended: number
  readonly left: number
}

/** What was left was destroyed; what had not ended is abandoned. @category models @since 0.1.0 */
export interface Destroyed extends Event<"Destroyed"> {
  readonly abandoned: ReadonlyArray<Running>
}

/** A step of the stop failed or died; the steps after it still run. @category models @since 0.1.0 */
export interface StepFailed extends Event<"StepFailed"> {
  readonly step: string
  readonly cause: string
}

/** The resource has stopped. @category models @since 0.1.0 */
export interface Stopped extends Event<"Stopped"> {
  readonly report: Report.StopReport
}

/**
 * An event of a stop: plain data. `StopSchema` encodes it to JSON and back.
 *
 * @category models
 * @since 0.1.0
 */
export type StopEvent =
  | Announced
  | DrainStarted
  | StillRunning
  | DrainCut
  | Interrupted
  | Destroyed
  | StepFailed
  | Stopped

/** An event without its time, as a resource tells it. @category models @since 0.1.0 */
export type Told = StopEvent extends infer E ? E extends StopEvent ? Omit<E, "at"> : never : never

const duration = (millis: number): string => Duration.format(Duration.millis(Math.max(0, Math.round(millis))))

/**
 * One line for people.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (event: StopEvent): string => {
  switch (event._tag) {
    case "Announced":
      return `${event.resource}: the end is announced`
    case "DrainStarted":
      return `${event.resource}: draining, ${event.inFlight} in flight`
    case "StillRunning":
      return `${event.resource}: ${renderRunning(event.running)}, ${
        event.leftMillis === null ? "no limit" : `${duration(event.leftMillis)} left`
      }`
    case "DrainCut":
      return `${event.resource}: drain cut short (${event.by}), ${renderRunning(event.blockers)}`
    case "Interrupted":
      return `${event.resource}: interrupted, ${event.ended} ended, ${event.left} did not`
    case "Destroyed":
      return event.abandoned.length === 0
        ? `${event.resource}: destroyed`
        : `${event.resource}: destroyed, ${event.abandoned.length} abandoned: ${renderRunning(event.abandoned)}`
    case "StepFailed":
      return `${event.resource}: ${event.step} failed: ${event.cause}`
    case "Stopped":
      return Report.render(event.report)
  }
}

/**
 * "12 in flight, oldest demo.Watch 12s".
 *
 * @category rendering
 * @since 0.1.0
 */
export const renderRunning = (running: ReadonlyArray<Running>): string => {
  const oldest = running[0]
  return oldest === undefined
    ? "nothing in flight"
    : `${running.length} in flight, oldest ${oldest.kind} ${duration(oldest.ageMillis)}`
}

/**
 * Logs an event: what was cut as a warning, what failed or was abandoned as an error, the rest as information. Each log is
 * annotated with the resource and the type of the event.
 *
 * @category rendering
 * @since 0.1.0
 */
export const log = (event: StopEvent): Effect.Effect<void> =>
  Effect.annotateLogs(atLevel(event)(render(event)), { resource: event.resource, event: event._tag })

const atLevel = (event: StopEvent): (message: string) => Effect.Effect<void> => {
  switch (event._tag) {
    case "Interrupted":
      return Effect.logDebug
    case "DrainCut":
      return Effect.logWarning
    case "StepFailed":
      return Effect.logError
    case "Destroyed":
      return event.abandoned.length === 0 ? Effect.logDebug : Effect.logError
    case "Stopped":
      return event.report.outcome === "graceful" ? Effect.logInfo : Effect.logWarning
    default:
      return Effect.logInfo
  }
}

/**
 * Where resources tell their events. Default: {@link log}.
 *
 * @category references
 * @since 0.1.0
 */
export const Sink: Context.Reference<(event: StopEvent) => Effect.Effect<void>> = Context.Reference(
  "@lastcall/core/StopEvent/Sink",
  { defaultValue: () => log }
)
