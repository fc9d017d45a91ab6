import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const { stuck } = Program

it.effect("49: one hangs, the others drain, and the dependencies of all are released", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const aSecond = { drain: Effect.sleep("1 second") }
    const app = Lifecycle.sequence([
      Lifecycle.parallel([resource("hangs", { ...stuck, grace: "4 seconds" }), resource("sibling", aSecond)]),
      resource("database", aSecond)
    ])
    const { interrupt, report } = yield* launch(app, { budget: "10 seconds", reserve: 0 })
    yield* interrupt
    const outcomes = Object.fromEntries(report().resources.map(({ forcedBy, name }) => [name, forcedBy]))
    assert.deepStrictEqual(outcomes, { hangs: "grace", sibling: undefined, database: undefined })
    assert.include(lines, "1000 sibling released")
    assert.include(lines, "6000 hangs released")
    assert.include(lines, "7000 database released")
    assert.strictEqual(report().outcome, "forced")
  }))

it.effect("62: all hang, in any order: together they take the budget, less what is kept back", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const hangs = (name: string) => resource(name, { ...stuck, forceTimeout: "1 second" })
    const group = (name: string) => Lifecycle.parallel([hangs(`${name} 1`), hangs(`${name} 2`)])
    const app = Lifecycle.sequence([hangs("a"), group("b"), hangs("c"), group("d")], { gap: "1 second" })
    const { interrupt, report } = yield* launch(app, {
      budget: "13 seconds",
      reserve: "2 seconds",
      drainDelay: "1 second"
    })
    yield* interrupt
    assert.strictEqual(report().durations.total, 11_000)
    assert.lengthOf(report().resources, 6)
    for (const { durations } of report().resources) assert.isAtLeast(durations.interrupting, 1_000, "its whole force")
  }))

it.effect("a server above twelve clients, all with the defaults, has half of the budget to drain", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const clients = Array.from({ length: 12 }, (_, index) => resource(`client ${index}`))
    const app = Layer.provide(resource("server", { drain: Effect.sleep("9 seconds") }), Lifecycle.parallel(clients))
    const { interrupt, report } = yield* launch(app)
    yield* interrupt
    assert.strictEqual(report().outcome, "graceful")
    assert.strictEqual(report().durations.total, 9_000)
  }))

it.effect("the budget can be read: 25 seconds by default", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const budgets: Array<number> = []
    for (const options of [{}, { budget: "1 minute" }, { budget: "Infinity" }] as const) {
      const { interrupt, lifecycle } = yield* launch(resource("api"), options)
      budgets.push(Duration.toMillis(lifecycle.budget))
      yield* interrupt
    }
    assert.deepStrictEqual(budgets, [25_000, 60_000, Number.POSITIVE_INFINITY])
  }))

it.effect("a budget of nothing forces everything at once, and skips no step", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(Lifecycle.sequence([resource("a", stuck), resource("b", stuck)]), {
      budget: 0,
      drainDelay: "5 seconds"
    })
    yield* interrupt
    assert.strictEqual(report().durations.total, 0)
    for (const name of ["a", "b"]) {
      for (const step of ["announces", "drains", "is interrupted", "destroyed", "released"]) {
        assert.include(lines, `0 ${name} ${step}`)
      }
    }
  }))

it.effect("a budget without end leaves each resource its own grace period", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(Lifecycle.sequence([resource("a", stuck), resource("b", stuck)]), {
      budget: "Infinity",
      grace: "4 seconds",
      forceTimeout: "1 second"
    })
    yield* interrupt
    assert.strictEqual(report().durations.total, 10_000)
    assert.deepStrictEqual(report().resources.map(({ forcedBy }) => forcedBy), ["grace", "grace"])
  }))

it.effect("the options of a resource come before those of the process", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(resource("a", { ...stuck, grace: "1 second" }), {
      grace: "4 seconds",
      forceTimeout: "2 seconds"
    })
    yield* interrupt
    assert.strictEqual(report().durations.total, 3_000)
  }))

