import { assert, it } from "@effect/vitest"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

/** The building of a layer that cannot be interrupted. */
const deafFor = (millis: number) => Effect.uninterruptible(Effect.sleep(millis))

const withoutAnnouncements = (lines: ReadonlyArray<string>) => lines.filter((line) => !line.endsWith("announces"))

const timed = (lines: ReadonlyArray<string>) => withoutAnnouncements(lines).join(", ")

it.effect("building that cannot be interrupted has the grace period; then what is built drains", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const b = resource("b", { drain: Effect.sleep("3 seconds") })
    const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), b])
    const { interrupt, report } = yield* launch(app, { grace: "6 seconds", budget: "18 seconds" })
    yield* interrupt
    assert.strictEqual(timed(lines), "6000 b drains, 9000 b released")
    assert.deepStrictEqual(report().resources.map(({ outcome }) => outcome), ["graceful"])
  }))

it.effect("what is built serves while building is waited for that cannot be interrupted", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const inFlight = yield* InFlight.make
    const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), resource("b", { inFlight })])
    const { end, fiber, report } = yield* launch(app, { budget: "18 seconds" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust(9_999)
    yield* InFlight.run(inFlight, "work", Effect.void)
    yield* TestClock.adjust(1)
    assert.isTrue(Exit.isFailure(yield* Effect.exit(InFlight.run(inFlight, "work", Effect.void))))
    yield* end
    assert.strictEqual(report().resources[0]?.counts.succeeded, 1)
  }))

it.effect("building that cannot be interrupted leaves what is built its force, and is left behind after the budget", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const stuck = { ...Program.stuck, forceTimeout: "1 second" } as const
    const app = Lifecycle.sequence([
      resource("deaf", { build: Program.deafForEver }),
      resource("a", stuck),
      resource("b", stuck)
    ])
    const { interrupt, report } = yield* launch(app, { budget: "7 seconds", grace: "Infinity" })
    const exit = yield* interrupt
    assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    assert.deepStrictEqual(withoutAnnouncements(lines), [
      "4000 a drains",
      "4000 a is interrupted",
      "5000 a destroyed",
      "5000 a released",
      "5000 b drains",
      "5000 b is interrupted",
      "6000 b destroyed",
      "6000 b released"
    ])
    assert.strictEqual(report().durations.total, 7_000)
  }))

it.effect("building that cannot be interrupted has half of the budget, however much there is to force", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const b = resource("b", { forceTimeout: "1 minute" })
    const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), b])
    const { interrupt } = yield* launch(app, { budget: "11 seconds" })
    yield* interrupt
    assert.strictEqual(timed(lines), "5000 b drains, 5000 b released")
  }))

it.effect.each([[0, 8_000], ["3 seconds", 7_000]] as const)(
  "building that cannot be interrupted is left behind when the budget is over, or a second later without a reserve: %s",
  ([reserve, total]) =>
    Effect.gen(function*() {
      const { launch, resource } = yield* Program.make
      const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), resource("b")])
      const { interrupt, report } = yield* launch(app, { budget: "7 seconds", reserve })
      yield* interrupt
      assert.strictEqual(report().durations.total, total)
    })
)

it.effect("a stop that left the building behind is forced", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), resource("b")])
    const { end, lifecycle, report } = yield* launch(app, { budget: "18 seconds" })
    yield* lifecycle.stop
    const exit = yield* end
    assert.deepStrictEqual(report().resources.map(({ outcome }) => outcome), ["graceful"])
    assert.strictEqual(report().outcome, "forced")
    assert.strictEqual(Lifecycle.exitCode(exit, report()), Lifecycle.forcedExitCode)
  }))

it.effect("it is told when what is built stops before the building has ended, and when that is left behind", () =>
  Effect.gen(function*() {
    const { resource } = yield* Program.make
    const logs: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
      void logs.push(`${logLevel}: ${String(message)}`)
    )
    const fiber = yield* Effect.forkDetach(
      Lifecycle.launch(Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), resource("b")])).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Warn")
      ),
      { startImmediately: true }
    )
    fiber.interruptUnsafe()
    yield* TestClock.adjust("10 seconds")
    const warning = "Warn: the start of the process cannot be interrupted: what is built stops before it has ended"
    assert.deepStrictEqual(logs, [warning])
    yield* TestClock.adjust("15 seconds")
    assert.isDefined(fiber.pollUnsafe())
    assert.deepStrictEqual(logs, [warning, "Error: the start of the process did not end, and is left behind"])
  }))

