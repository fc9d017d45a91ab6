import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type { StopEvent } from "@lastcall/core/StopEvent"
import { Sink } from "@lastcall/core/StopEvent"
import { renderProcess } from "@lastcall/core/StopReport"
import * as StopSchema from "@lastcall/core/StopSchema"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as Program from "./program.ts"

/** One that ends, one that is forced, one that ends: stopped after 1 s, 2.5 s and 3.5 s. */
const threeResources = Effect.gen(function*() {
  const program = yield* Program.make
  const aSecond = { drain: Effect.sleep("1 second") }
  const app = Lifecycle.sequence([
    program.resource("a", aSecond),
    program.resource("b", { ...Program.stuck, grace: "1 second", forceTimeout: "500 millis" }),
    program.resource("c", aSecond)
  ])
  return { ...program, app }
})

it.effect("66: the report says what happened, per resource and in the order of stopping", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const { interrupt, report } = yield* launch(app, { drainDelay: "2 seconds" })
    yield* TestClock.adjust("1 minute")
    yield* interrupt
    assert.strictEqual(report().outcome, "forced")
    assert.strictEqual(report().startedAt, 60_000)
    assert.deepStrictEqual({ ...report().durations }, { drainDelay: 2_000, closing: 3_500, total: 5_500 })
    assert.deepStrictEqual(
      report().resources.map((
        { durations, forcedBy, name, startedAt }
      ) => [name, startedAt, durations.total, forcedBy]),
      [["a", 62_000, 1_000, undefined], ["b", 63_000, 1_500, "grace"], ["c", 64_500, 1_000, undefined]]
    )
  }))

it.effect("66: a report of a process goes through JSON and back", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const { interrupt, report } = yield* launch(app)
    yield* interrupt
    const codec = Schema.toCodecJson(StopSchema.ProcessReport)
    const json = JSON.stringify(yield* Schema.encodeEffect(codec)(report()))
    const decoded = yield* Schema.decodeUnknownEffect(codec)(JSON.parse(json))
    assert.deepStrictEqual(decoded, report())
  }))

it.effect("66: a report of a process reads as a line for it, and one for each resource", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const { interrupt, report } = yield* launch(app)
    yield* interrupt
    assert.strictEqual(
      renderProcess(report()),
      "was forced to stop in 3s 500ms\n" +
        "  a stopped gracefully in 1s: 0 admitted\n" +
        "  b was forced to stop (grace) in 1s 500ms: 0 admitted\n" +
        "  c stopped gracefully in 1s: 0 admitted"
    )
  }))

it.effect("69: what was admitted, over the process, is what ended in one way or another", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const [api, admin] = [yield* InFlight.make, yield* InFlight.make]
    const work = <A, E>(inFlight: InFlight.InFlight, kind: string, effect: Effect.Effect<A, E>) =>
      Effect.forkDetach(Effect.exit(InFlight.run(inFlight, kind, effect)), { startImmediately: true })
    const app = Lifecycle.sequence([resource("api", { inFlight: api }), resource("admin", { inFlight: admin })])
    const { end, fiber, report } = yield* launch(app, { grace: "2 seconds", forceTimeout: "1 second" })
    yield* work(api, "fits", Effect.sleep("1 second"))
    yield* work(api, "fails", Effect.fail("no"))
    yield* work(api, "hangs", Effect.never)
    yield* work(admin, "deaf", Program.deafForEver)
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    yield* work(api, "late", Effect.void)
    yield* end
    const counts = Object.fromEntries(report().resources.map(({ counts, name }) => [name, { ...counts }]))
    const none = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }
    assert.deepStrictEqual(counts, {
      api: { ...none, admitted: 3, succeeded: 1, failed: 1, interrupted: 1, refused: 1 },
      admin: { ...none, admitted: 1, abandoned: 1 }
    })
  }))

