/**
 * Where stoppable things make themselves known, so that a process can stop them together.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { AnySpan } from "effect/Tracer"
import type { GracefulStop } from "./GracefulStop.ts"
import type { InFlight } from "./InFlight.ts"
import type { StopReport } from "./StopReport.ts"

/**
 * What a registry knows of a resource.
 *
 * @category models
 * @since 0.1.0
 */
export interface Member {
  readonly stop: GracefulStop
  readonly inFlight: InFlight | undefined
}

/**
 * A registry of stoppable things.
 *
 * @category models
 * @since 0.1.0
 */
export interface StopRegistry {
  /** Adds a resource; the function removes it, once it has stopped, and takes the report of that. */
  readonly register: (member: Member) => (report?: StopReport) => void
  /** The span that the stop of a resource with this context is part of. */
  readonly parentSpan: (context: Context.Context<never>) => AnySpan | undefined
}

/**
 * The registry that a `GracefulStop` adds itself to when it is made; without one it is on its own.
 *
 * @category references
 * @since 0.1.0
 */
export const StopRegistry: Context.Reference<StopRegistry | undefined> = Context.Reference<StopRegistry | undefined>(
  "@lastcall/core/StopRegistry",
  { defaultValue: () => undefined }
)
