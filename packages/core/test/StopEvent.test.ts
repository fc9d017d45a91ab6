import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as StopBudget from "@lastcall/core/StopBudget"
import * as StopEvent from "@lastcall/core/StopEvent"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import * as StopSchema from "@lastcall/core/StopSchema"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"

const counts = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }

const report = (forced: boolean): StopReport => ({
  name: "api",
  outcome: forced ? "forced" : "graceful",
  ...(forced ? { forcedBy: "grace" as const } : {}),
  startedAt: 0,
  durations: { announced: 0, draining: 1000, interrupting: 0, total: 1000 },
  counts,
  notified: 0,
  kinds: {},
  blockers: [],
  abandoned: [],
  failures: []
})

const at = 1_700_000_000_000
const resource = "api"
const running = [{ kind: "demo.Watch", ageMillis: 12_000.4 }, { kind: "demo.Upload", ageMillis: 1 }]

const events: ReadonlyArray<[StopEvent.StopEvent, line: string, level: string]> = [
  [{ _tag: "Announced", resource, at }, "api: the end is announced", "Info"],
  [{ _tag: "DrainStarted", resource, at, inFlight: 12 }, "api: draining, 12 in flight", "Info"],
  [
    { _tag: "StillRunning", resource, at, running, leftMillis: 8_000 },
    "api: 2 in flight, oldest demo.Watch 12s, 8s left",
    "Info"
  ],
  [{ _tag: "StillRunning", resource, at, running: [], leftMillis: null }, "api: nothing in flight, no limit", "Info"],
  [
    { _tag: "DrainCut", resource, at, by: "budget", blockers: running },
    "api: drain cut short (budget), 2 in flight, oldest demo.Watch 12s",
    "Warn"
  ],
  [{ _tag: "Interrupted", resource, at, ended: 3, left: 1 }, "api: interrupted, 3 ended, 1 did not", "Debug"],
  [{ _tag: "Destroyed", resource, at, abandoned: [] }, "api: destroyed", "Debug"],
  [
    { _tag: "Destroyed", resource, at, abandoned: running.slice(0, 1) },
    "api: destroyed, 1 abandoned: 1 in flight, oldest demo.Watch 12s",
    "Error"
  ],
  [{ _tag: "StepFailed", resource, at, step: "drain", cause: "Error: no" }, "api: drain failed: Error: no", "Error"],
  [{ _tag: "Stopped", resource, at, report: report(false) }, "api stopped gracefully in 1s: 0 admitted", "Info"],
  [{ _tag: "Stopped", resource, at, report: report(true) }, "api was forced to stop (grace) in 1s: 0 admitted", "Warn"]
]

const cases = events.map(([event, line, level]) => ({ event, line, level }))

it.each(cases)("$event._tag reads as a line: $line", ({ event, line }) => {
  assert.strictEqual(StopEvent.render(event), line)
})

it.effect.each(cases)(
  "$event._tag is logged at its level, $level, with its resource and type",
  ({ event, level, line }) =>
    Effect.gen(function*() {
      const logs: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
        logs.push([logLevel, [message].flat(), fiber.getRef(References.CurrentLogAnnotations)])
      })
      yield* StopEvent.log(event).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "All")
      )
      assert.deepStrictEqual(logs, [[level, [line], { resource: "api", event: event._tag }]])
    })
)

it.effect.each(cases)("$event._tag goes through JSON and back", ({ event }) =>
  Effect.gen(function*() {
    const codec = Schema.toCodecJson(StopSchema.StopEvent)
    const json = JSON.stringify(yield* Schema.encodeEffect(codec)(event))
    assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(JSON.parse(json)), event)
  }))

it.effect("what is no event is rejected", () =>
  Effect.gen(function*() {
    const decode = Schema.decodeUnknownEffect(StopSchema.StopEvent)
    yield* Effect.flip(decode({ _tag: "Announced", resource }))
    yield* Effect.flip(decode({ _tag: "Gone", resource, at }))
    yield* Effect.flip(decode({ _tag: "DrainStarted", resource, at, inFlight: 1.5 }))
  }))

