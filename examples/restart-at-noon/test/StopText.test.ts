import { assert, describe, it } from "@effect/vitest"
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as StopText from "../src/StopText.ts"
import { lastcall, recipe } from "./results.ts"

describe("StopText", () => {
  it("names methods without their package in the live line", () => {
    assert.strictEqual(
      StopText.live("A1", "public: 12 in flight, oldest lastcall.demo.v1.IdentityService/Issue 800ms, 1s left"),
      "A1 public: 12 in flight, oldest IdentityService/Issue 800ms, 1s left"
    )
  })

  it("logs the drain of the public server, and what was cut", () => {
    const event = { _tag: "DrainStarted", resource: "public", at: 0, inFlight: 12 } as const
    assert.strictEqual(StopText.logged("A1", event), "A1 public: draining, 12 in flight")
    assert.isUndefined(StopText.logged("A1", { ...event, resource: "admin" }))
    assert.strictEqual(
      StopText.logged("A1", { _tag: "DrainCut", resource: "admin", at: 0, by: "budget", blockers: [] }),
      "A1 admin: drain cut short (budget), nothing in flight"
    )
    assert.isUndefined(StopText.logged("A1", { _tag: "Announced", resource: "public", at: 0 }))
  })

  it("reports the last stop of Lastcall", () => {
    assert.strictEqual(
      StopText.lastReport([recipe, lastcall]),
      [
        "What Lastcall itself says of the last restart, the stop of B1:",
        "  stopped gracefully in 1s 100ms",
        "    public stopped gracefully in 1s 100ms: 12 admitted, 12 succeeded"
      ].join("\n")
    )
    assert.isUndefined(StopText.lastReport([recipe]))
  })

  it("wraps what is too wide", () => {
    const stop = lastcall.stops[1]!
    const resource = stop.report!.resources[0]!
    const kinds = ["Issue", "Enroll", "ListIdentities", "WatchBundle"]
    const blockers = kinds.map((kind) => ({ kind: `lastcall.demo.v1.IdentityService/${kind}`, ageMillis: 1_234 }))
    const report: ProcessReport = {
      ...stop.report!,
      resources: [{ ...resource, outcome: "forced", forcedBy: "grace", blockers }]
    }
    const text = StopText.lastReport([{ ...lastcall, stops: [{ ...stop, report }] }])!
    const lines = text.split("\n")
    assert.isAtMost(Math.max(...lines.map((line) => line.length)), 110)
    assert.deepStrictEqual(lines.map((line) => line.search(/\S/)), [0, 2, 4, 6, 6])
    assert.include(text.replaceAll(/\s+/g, " "), "1 x IdentityService/WatchBundle (1s 234ms)")
  })
})