it.effect("a logger that throws neither holds a stop that has much to tell, nor takes its report", () =>
  Effect.gen(function*() {
    const { lines, resource, say } = yield* Program.make
    const logger = Logger.make<unknown, void>(() => {
      throw new Error("no log")
    })
    const app = Lifecycle.sequence([
      resource("deaf", { build: Program.deafForEver }),
      resource("b", { release: Effect.die("half released") })
    ])
    let lifecycle: Lifecycle.Lifecycle | undefined
    const seesLifecycle = Layer.effectDiscard(
      Effect.map(Lifecycle.Lifecycle, (self) => {
        lifecycle = self
      })
    )
    const fiber = yield* Effect.forkDetach(
      Lifecycle.launch(Layer.provide(app, seesLifecycle), { onReport: ({ outcome }) => say(outcome) }).pipe(
        Effect.provide(Logger.layer([logger]))
      ),
      { startImmediately: true }
    )
    fiber.interruptUnsafe()
    yield* Effect.provide(lifecycle!.failCause(Cause.die("late")), Logger.layer([logger]))
    yield* TestClock.adjust("25 seconds")
    assert.strictEqual(timed(lines), "0 b serves, 10000 b drains, 25000 forced")
    assert.match(String(fiber.pollUnsafe()), /half released/)
  }))

it.effect("a warm-up that cannot be interrupted is waited for like building, and left behind", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(resource("api"), {
      warmUp: Program.deafForEver,
      grace: "2 seconds",
      budget: "18 seconds"
    })
    yield* interrupt
    assert.strictEqual(timed(lines), "2000 api drains, 2000 api released")
    assert.strictEqual(report().outcome, "forced")
  }))

it.effect.each([[200, 1_000], [3_000, 3_000]] as const)(
  "an escalation ends the waiting for building that cannot be interrupted, after a second at the earliest: %d",
  ([escalation, drains]) =>
    Effect.gen(function*() {
      const { launch, lines, resource } = yield* Program.make
      const b = resource("b", { drain: Effect.never, interrupt: Effect.sleep("1 second") })
      const app = Lifecycle.sequence([resource("deaf", { build: Program.deafForEver }), b])
      const { end, fiber, lifecycle, report } = yield* launch(app)
      fiber.interruptUnsafe()
      yield* TestClock.adjust(escalation)
      yield* lifecycle.escalate
      yield* end
      assert.deepStrictEqual(withoutAnnouncements(lines), [
        `${drains} b drains`,
        `${drains} b is interrupted`,
        `${drains + 1_000} b destroyed`,
        `${drains + 1_000} b released`
      ])
      assert.strictEqual(report().durations.total, drains + 2_000)
    })
)

it.effect("building that cannot be interrupted, and ends in time, stops first; the stop is graceful and warns of nothing", () =>
  Effect.gen(function*() {
    const { lines, resource, say } = yield* Program.make
    const logs: Array<unknown> = []
    const pool = Layer.effectDiscard(
      Effect.acquireRelease(Effect.andThen(Effect.sleep("3 seconds"), say("pool made")), () => say("pool released"))
    )
    const fiber = yield* Effect.forkDetach(
      Lifecycle.launch(Lifecycle.sequence([pool, resource("b")])).pipe(
        Effect.provide(Logger.layer([Logger.make<unknown, void>(({ message }) => void logs.push(message))])),
        Effect.provideService(References.MinimumLogLevel, "Warn")
      ),
      { startImmediately: true }
    )
    fiber.interruptUnsafe()
    yield* TestClock.adjust("4 seconds")
    assert.isTrue(Exit.hasInterrupts(fiber.pollUnsafe()!))
    assert.strictEqual(
      timed(lines),
      "0 b serves, 3000 pool made, 3000 pool released, 3000 b drains, 3000 b released"
    )
    assert.deepStrictEqual(logs, [])
  }))

it.effect("what is acquired after all else has stopped, but within the budget, is released", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const lock = Layer.effectDiscard(
      Effect.acquireRelease(Effect.andThen(Effect.sleep("15 seconds"), say("lock taken")), () => say("lock released"))
    )
    const { end, lifecycle, report } = yield* launch(Lifecycle.sequence([lock, resource("b")]))
    yield* lifecycle.stop
    const exit = yield* end
    assert.strictEqual(
      timed(lines),
      "10000 b drains, 10000 b released, 15000 lock taken, 15000 lock released"
    )
    assert.strictEqual(report().durations.total, 15_000)
    assert.strictEqual(Lifecycle.exitCode(exit, report()), 0)
  }))

it.effect("what dies in building that ends after all else has stopped is in the cause of launch", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const build = Effect.uninterruptible(Effect.andThen(Effect.sleep("15 seconds"), Effect.die("no schema")))
    const { end, lifecycle, report } = yield* launch(Lifecycle.sequence([resource("deaf", { build }), resource("b")]))
    yield* lifecycle.stop
    const exit = yield* end
    assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /no schema/)
    assert.strictEqual(Lifecycle.exitCode(exit, report()), 1)
  }))

