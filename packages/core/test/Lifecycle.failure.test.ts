import { assert, it } from "@effect/vitest"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const aSecond = { drain: Effect.sleep("1 second") }

const defects = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isFailure(exit) ? exit.cause.reasons.flatMap((reason) => Cause.isDieReason(reason) ? [reason.defect] : []) : []

it.effect("50: a part that dies early stops the rest, gracefully, and launch fails with its cause", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Layer.provide(resource("api", aSecond), resource("admin", aSecond))
    const { end, lifecycle, report } = yield* launch(app, { drainDelay: "2 seconds" })
    yield* TestClock.adjust("1 minute")
    yield* lifecycle.failCause(Cause.die("the accept loop"))
    const exit = yield* end
    assert.deepStrictEqual(defects(exit), ["the accept loop"])
    assert.strictEqual(lines.at(-1), "64000 admin released")
    assert.strictEqual(report().outcome, "graceful")
    assert.strictEqual(Lifecycle.exitCode(exit, report()), 1)
  }))

it.effect("50: only the first cause counts", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { end, lifecycle } = yield* launch(resource("api", aSecond))
    yield* lifecycle.failCause(Cause.die("first"))
    yield* lifecycle.failCause(Cause.die("second"))
    yield* lifecycle.stop
    assert.deepStrictEqual(defects(yield* end), ["first"])
  }))

const logsOf = <A, E>(effect: Effect.Effect<A, E>, logs: Array<string>) =>
  effect.pipe(
    Effect.provide(Logger.layer([
      Logger.make<unknown, void>(({ cause, logLevel, message }) => {
        logs.push(`${logLevel}: ${[message].flat().join(" ")} ${cause.reasons.length === 0 ? "" : Cause.pretty(cause)}`)
      })
    ])),
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )

it.effect("50: a cause that comes in the moment of an interruption is in the cause of launch, or logged", () =>
  Effect.gen(function*() {
    const seeds = Array.from({ length: 50 }, (_, seed) => seed)
    for (const seed of seeds) {
      const { exit, logs } = yield* VirtualTime.run(
        Effect.gen(function*() {
          const logs: Array<string> = []
          const lifecycle = Deferred.makeUnsafe<Lifecycle.Lifecycle>()
          const app = Layer.effectDiscard(
            Effect.flatMap(Lifecycle.Lifecycle, (self) => Deferred.succeed(lifecycle, self))
          )
          const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app), logs))
          const { failCause } = yield* Deferred.await(lifecycle)
          yield* Effect.sleep(1)
          const fails = yield* Effect.forkDetach(logsOf(failCause(Cause.die("the accept loop")), logs))
          fiber.interruptUnsafe()
          yield* Fiber.await(fails)
          return { exit: yield* Fiber.await(fiber), logs }
        }),
        { seed }
      )
      assert.isTrue(
        defects(exit).includes("the accept loop") || logs.some((log) => log.includes("the accept loop")),
        `seed ${seed}`
      )
    }
  }))

it.effect.each(
  [
    ["asked to, during the drain delay", false, 500],
    ["asked to, during the drain", false, 1_500],
    ["interrupted, during the drain delay", true, 500],
    ["interrupted, during the drain", true, 1_500]
  ] as const
)(
  "50: a part that fails while the process stops is logged with its cause, and changes neither exit nor report: %s",
  ([, isInterrupted, after]) =>
    Effect.gen(function*() {
      const { resource } = yield* Program.make
      const logs: Array<string> = []
      let lifecycle: Lifecycle.Lifecycle | undefined
      const seesLifecycle = Layer.effectDiscard(
        Effect.map(Lifecycle.Lifecycle, (self) => {
          lifecycle = self
        })
      )
      const app = Layer.provide(resource("api", aSecond), seesLifecycle)
      const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app, { drainDelay: "1 second" }), logs), {
        startImmediately: true
      })
      if (isInterrupted) fiber.interruptUnsafe()
      else yield* lifecycle!.stop
      yield* TestClock.adjust(after)
      yield* logsOf(lifecycle!.failCause(Cause.die("the connection is gone")), logs)
      yield* TestClock.adjust("2 seconds")
      const exit = fiber.pollUnsafe()!
      assert.lengthOf(logs, 1)
      assert.match(logs[0]!, /^Error: a part of the process failed during the stop .*the connection is gone/)
      if (isInterrupted) assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      else assert.strictEqual(Exit.isSuccess(exit) ? exit.value.outcome : exit.cause, "graceful")
    })
)

