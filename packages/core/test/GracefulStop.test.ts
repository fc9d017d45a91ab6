import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"

it.effect("work that fits into the grace period ends as if nothing had happened", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const inFlight = yield* InFlight.make
    const stop = yield* Scope.provide(GracefulStop.make({ name: "api", inFlight }, { grace: "2 seconds" }), scope)
    const work = yield* Effect.forkChild(InFlight.run(inFlight, "work", Effect.as(Effect.sleep("1 second"), "done")), {
      startImmediately: true
    })
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(work), "done")
    yield* Fiber.join(closing)
    const report = yield* stop.stop
    assert.strictEqual(report.outcome, "graceful")
    assert.strictEqual(report.durations.total, 1000)
    assert.strictEqual(report.counts.succeeded, 1)
  }))
