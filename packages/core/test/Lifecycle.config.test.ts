import { assert, it } from "@effect/vitest"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as LifecycleConfig from "@lastcall/core/LifecycleConfig"
import { StopPolicyError } from "@lastcall/core/StopPolicy"
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const read = (env: Record<string, string>) =>
  Effect.provide(LifecycleConfig.config, ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

it.effect("the options come from the environment", () =>
  Effect.gen(function*() {
    const options = yield* read({
      LASTCALL_BUDGET: "20 seconds",
      LASTCALL_RESERVE: "500 millis",
      LASTCALL_DRAIN_DELAY: "0 seconds",
      LASTCALL_QUIET_PERIOD: "1 second",
      LASTCALL_GRACE: "Infinity",
      LASTCALL_FORCE_TIMEOUT: "2 minutes"
    })
    assert.deepStrictEqual(options, {
      budget: Duration.seconds(20),
      reserve: Duration.millis(500),
      drainDelay: Duration.zero,
      quietPeriod: Duration.seconds(1),
      grace: Duration.infinity,
      forceTimeout: Duration.minutes(2)
    })
  }))

it.effect("what is not set keeps its default", () =>
  Effect.gen(function*() {
    const options = yield* read({ LASTCALL_BUDGET: "20 seconds" })
    assert.deepStrictEqual(Object.entries(options).filter(([, value]) => value !== undefined), [
      ["budget", Duration.seconds(20)]
    ])
  }))

const keys = ["BUDGET", "RESERVE", "DRAIN_DELAY", "QUIET_PERIOD", "GRACE", "FORCE_TIMEOUT"]
const bad = keys.flatMap((key) =>
  ["soon", "-1 second", "NaN"].map((value): [string, string] => [`LASTCALL_${key}`, value])
)

const endless = keys.filter((key) => key !== "GRACE").map((key): [string, string] => [`LASTCALL_${key}`, "Infinity"])

it.effect.each([...bad, ...endless])(
  "%s=%j is rejected, and the error names the key",
  ([key, value]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read({ [key!]: value! }))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, `["LASTCALL"]["${key!.replace("LASTCALL_", "")}"]`)
    })
)

it.effect("launch fails with the ConfigError before anything is built", () =>
  Effect.gen(function*() {
    let built = false
    const app = Layer.effectDiscard(Effect.sync(() => {
      built = true
    }))
    const launched: Effect.Effect<ProcessReport, Config.ConfigError> = LifecycleConfig.launch(app)
    const error = yield* Effect.flip(
      Effect.provide(launched, ConfigProvider.layer(ConfigProvider.fromEnv({ env: { LASTCALL_GRACE: "soon" } })))
    )
    assert.strictEqual(error._tag, "ConfigError")
    assert.isFalse(built)
  }))

it.effect("launch launches with the options of the config", () =>
  Effect.gen(function*() {
    const stops = Layer.effectDiscard(Effect.flatMap(Lifecycle.Lifecycle, (lifecycle) => lifecycle.stop))
    const process = yield* Effect.forkChild(stops.pipe(
      LifecycleConfig.launch(),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { LASTCALL_DRAIN_DELAY: "3 seconds" } })))
    ))
    yield* TestClock.adjust("1 minute")
    assert.strictEqual((yield* Fiber.join(process)).durations.drainDelay, 3_000)
  }))

it.effect("launch launches with the options of a config of the program's own", () =>
  Effect.gen(function*() {
    const stops = Layer.effectDiscard(Effect.flatMap(Lifecycle.Lifecycle, (lifecycle) => lifecycle.stop))
    const own = Config.succeed({ drainDelay: "3 seconds" } as const)
    for (const launched of [stops.pipe(LifecycleConfig.launch(own)), LifecycleConfig.launch(stops, own)]) {
      const process = yield* Effect.forkChild(launched)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(process)).durations.drainDelay, 3_000)
    }
  }))

const nonsense: ReadonlyArray<[keyof Lifecycle.Options, Duration.Input]> = [
  ["budget", -1],
  ["budget", Number.NaN],
  ["reserve", "-1 second"],
  ["reserve", "Infinity"],
  ["drainDelay", "Infinity"],
  ["drainDelay", -1],
  ["quietPeriod", Number.NaN],
  ["grace", -1],
  ["forceTimeout", "Infinity"]
]

it.effect.each(nonsense)(
  "the option %s: %s is a defect before anything is built",
  ([option, value]) =>
    Effect.gen(function*() {
      let built = false
      const app = Layer.effectDiscard(Effect.sync(() => {
        built = true
      }))
      const exit = yield* Effect.exit(Lifecycle.launch(app, { [option]: value }))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, StopPolicyError)
      assert.strictEqual(defect.option, option)
      assert.isFalse(built)
    })
)

it("a gap that makes no sense is thrown where the sequence is made", () => {
  assert.throws(() => Lifecycle.sequence([], { gap: -1 }), StopPolicyError)
})

const reportOf = (outcome: "graceful" | "forced"): ProcessReport => ({
  outcome,
  startedAt: 0,
  durations: { drainDelay: 0, closing: 0, total: 0 },
  resources: []
})
const graceful = reportOf("graceful")
const forced = reportOf("forced")
const ownCode = Exit.fail({ [Runtime.errorExitCode]: 42 })
const interrupted = Exit.failCause(Cause.interrupt(1))
const interruptedAndDied = Exit.failCause(Cause.combine(Cause.interrupt(1), Cause.die("a finalizer")))

it.each<[string, Exit.Exit<unknown, unknown>, ProcessReport | undefined, number]>([
  ["interrupted, stopped gracefully", interrupted, graceful, 0],
  ["interrupted, forced", interrupted, forced, 124],
  ["asked to stop, stopped gracefully", Exit.succeed(graceful), graceful, 0],
  ["asked to stop, forced", Exit.succeed(forced), forced, 124],
  ["interrupted, and a finalizer died", interruptedAndDied, graceful, 1],
  ["failed, stopped gracefully", Exit.fail("no"), graceful, 1],
  ["failed, forced", Exit.fail("no"), forced, 1],
  ["failed with a code of its own", ownCode, graceful, 42],
  ["failed before there was a report", ownCode, undefined, 42],
  ["interrupted before there was a report", interrupted, undefined, 130],
  ["ended before there was a report", Exit.void, undefined, 0]
])("exit code: %s", (_, exit, report, code) => {
  assert.strictEqual(Lifecycle.exitCode(exit, report), code)
})

it.effect("teardown exits with the code of the latest launch, which is Effect's own until that has its report", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const codes: Array<number> = []
    const exits = (exit: Exit.Exit<unknown, unknown>) => Lifecycle.teardown(exit, (code) => codes.push(code))
    const forced = yield* launch(resource("forced", { ...Program.stuck, grace: 0, forceTimeout: 0 }))
    exits(yield* forced.interrupt)
    const graceful = yield* launch(resource("graceful"))
    exits(interrupted)
    exits(yield* graceful.interrupt)
    assert.deepStrictEqual(codes, [Lifecycle.forcedExitCode, 130, 0])
  }))