it.effect("51: a finalizer that dies is logged, hides no other, and the exit is not clean", () =>
  Effect.gen(function*() {
    const { lines, resource } = yield* Program.make
    const logs: Array<string> = []
    const app = Lifecycle.sequence([
      resource("a", aSecond),
      resource("b", { release: Effect.die("half released") }),
      resource("c", aSecond)
    ])
    const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app), logs), { startImmediately: true })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("2 seconds")
    const exit = fiber.pollUnsafe()!
    assert.include(lines, "1000 c drains")
    assert.include(lines, "2000 c released")
    assert.lengthOf(logs, 1)
    assert.match(logs[0]!, /^Error: a finalizer failed during the stop .*half released/)
    assert.deepStrictEqual(defects(exit), ["half released"])
    assert.strictEqual(Lifecycle.exitCode(exit, undefined), 1)
  }))

it.effect.each([["while it is ready", Effect.void], ["while it starts", Effect.never]] as const)(
  "a process that stops well %s logs no warning",
  ([, build]) =>
    Effect.gen(function*() {
      const { resource } = yield* Program.make
      const logs: Array<string> = []
      const app = Layer.provide(resource("a", { build }), resource("b"))
      const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app), logs), { startImmediately: true })
      fiber.interruptUnsafe()
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.hasInterrupts(fiber.pollUnsafe()!))
      assert.deepStrictEqual(logs, [])
    })
)

it.effect("a layer that fails to build is not logged as a finalizer that failed", () =>
  Effect.gen(function*() {
    const { resource } = yield* Program.make
    const logs: Array<string> = []
    const app = Layer.provide(Layer.effectDiscard(Effect.fail("no port" as const)), resource("a"))
    const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app), logs), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(fiber.pollUnsafe(), Exit.fail("no port" as const))
    assert.deepStrictEqual(logs, [])
  }))

it.effect("51: a drain that dies is logged, the others stop, and the stop counts as forced", () =>
  Effect.gen(function*() {
    const { lines, resource } = yield* Program.make
    const logs: Array<string> = []
    const app = Lifecycle.sequence([resource("a", { drain: Effect.die("no drain") }), resource("b", aSecond)])
    const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app), logs), {
      startImmediately: true
    })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    const exit = fiber.pollUnsafe()!
    assert.include(lines, "1000 b released")
    assert.isTrue(logs.some((log) => /^Error: a: drain failed: .*no drain/.test(log)), logs.join("\n"))
    assert.isTrue(Exit.hasInterrupts(exit))
  }))

it.effect("a layer that fails to build stops what was built, in order, without a drain delay, and its cause is kept", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const fails = Layer.effectDiscard(Effect.andThen(Effect.sleep("1 second"), Effect.fail("no port" as const)))
    const app = Lifecycle.sequence([fails, resource("a", aSecond), resource("b", aSecond)])
    const { end, report } = yield* launch(app, { drainDelay: "5 seconds" })
    const exit = yield* end
    assert.deepStrictEqual(exit, Exit.fail("no port" as const))
    assert.deepStrictEqual(lines, [
      "1000 a announces",
      "1000 a drains",
      "2000 a released",
      "2000 b announces",
      "2000 b drains",
      "3000 b released"
    ])
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["a", "b"])
  }))

it.effect("a layer that fails to build stops what was built within the budget", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const fails = Layer.effectDiscard(Effect.fail("no port" as const))
    const app = Lifecycle.sequence([fails, resource("a", Program.stuck), resource("b", Program.stuck)])
    const { end } = yield* launch(app, { budget: "7 seconds", grace: "Infinity" })
    yield* end
    assert.strictEqual(lines.at(-1), "6000 b released")
  }))