/** One that is built, and one on top of it that is being built; both stop before what is below them. */
const builtInPart = ({ resource }: Effect.Success<typeof Program.make>, a: Program.Resource) =>
  Lifecycle.sequence([resource("slow", { build: Effect.never }), resource("a", a)])

it.effect("where building ends, what was built stops in order, however long beyond the grace period that takes", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const { launch, lines, resource } = program
    const a = { drain: Effect.sleep("5 seconds"), release: Effect.sleep("7 seconds"), grace: "1 minute" } as const
    const { interrupt, report } = yield* launch(Lifecycle.sequence([builtInPart(program, a), resource("b")]), {
      grace: "1 second",
      budget: "1 minute"
    })
    yield* interrupt
    assert.strictEqual(timed(lines), "0 a drains, 12000 a released, 12000 b drains, 12000 b released")
    assert.strictEqual(report().outcome, "graceful")
  }))

it.effect("where building ends, an escalation keeps the order in which what was built is forced", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const { launch, lines, resource } = program
    const a = { ...Program.stuck, release: Effect.sleep("700 millis"), forceTimeout: "2500 millis" } as const
    const app = Lifecycle.sequence([builtInPart(program, a), resource("b")])
    const { end, fiber, lifecycle } = yield* launch(app, { budget: "1 minute" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust(2_300)
    yield* lifecycle.escalate
    yield* end
    assert.deepStrictEqual(withoutAnnouncements(lines), [
      "0 a drains",
      "2300 a is interrupted",
      "4800 a destroyed",
      "5500 a released",
      "5500 b drains",
      "5500 b released"
    ])
  }))

it.effect("where building ends, what is left to release is released in order, though someone has escalated", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const { launch, lines, say } = program
    const telemetry = Layer.effectDiscard(Effect.addFinalizer(() => say("telemetry released")))
    const app = Lifecycle.sequence([builtInPart(program, { release: Effect.sleep("3 seconds") }), telemetry])
    const { end, fiber, lifecycle } = yield* launch(app, { budget: "1 minute" })
    fiber.interruptUnsafe()
    yield* lifecycle.escalate
    yield* end
    assert.strictEqual(timed(lines), "0 a drains, 3000 a released, 3000 telemetry released")
  }))

it.effect("a part of the building that cannot be interrupted leaves the rest its force, where another part has stopped", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([
      Lifecycle.parallel([
        resource("deaf", { build: Program.deafForEver }),
        Lifecycle.sequence([resource("slow", { build: deafFor(100) }), resource("worker")])
      ]),
      resource("admin", Program.stuck)
    ])
    const { interrupt } = yield* launch(app, { budget: "20 seconds", forceTimeout: "2 seconds" })
    yield* interrupt
    assert.deepStrictEqual(withoutAnnouncements(lines).slice(-4), [
      "17000 admin drains",
      "17000 admin is interrupted",
      "19000 admin destroyed",
      "19000 admin released"
    ])
    assert.isTrue(lines.includes("100 worker released"), lines.join())
  }))

it.effect("an escalation reaches what building holds that cannot be interrupted, where another part has stopped", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([
      Lifecycle.parallel([
        resource("deaf", { build: Program.deafForEver }),
        Lifecycle.sequence([resource("slow", { build: Effect.never }), resource("worker")])
      ]),
      resource("admin")
    ])
    const { end, fiber, lifecycle } = yield* launch(app, { budget: "1 minute" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("20 seconds")
    assert.strictEqual(timed(lines), "0 worker drains, 0 worker released")
    yield* lifecycle.escalate
    yield* end
    assert.strictEqual(timed(lines.slice(-2)), "21000 admin drains, 21000 admin released")
  }))

/** One part of the building cannot be interrupted, another can; a pool is below them, and the first to stop is the last. */
const nothingLeft = ({ resource, say }: Effect.Success<typeof Program.make>, worker: Program.Resource = {}) =>
  Lifecycle.sequence([
    Lifecycle.parallel([
      resource("deaf", { build: Program.deafForEver }),
      Lifecycle.sequence([resource("slow", { build: Effect.never }), resource("worker", worker)])
    ]),
    Layer.effectDiscard(Effect.addFinalizer(() => say("pool released")))
  ])