it.effect("67: the events of a resource come in the order of its phases, and the resources in the order of stopping", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const events: Array<string> = []
    const told: Array<string> = []
    const { end, fiber, lifecycle } = yield* launch(app, {
      onEvent: ({ _tag, at, resource }) => Effect.sync(() => told.push(`${at} ${resource} ${_tag}`))
    })
    yield* Effect.forkDetach(
      Stream.runForEach(
        lifecycle.events,
        ({ _tag, at, resource }) => Effect.sync(() => events.push(`${at} ${resource} ${_tag}`))
      ),
      { startImmediately: true }
    )
    fiber.interruptUnsafe()
    yield* end
    assert.deepStrictEqual(events.filter((event) => !event.endsWith("StillRunning")), [
      "0 c Announced",
      "0 b Announced",
      "0 a Announced",
      "0 a DrainStarted",
      "1000 a Stopped",
      "1000 b DrainStarted",
      "2000 b DrainCut",
      "2500 b Interrupted",
      "2500 b Destroyed",
      "2500 b Stopped",
      "2500 c DrainStarted",
      "3500 c Stopped"
    ])
    assert.deepStrictEqual(told, events)
  }))

it.effect("67: the events of a stop go through JSON and back", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const events: Array<StopEvent> = []
    const { interrupt } = yield* launch(app, { onEvent: (event) => Effect.sync(() => events.push(event)) })
    yield* interrupt
    const codec = Schema.toCodecJson(Schema.Array(StopSchema.StopEvent))
    const json = JSON.stringify(yield* Schema.encodeEffect(codec)(events))
    assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(JSON.parse(json)), events)
  }))

const badListeners: ReadonlyArray<[string, (event: StopEvent) => Effect.Effect<unknown>]> = [
  ["dies", () => Effect.die("no listener")],
  ["throws", () => {
    throw new Error("no listener")
  }],
  ["never ends", () => Effect.never],
  ["cannot be interrupted", () => Program.deafForEver]
]

it.effect.each(badListeners)(
  "a listener of events that %s neither holds nor breaks the stop, nor hides the event from others",
  ([, listener]) =>
    Effect.gen(function*() {
      const { app, launch } = yield* threeResources
      const heard: Array<string> = []
      const other = Layer.effectDiscard(Effect.flatMap(
        Lifecycle.Lifecycle,
        (lifecycle) => lifecycle.onEvent(({ _tag }) => Effect.sync(() => heard.push(_tag)))
      ))
      const { interrupt, report } = yield* launch(Layer.provide(app, other), { onEvent: listener })
      yield* interrupt
      assert.strictEqual(report().durations.total, 3_500)
      assert.lengthOf(report().resources, 3)
      assert.lengthOf(heard.filter((tag) => tag === "Stopped"), 3)
    })
)

it.effect("a listener has heard an event before what comes next happens", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const heard: Array<string> = []
    let before: ReadonlyArray<string> = []
    const announce = Effect.sync(() => {
      before = heard.slice()
    })
    const { interrupt } = yield* launch(resource("api", { announce }), {
      onEvent: ({ _tag }) => Effect.sync(() => heard.push(_tag))
    })
    yield* interrupt
    assert.deepStrictEqual(before, ["Announced"])
  }))

it.effect("a listener hears events until its scope closes", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const heard: Array<string> = []
    const listener = Layer.effectDiscard(Effect.flatMap(
      Lifecycle.Lifecycle,
      (lifecycle) => lifecycle.onEvent(({ _tag, resource }) => Effect.sync(() => heard.push(`${resource} ${_tag}`)))
    ))
    const { interrupt } = yield* launch(Lifecycle.sequence([resource("a"), listener, resource("b")]))
    yield* interrupt
    assert.deepStrictEqual(heard, ["b Announced", "a Announced", "a DrainStarted", "a Stopped"])
  }))

it.effect("a sink of the program's own takes the events, not the report", () =>
  Effect.gen(function*() {
    const { app, launch } = yield* threeResources
    const own = Layer.succeed(Sink, () => Effect.void)
    const { interrupt, report } = yield* launch(Layer.provide(app, own))
    yield* interrupt
    assert.lengthOf(report().resources, 3)
    assert.strictEqual(report().outcome, "forced")
  }))

