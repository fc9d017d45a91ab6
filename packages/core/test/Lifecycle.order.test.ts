import { assert, it } from "@effect/vitest"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const aSecond = { drain: Effect.sleep("1 second") }

const withoutAnnouncements = (lines: ReadonlyArray<string>) => lines.filter((line) => !line.endsWith("announces"))

it.effect("52: a dependency is released when what depends on it has stopped", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const database = Layer.effectDiscard(Effect.addFinalizer(() => say("database released")))
    const { interrupt } = yield* launch(Layer.provide(resource("api", aSecond), database))
    yield* interrupt
    assert.deepStrictEqual(withoutAnnouncements(lines), ["0 api drains", "1000 api released", "1000 database released"])
  }))

it.effect("46: resources of one scope stop in the reverse of the order in which they were made", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Layer.effectDiscard(Effect.gen(function*() {
      const scope = yield* Effect.scope
      yield* Layer.buildWithScope(resource("first", aSecond), scope)
      yield* Layer.buildWithScope(resource("second", aSecond), scope)
    }))
    const { interrupt } = yield* launch(app)
    yield* interrupt
    assert.deepStrictEqual(withoutAnnouncements(lines), [
      "0 second drains",
      "1000 second released",
      "1000 first drains",
      "2000 first released"
    ])
  }))

it.effect("47: a sequence stops in its order, each when the one before has stopped", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("a", aSecond), resource("b"), resource("c", aSecond), resource("d")])
    const { interrupt } = yield* launch(app)
    yield* interrupt
    assert.deepStrictEqual(withoutAnnouncements(lines), [
      "0 a drains",
      "1000 a released",
      "1000 b drains",
      "1000 b released",
      "1000 c drains",
      "2000 c released",
      "2000 d drains",
      "2000 d released"
    ])
  }))

it.effect("48: a parallel group stops together, and what comes after it in a sequence waits for all of it", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const group = Lifecycle.parallel([resource("a", aSecond), resource("b", { drain: Effect.sleep("3 seconds") })])
    const { interrupt } = yield* launch(Lifecycle.sequence([group, resource("c")]))
    yield* interrupt
    assert.deepStrictEqual(withoutAnnouncements(lines).toSorted(), [
      "0 a drains",
      "0 b drains",
      "1000 a released",
      "3000 b released",
      "3000 c drains",
      "3000 c released"
    ])
  }))

it.effect("nothing in a sequence or a group is nothing", () =>
  Effect.gen(function*() {
    const { launch } = yield* Program.make
    const { interrupt, report } = yield* launch(Lifecycle.sequence([Lifecycle.parallel([]), Lifecycle.sequence([])]))
    yield* interrupt
    assert.deepStrictEqual(report().resources, [])
  }))

class Port extends Context.Service<Port, number>()("test/Port") {}
class Path extends Context.Service<Path, string>()("test/Path") {}

it.effect("layers of a sequence and of a group may differ in what they need and how they fail", () =>
  Effect.gen(function*() {
    const tcp = Layer.effectDiscard(
      Effect.flatMap(Port, (port) => port === 0 ? Effect.fail("no port" as const) : Effect.void)
    )
    const unix = Layer.effectDiscard(
      Effect.flatMap(Path, (path) => path === "" ? Effect.fail("no path" as const) : Effect.void)
    )
    const both: Layer.Layer<never, "no port" | "no path", Port | Path> = Lifecycle.sequence([
      Lifecycle.parallel([tcp, unix]),
      Lifecycle.sequence([unix, tcp], { gap: 1 })
    ])
    const { launch } = yield* Program.make
    const { end } = yield* launch(Layer.provide(both, [Layer.succeed(Port, 1), Layer.succeed(Path, "")]))
    assert.deepStrictEqual(yield* end, Exit.fail("no path" as const))
  }))

const gapOf = (lines: ReadonlyArray<string>) =>
  withoutAnnouncements(lines).filter((line) => line.endsWith("drains")).map((line) =>
    line.split(" ").slice(0, 2).join(" ")
  )

it.effect("a gap is measured from when the one before began to stop", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence(
      [
        resource("a"),
        resource("b", aSecond),
        resource("c", { drain: Effect.sleep(300) }),
        resource("d")
      ],
      { gap: "500 millis" }
    )
    const { interrupt, report } = yield* launch(app)
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.deepStrictEqual(gapOf(lines), ["60000 a", "60500 b", "61500 c", "62000 d"])
    assert.strictEqual(report().durations.total, 2_000, "there is no gap after the last")
  }))

it.effect("an escalation skips the gaps", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("a"), resource("b"), resource("c")], { gap: "5 seconds" })
    const { end, fiber, lifecycle } = yield* launch(app)
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    yield* lifecycle.escalate
    yield* end
    assert.deepStrictEqual(gapOf(lines), ["0 a", "1000 b", "1000 c"])
  }))

it.effect("gaps do not pass the budget: they end when what is left is needed for the force of those that wait", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence(
      [resource("a"), resource("b", { forceTimeout: "1 second" }), resource("c", { forceTimeout: "2 seconds" })],
      { gap: "20 seconds" }
    )
    const { interrupt, report } = yield* launch(app, { budget: "10 seconds", reserve: "1 second" })
    yield* interrupt
    assert.deepStrictEqual(gapOf(lines), ["0 a", "6000 b", "7000 c"])
    assert.strictEqual(report().durations.total, 7_000)
  }))

it.effect("a layer that was never built keeps no distance", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const app = Lifecycle.sequence(
      [resource("a", { build: Effect.die("no") }), resource("b"), resource("c", aSecond)],
      { gap: "5 seconds" }
    )
    const { end, report } = yield* launch(app)
    yield* end
    assert.deepStrictEqual(report().resources.map(({ name, startedAt }) => `${startedAt} ${name}`), ["0 b", "5000 c"])
  }))

it.effect("a sequence stops in order, with gaps, without a lifecycle too", () =>
  Effect.gen(function*() {
    const { lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("a"), resource("b")], { gap: "5 seconds" })
    const fiber = yield* Effect.forkChild(Program.quietly(Effect.scoped(Layer.build(app))))
    yield* TestClock.adjust("5 seconds")
    assert.isDefined(fiber.pollUnsafe())
    assert.deepStrictEqual(gapOf(lines), ["0 a", "5000 b"])
  }))
