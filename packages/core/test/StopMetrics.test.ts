import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import type { Counts } from "@lastcall/core/InFlight"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type { StopEvent } from "@lastcall/core/StopEvent"
import * as StopMetrics from "@lastcall/core/StopMetrics"
import type { StopReport } from "@lastcall/core/StopReport"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

const worker = Layer.effectDiscard(Effect.gen(function*() {
  const inFlight = yield* InFlight.make
  yield* GracefulStop.make({ name: "api", inFlight }, { grace: "5 seconds" })
  for (const kind of ["quick", "quick", "endless"]) {
    const work = kind === "quick" ? Effect.sleep("4 seconds") : Effect.never
    yield* Effect.forkDetach(InFlight.run(inFlight, kind, work), { startImmediately: true })
  }
}))

it.effect("what is in flight, how long a drain took, what was forced and what it cut, by resource and kind", () =>
  Effect.gen(function*() {
    const value = <I, S>(metric: Metric.Metric<I, S>, attributes: Record<string, string>) =>
      Metric.value(Metric.withAttributes(metric, attributes))
    const main = yield* Effect.forkChild(Lifecycle.launch(Layer.provide(worker, StopMetrics.layer)))
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual((yield* value(StopMetrics.inFlight, { resource: "api", kind: "quick" })).value, 2)
    assert.strictEqual((yield* value(StopMetrics.inFlight, { resource: "api", kind: "endless" })).value, 1)
    const interrupting = yield* Effect.forkChild(Fiber.interrupt(main), { startImmediately: true })
    yield* TestClock.adjust("3 seconds")
    assert.strictEqual((yield* value(StopMetrics.inFlight, { resource: "api", kind: "quick" })).value, 0)
    yield* TestClock.adjust("3 seconds")
    yield* Fiber.join(interrupting)

    assert.strictEqual((yield* value(StopMetrics.inFlight, { resource: "api", kind: "endless" })).value, 0)
    const drains = yield* value(StopMetrics.drainDuration, { resource: "api", outcome: "forced" })
    assert.strictEqual(drains.count, 1)
    assert.strictEqual(drains.sum, 5)
    assert.strictEqual((yield* value(StopMetrics.forced, { resource: "api", by: "grace" })).count, 1)
    assert.strictEqual(
      (yield* value(StopMetrics.cut, { resource: "api", kind: "endless", outcome: "interrupted" })).count,
      1
    )
    assert.strictEqual(
      (yield* value(StopMetrics.cut, { resource: "api", kind: "quick", outcome: "interrupted" })).count,
      0
    )
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

const none = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }

/** All series: name, attributes, value. */
const series = Effect.map(Metric.snapshot, (snapshots) =>
  snapshots.map(({ attributes, id, state }) => {
    const value = state as { readonly value?: number; readonly count?: number; readonly sum?: number }
    return [id, Object.values(attributes ?? {}).join(" "), value.value ?? value.sum ?? value.count]
  }).toSorted((a, b) => String(a) < String(b) ? -1 : 1))

const counted = (report: Partial<StopReport>): StopEvent => ({
  _tag: "Stopped",
  resource: "api",
  at: 0,
  report: {
    name: "api",
    outcome: "graceful",
    startedAt: 0,
    durations: { announced: 0, draining: 1_500, interrupting: 0, total: 1_500 },
    counts: none,
    kinds: {},
    notified: 0,
    blockers: [],
    abandoned: [],
    failures: [],
    ...report
  }
})

it.effect("a graceful stop counts its drain, and nothing else", () =>
  Effect.gen(function*() {
    yield* StopMetrics.count({ _tag: "Announced", resource: "api", at: 0 })
    assert.deepStrictEqual(yield* series, [])
    assert.isUndefined(yield* StopMetrics.count(counted({ kinds: { work: { ...none, admitted: 3, succeeded: 3 } } })))
    assert.deepStrictEqual(yield* series, [["lastcall_drain_duration_seconds", "api graceful", 1.5]])
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

it.effect("a forced stop counts its reason, and what it cut of each kind in which way", () =>
  Effect.gen(function*() {
    const kinds = {
      watch: { ...none, admitted: 6, interrupted: 1, destroyed: 2, abandoned: 3 },
      work: { ...none, admitted: 5, succeeded: 1, interrupted: 4 }
    }
    yield* StopMetrics.count(counted({ outcome: "forced", forcedBy: "budget", kinds }))
    assert.deepStrictEqual(yield* series, [
      ["lastcall_cut_total", "api watch abandoned", 3],
      ["lastcall_cut_total", "api watch destroyed", 2],
      ["lastcall_cut_total", "api watch interrupted", 1],
      ["lastcall_cut_total", "api work interrupted", 4],
      ["lastcall_drain_duration_seconds", "api forced", 1.5],
      ["lastcall_forced_total", "api budget", 1]
    ])
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

it.effect("the metrics are described; counters only grow, and a drain falls into one of 14 buckets", () =>
  Effect.gen(function*() {
    yield* Metric.update(StopMetrics.inFlight, 1)
    yield* Metric.update(StopMetrics.drainDuration, 1)
    for (const counter of [StopMetrics.forced, StopMetrics.cut]) {
      yield* Metric.update(counter, 2)
      yield* Metric.update(counter, -1)
      assert.strictEqual((yield* Metric.value(counter)).count, 2)
    }
    assert.deepStrictEqual((yield* Metric.snapshot).map(({ description, id }) => [id, description]), [
      ["lastcall_in_flight", "Pieces of work that were admitted and have not ended"],
      ["lastcall_drain_duration_seconds", "How long drains took"],
      ["lastcall_forced_total", "Stops that were forced"],
      ["lastcall_cut_total", "Pieces of work that a force has cut"]
    ])
    const { buckets } = yield* Metric.value(StopMetrics.drainDuration)
    assert.deepStrictEqual(buckets.map(([bound]) => bound), [
      0.01,
      0.05,
      0.1,
      0.25,
      0.5,
      1,
      2.5,
      5,
      10,
      15,
      20,
      25,
      30,
      60
    ])
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

it.effect("what is in flight is sampled once a second until the scope closes; what has gone is zero", () =>
  Effect.gen(function*() {
    let samples = 0
    const members = new Map<string, Record<string, Counts>>([
      ["api", {
        watch: { admitted: 100, succeeded: 1, failed: 2, interrupted: 4, destroyed: 8, abandoned: 16, refused: 32 },
        work: { ...none, admitted: 2 }
      }],
      ["admin", { watch: { ...none, admitted: 3 } }]
    ])
    const lifecycle: Lifecycle.Lifecycle = {
      ...yield* Lifecycle.Lifecycle,
      members() {
        samples++
        return Array.from(members, ([name, kinds]) => ({
          stop: { name } as GracefulStop.GracefulStop,
          inFlight: { countsByKind: () => kinds } as unknown as InFlight.InFlight
        })).concat({ stop: { name: "counts nothing" } as GracefulStop.GracefulStop, inFlight: undefined! })
      }
    }
    const scope = yield* Scope.make()
    yield* Effect.provideService(Layer.buildWithScope(StopMetrics.layer, scope), Lifecycle.Lifecycle, lifecycle)
    yield* TestClock.adjust("2500 millis")
    assert.strictEqual(samples, 3)
    assert.deepStrictEqual(yield* series, [
      ["lastcall_in_flight", "admin watch", 3],
      ["lastcall_in_flight", "api watch", 69],
      ["lastcall_in_flight", "api work", 2]
    ])
    members.get("api")!["work"] = { ...none, admitted: 5 }
    members.delete("admin")
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* series, [
      ["lastcall_in_flight", "admin watch", 0],
      ["lastcall_in_flight", "api watch", 69],
      ["lastcall_in_flight", "api work", 5]
    ])
    members.clear()
    samples = 0
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(samples, 1)
    assert.deepStrictEqual((yield* series).map(([, , value]) => value), [0, 0, 0])
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

it.effect("what is in flight in resources of one name is added up, until the last of them has gone", () =>
  Effect.gen(function*() {
    const members = [5, 1].map((admitted) => ({
      stop: { name: "channel" } as GracefulStop.GracefulStop,
      inFlight: { countsByKind: () => ({ call: { ...none, admitted } }) } as unknown as InFlight.InFlight
    }))
    const lifecycle: Lifecycle.Lifecycle = { ...yield* Lifecycle.Lifecycle, members: () => members }
    yield* Effect.provideService(Layer.build(StopMetrics.layer), Lifecycle.Lifecycle, lifecycle)
    for (const value of [6, 1, 0]) {
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* series, [["lastcall_in_flight", "channel call", value]])
      members.shift()
    }
  }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map())))
