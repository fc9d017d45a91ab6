import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as StopMetrics from "@lastcall/core/StopMetrics"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
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