/** Makes a resource in a scope that closes when the resource is to stop on its own. */
const stopsAlone = (stoppable: GracefulStop.Stoppable, policy: { readonly grace: number | "Infinity" }) =>
  Effect.scoped(Effect.asVoid(GracefulStop.make(stoppable, policy)))

it.effect("what stops on its own while the process is ready does not start the time of the budget", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const alone = Layer.effectDiscard(
      Effect.forkScoped(Effect.andThen(Effect.sleep("1 second"), stopsAlone({ name: "alone" }, { grace: 0 })))
    )
    const { interrupt, report } = yield* launch(
      Layer.provide(resource("api", { drain: Effect.sleep("3 seconds") }), alone),
      { budget: "10 seconds" }
    )
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.strictEqual(report().outcome, "graceful")
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["api"], "it was no part of this stop")
  }))

it.effect("what stops on its own while the process is ready has its own grace period, whatever the budget", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const alone = Layer.effectDiscard(Effect.forkScoped(Effect.andThen(
      stopsAlone({ name: "alone", drain: Effect.sleep("9 seconds") }, { grace: 10_000 }),
      say("alone stopped")
    )))
    yield* launch(Layer.provide(resource("api"), alone), { budget: "5 seconds" })
    yield* TestClock.adjust("10 seconds")
    assert.deepStrictEqual(lines, ["9000 alone stopped"])
  }))

it.effect("what already stops on its own when the process begins to is bounded by the budget from then on", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const alone = Layer.effectDiscard(Effect.acquireRelease(
      Effect.forkDetach(stopsAlone({ name: "alone", drain: Effect.never }, { grace: "Infinity" }), {
        startImmediately: true
      }),
      Fiber.await
    ))
    const { interrupt, report } = yield* launch(Layer.provide(resource("api"), alone), {
      budget: "5 seconds",
      reserve: 0,
      forceTimeout: "1 second"
    })
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.strictEqual(report().durations.total, 4_000)
    assert.deepStrictEqual(report().resources.map(({ forcedBy, name }) => [name, forcedBy]), [
      ["api", undefined],
      ["alone", "budget"]
    ])
  }))

it.effect("what is being forced on its own when the process begins to stop is bounded by the budget from then on", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const alone = Layer.effectDiscard(Effect.acquireRelease(
      Effect.forkDetach(
        Effect.andThen(
          Effect.sleep("1 second"),
          Effect.scoped(GracefulStop.make({ name: "alone", drain: Effect.never, interrupt: Program.deafForEver }, {
            grace: 0,
            forceTimeout: "1 hour"
          }))
        ),
        { startImmediately: true }
      ),
      Fiber.await
    ))
    const { interrupt, report } = yield* launch(Layer.provide(resource("api", { forceTimeout: 0 }), alone), {
      budget: "5 seconds",
      reserve: 0
    })
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.strictEqual(report().durations.total, 5_000)
  }))

it.effect("what stopped on its own while the process started takes nothing from the budget of its stop", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(resource("api", { drain: Effect.sleep("3 seconds") }), {
      budget: "10 seconds",
      warmUp: Effect.andThen(stopsAlone({ name: "migration" }, { grace: 0 }), Effect.sleep("1 hour"))
    })
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.strictEqual(report().outcome, "graceful")
    assert.strictEqual(report().durations.total, 3_000)
  }))

it.effect("what stopped on its own while the process started takes nothing from the budget of a warm-up that fails", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { end, report } = yield* launch(resource("api", { drain: Effect.sleep("3 seconds") }), {
      budget: "10 seconds",
      warmUp: stopsAlone({ name: "migration" }, { grace: 0 }).pipe(
        Effect.andThen(Effect.sleep("9 seconds")),
        Effect.andThen(Effect.die("cold"))
      )
    })
    yield* end
    assert.strictEqual(report().outcome, "graceful")
    assert.strictEqual(report().durations.total, 3_000)
  }))
