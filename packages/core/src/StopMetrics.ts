/**
 * Metrics of stops, by resource and kind of work (server and method): what is in flight, how long drains took, what was
 * forced and what it cut.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type { Counts } from "./InFlight.ts"
import { Lifecycle } from "./Lifecycle.ts"
import type { StopEvent } from "./StopEvent.ts"

/**
 * `lastcall_in_flight`, a gauge: pieces of work that were admitted and have not ended, by `resource` and `kind`; resources
 * of one name are added up. Kept by {@link layer}.
 *
 * @category metrics
 * @since 0.1.0
 */
export const inFlight: Metric.Gauge<number> = Metric.gauge("lastcall_in_flight", {
  description: "Pieces of work that were admitted and have not ended"
})

/**
 * `lastcall_drain_duration_seconds`, a histogram: how long drains took, by `resource` and `outcome`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const drainDuration: Metric.Histogram<number> = Metric.histogram("lastcall_drain_duration_seconds", {
  description: "How long drains took",
  boundaries: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 60]
})

/**
 * `lastcall_forced_total`, a counter: stops that were forced, by `resource` and `by` (grace, budget, escalation, failure).
 *
 * @category metrics
 * @since 0.1.0
 */
export const forced: Metric.Counter<number> = Metric.counter("lastcall_forced_total", {
  description: "Stops that were forced",
  incremental: true
})

/**
 * `lastcall_cut_total`, a counter: pieces of work that a force has cut, by `resource`, `kind` and `outcome` (interrupted,
 * destroyed, abandoned).
 *
 * @category metrics
 * @since 0.1.0
 */
export const cut: Metric.Counter<number> = Metric.counter("lastcall_cut_total", {
  description: "Pieces of work that a force has cut",
  incremental: true
})

const cutOutcomes = ["interrupted", "destroyed", "abandoned"] as const

/**
 * Counts an event. {@link layer} does so for the resources of a `Lifecycle`; without one, use it in a `StopEvent.Sink`.
 *
 * @category counting
 * @since 0.1.0
 */
export const count = (event: StopEvent): Effect.Effect<void> => {
  if (event._tag !== "Stopped") return Effect.void
  const { durations, forcedBy, kinds, name: resource, outcome } = event.report
  const updates = [
    Metric.update(Metric.withAttributes(drainDuration, { resource, outcome }), durations.draining / 1_000)
  ]
  if (forcedBy !== undefined) updates.push(Metric.update(Metric.withAttributes(forced, { resource, by: forcedBy }), 1))
  for (const [kind, counts] of Object.entries(kinds)) {
    for (const outcome of cutOutcomes) {
      if (counts[outcome] > 0) {
        updates.push(Metric.update(Metric.withAttributes(cut, { resource, kind, outcome }), counts[outcome]))
      }
    }
  }
  return Effect.all(updates, { discard: true })
}

/**
 * Keeps all these metrics for the resources of the `Lifecycle` in the context: {@link inFlight} once a second, the others
 * as things happen. Provide it below the resources, and above what exports the metrics.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle
  yield* lifecycle.onEvent(count)
  /** Series that were written: one whose resource has gone is set to zero, once. */
  const written = new Map<string, Metric.Gauge<number>>()

  const sample = Effect.suspend(() => {
    const updates: Array<Effect.Effect<void>> = []
    const gone = new Map(written)
    /** Resources may share a name, as channels to one address do. */
    const sums = new Map<string, number>()
    for (const { inFlight: work, stop } of lifecycle.members()) {
      for (const [kind, counts] of Object.entries(work?.countsByKind() ?? {})) {
        const key = JSON.stringify([stop.name, kind])
        if (!written.has(key)) written.set(key, Metric.withAttributes(inFlight, { resource: stop.name, kind }))
        sums.set(key, (sums.get(key) ?? 0) + size(counts))
      }
    }
    for (const [key, sum] of sums) {
      gone.delete(key)
      updates.push(Metric.update(written.get(key)!, sum))
    }
    for (const [key, series] of gone) {
      written.delete(key)
      updates.push(Metric.update(series, 0))
    }
    return Effect.all(updates, { discard: true })
  })

  const fiber = yield* Effect.forkDetach(Effect.forever(Effect.andThen(sample, Effect.sleep("1 second"))))
  yield* Effect.addFinalizer(() => Effect.andThen(Effect.sync(() => fiber.interruptUnsafe()), sample))
}))

const size = (counts: Counts): number =>
  counts.admitted - counts.succeeded - counts.failed - counts.interrupted - counts.destroyed - counts.abandoned
