import { assert, it } from "@effect/vitest"
import { render, renderProcess, type StopReport } from "@lastcall/core/StopReport"
import * as StopSchema from "@lastcall/core/StopSchema"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"

const counts = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }

const graceful: StopReport = {
  name: "api",
  outcome: "graceful",
  startedAt: 1_700_000_000_000,
  durations: { announced: 1000, draining: 200, interrupting: 0, total: 1200 },
  counts: { ...counts, admitted: 13, succeeded: 12, failed: 1, refused: 2 },
  notified: 0,
  kinds: {},
  blockers: [],
  abandoned: [],
  failures: []
}

const forced: StopReport = {
  name: "api",
  outcome: "forced",
  forcedBy: "budget",
  startedAt: 1_700_000_000_000,
  durations: { announced: 0, draining: 1000, interrupting: 500.5, total: 1500.5 },
  counts: { ...counts, admitted: 3, interrupted: 1, abandoned: 2 },
  notified: 0,
  kinds: { upload: { ...counts, admitted: 3, interrupted: 1, abandoned: 2 } },
  blockers: [
    { kind: "upload", ageMillis: 4000 },
    { kind: "watch", ageMillis: 3000 },
    { kind: "upload", ageMillis: 1000 }
  ],
  abandoned: [{ kind: "upload", ageMillis: 4500.5 }, { kind: "upload", ageMillis: 1500.5 }],
  failures: ["drain: Error: no"]
}

it("a graceful stop reads as one", () => {
  assert.strictEqual(
    render(graceful),
    "api stopped gracefully in 1s 200ms: 13 admitted, 12 succeeded, 1 failed, 2 refused"
  )
})

it("a forced stop says why, what was abandoned, and what blocked it", () => {
  assert.strictEqual(
    render(forced),
    "api was forced to stop (budget) in 1s 501ms: 3 admitted, 1 interrupted, " +
      "2 handlers abandoned: 2 x upload (oldest 4s 501ms), blocked by 2 x upload (oldest 4s), 1 x watch (3s)"
  )
})

it.effect.each([graceful, forced])("a $outcome report goes through JSON and back", (report) =>
  Effect.gen(function*() {
    const codec = Schema.toCodecJson(StopSchema.StopReport)
    const json = JSON.stringify(yield* Schema.encodeEffect(codec)(report))
    const decoded = yield* Schema.decodeUnknownEffect(codec)(JSON.parse(json))
    assert.deepStrictEqual(decoded, report)
  }))

/** The value with each of its leaves, in turn, as something that it cannot be. */
const spoilt = (value: unknown): ReadonlyArray<unknown> =>
  typeof value !== "object" || value === null
    ? [{ neither: "text nor number" }]
    : Object.entries(value).flatMap(([key, inner]) =>
      spoilt(inner).map((bad) => Array.isArray(value) ? value.with(Number(key), bad) : { ...value, [key]: bad })
    )

it.effect("a report of a process goes through JSON and back, and is refused with anything that it cannot have", () =>
  Effect.gen(function*() {
    const durations = { drainDelay: 1000, closing: 500, total: 1500 }
    const report = { outcome: "forced", startedAt: 0, durations, resources: [graceful, forced] } as const
    const codec = Schema.toCodecJson(StopSchema.ProcessReport)
    const json = yield* Schema.encodeEffect(codec)(report)
    assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(json), report)
    const bad = spoilt(json)
    assert.isAbove(bad.length, 50)
    for (const one of bad) {
      const exit = yield* Effect.exit(Schema.decodeUnknownEffect(codec)(one))
      assert.isTrue(Exit.isFailure(exit), JSON.stringify(one))
    }
  }))

it.each<[string, Partial<StopReport>]>([
  ["api stopped gracefully in 1s 200ms: 0 admitted", { counts }],
  ["api stopped gracefully in 1s 200ms: 1 admitted, 1 refused", { counts: { ...counts, admitted: 1, refused: 1 } }],
  ["api stopped gracefully in 1s 200ms: 1 admitted, 1 handler abandoned: 1 x upload (1s)", {
    counts: { ...counts, admitted: 1, abandoned: 1 },
    abandoned: [{ kind: "upload", ageMillis: 1000 }]
  }],
  ["api stopped gracefully in 1s 200ms: 0 admitted, blocked by 2 x upload (oldest 3s)", {
    counts,
    blockers: [{ kind: "upload", ageMillis: 1000 }, { kind: "upload", ageMillis: 3000 }]
  }]
])("it reads: %s", (line, part) => {
  assert.strictEqual(render({ ...graceful, ...part }), line)
})

it("a report of a process that stopped well reads as one", () => {
  const durations = { drainDelay: 1000, closing: 500, total: 1500 }
  assert.strictEqual(
    renderProcess({ outcome: "graceful", startedAt: 0, durations, resources: [] }),
    "stopped gracefully in 1s 500ms"
  )
})