const badReports: ReadonlyArray<[string, () => Effect.Effect<unknown>]> = [
  ["dies", () => Effect.die("no report")],
  ["throws", () => {
    throw new Error("no report")
  }],
  ["never ends", () => Effect.never],
  ["cannot be interrupted", () => Program.deafForEver]
]

it.effect.each(badReports)(
  "an onReport that %s does not hold the process, nor changes how it ends",
  ([, onReport]) =>
    Effect.gen(function*() {
      const { app, launch } = yield* threeResources
      const { end, lifecycle, report } = yield* launch(app, { onReport, budget: "8 seconds" })
      yield* lifecycle.stop
      const exit = yield* end
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(lifecycle.phase(), "Stopped")
      assert.isAtMost(yield* Effect.clockWith((clock) => clock.currentTimeMillis), 8_000)
      assert.lengthOf(report().resources, 3)
    })
)

it.effect("a listener of events or of the report that fails is logged, one that is interrupted is not", () =>
  Effect.gen(function*() {
    const { resource } = yield* Program.make
    const logs: Array<string> = []
    const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
      logs.push(`${logLevel}: ${String(message)}: ${String(Cause.squash(cause))}`)
    })
    const launch = (listener: Effect.Effect<unknown>) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(
          Lifecycle.launch(resource("api"), { onEvent: () => listener, onReport: () => listener })
        )
        yield* TestClock.adjust(0)
        fiber.interruptUnsafe()
        yield* TestClock.adjust("1 second")
        assert.isDefined(fiber.pollUnsafe())
      }).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Warn")
      )
    yield* launch(Effect.interrupt)
    assert.deepStrictEqual(logs, [])
    yield* launch(Effect.die("no listener"))
    assert.deepStrictEqual(logs, [
      ...Array.from({ length: 3 }, () => "Error: a listener of events failed: no listener"),
      "Error: onReport failed: no listener"
    ])
  }))

it.effect("an onReport that takes too long is interrupted", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const onReport = () => Effect.onInterrupt(Effect.never, () => say("onReport interrupted"))
    const { interrupt } = yield* launch(resource("api"), { onReport, budget: "3 seconds" })
    yield* interrupt
    assert.strictEqual(lines.at(-1), "3000 onReport interrupted")
  }))

it.effect("a report does not change when something stops after it", () =>
  Effect.gen(function*() {
    const { launch } = yield* Program.make
    let late: GracefulStop.GracefulStop | undefined
    const app = Layer.effectDiscard(
      Effect.map(GracefulStop.makeUnscoped({ name: "late" }), (stop) => {
        late = stop
      })
    )
    const { interrupt, report } = yield* launch(app)
    yield* interrupt
    yield* Program.quietly(late!.stop)
    assert.deepStrictEqual(report().resources, [])
  }))

it.effect("a resource whose tracer throws stops like the others, and its report says so", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const broken = Tracer.make({
      span() {
        throw new Error("no span")
      }
    })
    const app = Lifecycle.sequence([
      resource("a"),
      Layer.provide(resource("broken"), Layer.succeed(Tracer.Tracer, broken)),
      resource("b")
    ])
    const { interrupt, report } = yield* launch(app)
    yield* interrupt
    assert.deepStrictEqual(report().resources.map(({ failures, name }) => [name, failures.length]), [
      ["a", 0],
      ["broken", 1],
      ["b", 0]
    ])
  }))

it.effect("a resource whose stop dies has no report; the others do, and launch fails with its cause", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const clock = yield* Clock.Clock
    let isBroken = false
    const broken: Clock.Clock = Object.create(clock, {
      monotonicTimeNanosUnsafe: {
        value() {
          if (isBroken) throw new Error("no time")
          return clock.monotonicTimeNanosUnsafe()
        }
      }
    })
    const app = Lifecycle.sequence([
      resource("a"),
      Layer.provide(resource("broken"), Layer.succeed(Clock.Clock, broken)),
      resource("b")
    ])
    const { interrupt, lifecycle, report } = yield* launch(app)
    isBroken = true
    const exit = yield* interrupt
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["a", "b"])
    assert.strictEqual(lifecycle.phase(), "Stopped")
    assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "no time")
  }))