it.effect.each(
  [
    ["1 minute", 2_000, 12_000],
    ["Infinity", 2_000, 12_000],
    ["4 seconds", 2_000, 6_000],
    ["4 seconds", 200, 5_000],
    ["4 seconds", 60_000, 64_000]
  ] as const
)(
  "an escalation ends the waiting for building that cannot be interrupted, where nothing else is left: grace %s, at %d",
  ([grace, escalation, released]) =>
    Effect.gen(function*() {
      const program = yield* Program.make
      const { end, fiber, lifecycle, report } = yield* program.launch(nothingLeft(program), {
        budget: "Infinity",
        grace
      })
      fiber.interruptUnsafe()
      yield* TestClock.adjust(escalation)
      yield* lifecycle.escalate
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(timed(program.lines), `0 worker drains, 0 worker released, ${released} pool released`)
      yield* end
      assert.strictEqual(report().durations.total, released + 1_000)
      assert.strictEqual(report().outcome, "forced")
    })
)

it.effect("an escalation leaves the last that stops its grace period to be released, whenever it stops", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const worker = { ...Program.stuck, forceTimeout: "9 seconds", release: Effect.sleep("3 seconds") } as const
    const { end, fiber, lifecycle } = yield* program.launch(nothingLeft(program, worker), { budget: "Infinity" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("2 seconds")
    yield* lifecycle.escalate
    yield* TestClock.adjust("1 hour")
    yield* end
    assert.strictEqual(
      timed(program.lines),
      "0 worker drains, 2000 worker is interrupted, 11000 worker destroyed, 14000 worker released, 21000 pool released"
    )
  }))

it.effect("an escalation that comes late leaves what is being released its grace period from then on", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const worker = { interrupt: Effect.sleep("31 seconds"), drain: Effect.never, forceTimeout: "1 minute" } as const
    const { end, fiber, lifecycle } = yield* program.launch(nothingLeft(program, worker), {
      budget: "1 minute",
      reserve: 0,
      grace: "4 seconds"
    })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("50 seconds")
    yield* lifecycle.escalate
    yield* end
    assert.strictEqual(timed(program.lines.slice(-2)), "31000 worker released, 54000 pool released")
  }))

it.effect.each([["1 second", 14_000], ["5 seconds", 10_000], ["13500 millis", 1_500]] as const)(
  "where nothing is left but building that cannot be interrupted, the reserve is for what is released: %s",
  ([reserve, released]) =>
    Effect.gen(function*() {
      const program = yield* Program.make
      const { interrupt, report } = yield* program.launch(nothingLeft(program), { budget: "15 seconds", reserve })
      yield* interrupt
      assert.strictEqual(timed(program.lines), `0 worker drains, 0 worker released, ${released} pool released`)
      assert.strictEqual(report().durations.total, 15_000)
    })
)

it.effect("what the last that stops has used is released in order, though the reserve has begun", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const worker = { ...Program.stuck, forceTimeout: "2 seconds", release: Effect.sleep("700 millis") } as const
    const { interrupt } = yield* program.launch(nothingLeft(program, worker), {
      budget: "15 seconds",
      reserve: "3 seconds",
      grace: "Infinity"
    })
    yield* interrupt
    assert.strictEqual(
      timed(program.lines.slice(-3)),
      "12000 worker destroyed, 12700 worker released, 13000 pool released"
    )
  }))

/** Building that cannot be interrupted; beside it two that stop one after the other, and a pool below them all. */
const twoLeft = ({ resource, say }: Effect.Success<typeof Program.make>, a: Program.Resource, b: Program.Resource) =>
  Lifecycle.sequence([
    Lifecycle.parallel([
      resource("deaf", { build: Program.deafForEver }),
      Lifecycle.sequence([resource("slow", { build: Effect.never }), resource("a", a), resource("b", b)])
    ]),
    Layer.effectDiscard(Effect.addFinalizer(() => say("pool released")))
  ])

it.effect("an escalation leaves what is being released its grace period, however long nothing has stopped by then", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const a = { drain: Effect.never, interrupt: Effect.sleep("31 seconds"), forceTimeout: "90 seconds" } as const
    const { end, fiber, lifecycle } = yield* program.launch(twoLeft(program, a, { forceTimeout: "1 minute" }), {
      budget: "1 minute",
      reserve: 0,
      grace: "4 seconds"
    })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("50 seconds")
    yield* lifecycle.escalate
    yield* end
    assert.strictEqual(timed(program.lines.slice(-2)), "31000 b released, 54000 pool released")
  }))

it.effect("one that waits for another to be released stops after it, though the reserve has begun", () =>
  Effect.gen(function*() {
    const program = yield* Program.make
    const a = { drain: Effect.sleep("900 millis"), release: Effect.sleep("700 millis") } as const
    const { interrupt } = yield* program.launch(twoLeft(program, a, {}), {
      budget: "15 seconds",
      reserve: "13500 millis",
      forceTimeout: "100 millis"
    })
    yield* interrupt
    assert.strictEqual(
      timed(program.lines),
      "0 a drains, 1600 a released, 1600 b drains, 1600 b released, 3000 pool released"
    )
  }))