/** Starts a stop a minute after the clock, and returns the list of what it tells. */
const telling = Effect.fnUntraced(
  function*(stoppable: Omit<GracefulStop.Stoppable, "name">, policy: StopPolicy.Options) {
    const told: Array<StopEvent.StopEvent> = []
    yield* TestClock.adjust("1 minute")
    const self = yield* Effect.provideService(
      GracefulStop.makeUnscoped({ name: "api", ...stoppable }, policy),
      StopEvent.Sink,
      (event) => Effect.sync(() => void told.push({ ...event, at: event.at - 60_000 }))
    )
    yield* Effect.forkDetach(self.stop, { startImmediately: true })
    return told
  }
)

it.effect("a forced stop tells of each phase, how many the interruption ended, and what is abandoned", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    for (const work of [Effect.never, Effect.never, Effect.uninterruptible(Effect.never)]) {
      yield* Effect.forkDetach(InFlight.run(inFlight, "work", work), { startImmediately: true })
    }
    const told = yield* telling({ inFlight }, { drainDelay: 100, grace: 200, forceTimeout: 300 })
    yield* TestClock.adjust(600)
    const work = (ageMillis: number) => ({ kind: "work", ageMillis: 60_000 + ageMillis })
    const all = [work(300), work(300), work(300)]
    assert.deepInclude(told.pop(), { _tag: "Stopped", at: 600 })
    assert.deepStrictEqual(told, [
      { _tag: "Announced", resource, at: 0 },
      { _tag: "DrainStarted", resource, at: 100, inFlight: 3 },
      { _tag: "StillRunning", resource, at: 150, running: [work(150), work(150), work(150)], leftMillis: 150 },
      { _tag: "StillRunning", resource, at: 250, running: [work(250), work(250), work(250)], leftMillis: 50 },
      { _tag: "DrainCut", resource, at: 300, by: "grace", blockers: all },
      { _tag: "Interrupted", resource, at: 600, ended: 2, left: 1 },
      { _tag: "Destroyed", resource, at: 600, abandoned: [work(600)] }
    ])
  }))

const seconds = (...pairs: ReadonlyArray<[at: number, left: number | null]>) =>
  pairs.map(([at, left]) => [at * 1_000, left === null ? null : left * 1_000])

const reminders: ReadonlyArray<[grace: Duration.Input, budget: Duration.Input | undefined, ReadonlyArray<unknown>]> = [
  ["4 millis", undefined, [[1, 3], [3, 1]]],
  ["3 millis", undefined, [[1, 2]]],
  ["2 seconds", undefined, seconds([0.5, 1.5], [1.5, 0.5])],
  ["30 seconds", undefined, seconds([1, 29], [3, 27], [7, 23], [15, 15])],
  ["Infinity", undefined, [1, 3, 7, 15, 31, 63, 123, 183].map((at) => [at * 1_000, null])],
  ["1 minute", "10 seconds", seconds([1, 8], [3, 6], [7, 2])],
  ["Infinity", "10 seconds", seconds([1, 8], [3, 6], [7, 2])],
  ["5 seconds", "1 hour", seconds([1, 4], [3, 2])]
]

it.effect.each(reminders)(
  "a drain that may take %s, within a budget of %s, tells at growing distances what is still running and what is left",
  ([grace, budget, expected]) =>
    Effect.gen(function*() {
      const told = yield* telling({ drain: Effect.never }, { grace, forceTimeout: "1 second" }).pipe(
        Effect.provideService(StopBudget.StopBudget, budget === undefined ? undefined : yield* StopBudget.make(budget))
      )
      yield* TestClock.adjust("200 seconds")
      assert.deepStrictEqual(
        told.flatMap((event) => event._tag === "StillRunning" ? [[event.at, event.leftMillis]] : []),
        expected
      )
    })
)
