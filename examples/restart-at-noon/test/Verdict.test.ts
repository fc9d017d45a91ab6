import { assert, describe, it } from "@effect/vitest"
import * as Verdict from "../src/Verdict.ts"
import type { Stop } from "../src/Way.ts"
import { lastcall, recipe } from "./results.ts"

const withStop = (stop: Partial<Stop>) => ({
  ...lastcall,
  stops: [lastcall.stops[0]!, { ...lastcall.stops[1]!, ...stop }]
})

describe("Verdict", () => {
  it("passes whatever the other ways lose", () => {
    assert.isTrue(Verdict.passed([recipe, lastcall]))
  })

  it("fails when Lastcall loses one RPC", () => {
    const tally = { sent: 900, succeeded: 899, lost: { Issue: { UNAVAILABLE: 1 } } }
    assert.isFalse(Verdict.passed([recipe, { ...lastcall, tally }]))
  })

  it("fails when an RPC of Lastcall has no end", () => {
    assert.isFalse(Verdict.passed([{ ...lastcall, tally: { ...lastcall.tally, succeeded: 899 } }]))
  })

  it("fails when Lastcall does not exit with 0, uses the database after its release, or misses a restart", () => {
    assert.isFalse(Verdict.passed([withStop({ exit: "1" })]))
    assert.isFalse(Verdict.passed([withStop({ usesAfterRelease: 1 })]))
    assert.isFalse(Verdict.passed([withStop({ openAtRelease: 1 })]))
    assert.isFalse(Verdict.passed([withStop({ released: [] })]))
    assert.isFalse(Verdict.passed([{ ...lastcall, stops: lastcall.stops.slice(1) }]))
  })

  it("says what was measured", () => {
    const text = Verdict.render([recipe, lastcall]).replaceAll(/\s+/g, " ")
    assert.include(
      text,
      "The recipe lost 4 RPCs (3 Watch, 1 Issue) and took its whole timeout of 1.7 s in 2 of 3 restarts"
    )
    assert.include(text, "Lastcall lost no RPC and needed 1.1 s for a stop, with a grace period of 1.7 s: it waited")
    assert.include(text, "ended 2 watches with a last message")
  })

  it("says so when Lastcall was forced", () => {
    const text = Verdict.render([withStop({ released: recipe.stops[0]!.released })]).replaceAll(/\s+/g, " ")
    assert.include(text, "in 1 of 2 restarts that was too short, and what was in flight was interrupted")
    assert.notInclude(text, "it waited")
  })
})
