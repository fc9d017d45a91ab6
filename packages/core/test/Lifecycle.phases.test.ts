import { assert, it } from "@effect/vitest"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const aSecond = { drain: Effect.sleep("1 second") }

it.effect("the process is ready when its layers are built and the warm-up has ended", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { lifecycle } = yield* launch(resource("api", { build: Effect.sleep("1 second") }), {
      warmUp: Effect.sleep("2 seconds")
    })
    yield* TestClock.adjust(2_999)
    assert.strictEqual(lifecycle.phase(), "Starting")
    yield* TestClock.adjust(1)
    assert.strictEqual(lifecycle.phase(), "Ready")
  }))

it.effect("the warm-up runs while everything serves already", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const seen: Array<string> = []
    yield* launch(resource("api"), {
      warmUp: Effect.map(Lifecycle.Lifecycle, (lifecycle) => {
        seen.push(...lifecycle.members().map(({ stop }) => `${stop.name} ${stop.phase()}`))
      })
    })
    assert.deepStrictEqual(seen, ["api Serving"])
  }))

it.effect("the phases come as values and as a stream, in order", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const seen: Array<string> = []
    const watches = Layer.effectDiscard(Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      yield* Effect.forkDetach(
        Stream.runForEach(lifecycle.changes, (phase) =>
          Effect.sync(() => seen.push(`${phase}, now ${lifecycle.phase()}`))),
        { startImmediately: true }
      )
    }))
    const { interrupt } = yield* launch(Layer.provide(resource("api", aSecond), watches), {
      drainDelay: "1 second",
      warmUp: Effect.sleep("1 second")
    })
    yield* TestClock.adjust("1 second")
    yield* interrupt
    assert.deepStrictEqual(seen, [
      "Starting, now Starting",
      "Ready, now Ready",
      "Announced, now Announced",
      "Draining, now Draining",
      "Stopped, now Stopped"
    ])
  }))

it.effect("the stream begins with the phase now", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { lifecycle } = yield* launch(resource("api"))
    assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(lifecycle.changes, 1)), ["Ready"])
  }))

it.effect("what awaits the drain, anywhere, goes on when the drain delay is over", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const consumer = Layer.effectDiscard(
      Effect.forkScoped(Effect.andThen(Lifecycle.awaitDraining, say("the consumer ends itself")))
    )
    const { interrupt } = yield* launch(Layer.provide(resource("api", aSecond), consumer), { drainDelay: "2 seconds" })
    yield* interrupt
    assert.include(lines, "2000 the consumer ends itself")
  }))

it.effect("outside of launch a lifecycle is ready for ever, and asking it for anything does nothing", () =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle.Lifecycle
    yield* lifecycle.stop
    yield* lifecycle.escalate
    yield* lifecycle.failCause(Cause.die("no"))
    yield* Effect.scoped(lifecycle.onEvent(() => Effect.die("there is none")))
    assert.strictEqual(lifecycle.phase(), "Ready")
    assert.strictEqual(Duration.toMillis(lifecycle.budget), Number.POSITIVE_INFINITY)
    assert.deepStrictEqual(lifecycle.members(), [])
    assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(lifecycle.changes, 1)), ["Ready"])
    const waits = yield* Effect.forkChild(Lifecycle.awaitDraining, { startImmediately: true })
    yield* TestClock.adjust("1 hour")
    assert.isUndefined(waits.pollUnsafe())
  }))

it.effect("asked to stop, launch stops and returns the report", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { end, lifecycle, report } = yield* launch(resource("api", aSecond))
    yield* lifecycle.stop
    assert.deepStrictEqual(yield* end, Exit.succeed(report()))
    assert.strictEqual(report().durations.total, 1_000)
  }))

it.effect("interrupted, launch stops and ends interrupted; a second interruption during the stop changes nothing", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { end, fiber, lifecycle, report } = yield* launch(resource("api", { drain: Effect.sleep("3 seconds") }))
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    fiber.interruptUnsafe()
    yield* lifecycle.stop
    yield* TestClock.adjust("1 second")
    assert.strictEqual(lifecycle.phase(), "Draining")
    const exit = yield* end
    assert.isTrue(Exit.hasInterrupts(exit))
    assert.strictEqual(report().outcome, "graceful")
    assert.strictEqual(report().durations.total, 3_000)
  }))

it.effect("39, 60: an escalation forces all that drains, and all that is still to drain", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const hangs = { drain: Effect.never, release: Effect.sleep("1 second") }
    const app = Lifecycle.sequence([
      Lifecycle.parallel([resource("a", hangs), resource("b", hangs)]),
      resource("c", hangs)
    ])
    const { end, fiber, lifecycle, report } = yield* launch(app)
    fiber.interruptUnsafe()
    yield* TestClock.adjust("2 seconds")
    assert.isUndefined(yield* lifecycle.escalate)
    yield* end
    assert.deepStrictEqual(report().resources.map(({ forcedBy }) => forcedBy), [
      "escalation",
      "escalation",
      "escalation"
    ])
    assert.include(lines, "3000 a released")
    assert.include(lines, "3000 b released")
    assert.include(lines, "4000 c released")
  }))

it.effect("60: an escalation reaches a resource that is made after it", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const late = Layer.effectDiscard(Effect.gen(function*() {
      const scope = yield* Effect.scope
      yield* Effect.addFinalizer(() => Layer.buildWithScope(resource("late", { drain: Effect.never }), scope))
    }))
    const { end, fiber, lifecycle, report } = yield* launch(
      Layer.provide(resource("api", { drain: Effect.never }), late)
    )
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    yield* lifecycle.escalate
    yield* end
    assert.deepStrictEqual(report().resources.map(({ forcedBy, name }) => [name, forcedBy]), [
      ["api", "escalation"],
      ["late", "escalation"]
    ])
    assert.strictEqual(report().durations.total, 1_000)
  }))

it.effect("the members are what has not stopped, in the order in which it was made", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("a", aSecond), resource("b", aSecond)])
    const { end, fiber, lifecycle } = yield* launch(app)
    const names = () => lifecycle.members().map(({ stop }) => stop.name)
    assert.deepStrictEqual(names(), ["b", "a"])
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(names(), ["b"])
    yield* end
    assert.deepStrictEqual(names(), [])
  }))