it.effect("45: a resource whose acquisition fails leaves nothing, and the ones before it stop", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { end, report } = yield* launch(
      Layer.provide(resource("a", { build: Effect.die("no socket") }), resource("b"))
    )
    assert.deepStrictEqual(defects(yield* end), ["no socket"])
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["b"])
    assert.deepStrictEqual(lines, [])
  }))

it.effect("a warm-up that fails stops what serves, and launch fails with its cause", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { end, lifecycle } = yield* launch(resource("api", aSecond), {
      drainDelay: "5 seconds",
      warmUp: Effect.andThen(Effect.sleep("1 second"), Effect.die("cold"))
    })
    assert.strictEqual(lifecycle.phase(), "Starting")
    assert.deepStrictEqual(defects(yield* end), ["cold"])
    assert.deepStrictEqual(lines, ["1000 api announces", "1000 api drains", "2000 api released"])
  }))

it.effect("a stop while a layer is being built announces to what serves already, then ends the building", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const slow = resource("slow", {
      build: Effect.onInterrupt(Effect.sleep("1 hour"), () => say("building of slow interrupted"))
    })
    const { interrupt, lifecycle, report } = yield* launch(Lifecycle.sequence([slow, resource("b", aSecond)]))
    assert.strictEqual(lifecycle.phase(), "Starting")
    yield* interrupt
    assert.deepStrictEqual(lines, [
      "0 b announces",
      "0 building of slow interrupted",
      "0 b drains",
      "1000 b released"
    ])
    assert.deepStrictEqual({ ...report().durations }, { drainDelay: 0, closing: 1000, total: 1000 })
  }))

it.effect("what dies where a stop ends the building is in the cause of launch", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const slow = resource("slow", { build: Effect.onInterrupt(Effect.never, () => Effect.die("half built")) })
    const { end, lifecycle, report } = yield* launch(Lifecycle.sequence([slow, resource("b")]))
    yield* lifecycle.stop
    const exit = yield* end
    assert.deepStrictEqual(defects(exit), ["half built"])
    assert.strictEqual(lines.at(-1), "0 b released")
    assert.strictEqual(Lifecycle.exitCode(exit, report()), 1)
  }))

it.effect.each(
  [
    ["building", { build: Effect.andThen(Effect.sleep("200 millis"), Effect.die("no port")) }, Effect.void],
    ["warm-up", {}, Effect.andThen(Effect.sleep("200 millis"), Effect.die("no port"))]
  ] as const
)(
  "a %s that fails while the stop is announced is logged, and in the cause of launch",
  ([, options, warmUp]) =>
    Effect.gen(function*() {
      const { lines, resource } = yield* Program.make
      const logs: Array<string> = []
      const b = resource("b", { announce: Effect.sleep("500 millis") })
      const app = Lifecycle.sequence([resource("slow", options), b])
      const fiber = yield* Effect.forkDetach(logsOf(Lifecycle.launch(app, { warmUp }), logs), {
        startImmediately: true
      })
      yield* TestClock.adjust("100 millis")
      fiber.interruptUnsafe()
      yield* TestClock.adjust("1 second")
      const exit = fiber.pollUnsafe()!
      assert.deepStrictEqual(defects(exit), ["no port"])
      assert.isTrue(Exit.hasInterrupts(exit))
      const failures = logs.filter((log) => !log.includes("b: announce"))
      assert.lengthOf(failures, 1, logs.join("\n"))
      assert.match(failures[0]!, /^Error: the start of the process failed during the stop .*no port/)
      assert.match(lines.at(-1)!, /b released$/)
    })
)

it.effect("a process whose building ends while its stop is announced does not become ready", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const slow = resource("slow", { build: Effect.sleep("200 millis") })
    const b = resource("b", { announce: Effect.sleep("500 millis") })
    const { end, lifecycle, report } = yield* launch(Lifecycle.sequence([slow, b]))
    yield* lifecycle.stop
    yield* TestClock.adjust("300 millis")
    assert.include(lines, "200 slow serves")
    assert.strictEqual(lifecycle.phase(), "Announced")
    yield* end
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["slow", "b"])
  }))
