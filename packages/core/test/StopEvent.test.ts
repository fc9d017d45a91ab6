import { assert, it } from "@effect/vitest"
import * as StopEvent from "@lastcall/core/StopEvent"
import type { StopReport } from "@lastcall/core/StopReport"
import * as StopSchema from "@lastcall/core/StopSchema"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schema from "effect/Schema"

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
