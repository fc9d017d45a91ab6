import { assert, describe, it } from "@effect/vitest"
import * as StopPolicy from "@lastcall/core/StopPolicy"

describe("StopPolicy.make", () => {
  it("has defaults", () => {
    assert.deepStrictEqual(StopPolicy.make(), { drainDelayMillis: 0, graceMillis: 10_000, forceTimeoutMillis: 2_000 })
  })

  it("keeps fractions of a second, and an infinite grace period", () => {
    assert.deepStrictEqual(StopPolicy.make({ drainDelay: 250, grace: "Infinity", forceTimeout: "1500 millis" }), {
      drainDelayMillis: 250,
      graceMillis: Number.POSITIVE_INFINITY,
      forceTimeoutMillis: 1500
    })
  })

  it.each<[string, StopPolicy.Options, keyof StopPolicy.Options]>([
    ["a negative drain delay", { drainDelay: -1 }, "drainDelay"],
    ["a negative grace period", { grace: "-1 seconds" }, "grace"],
    ["a negative force timeout", { forceTimeout: -1 }, "forceTimeout"],
    ["a drain delay that is not a number", { drainDelay: Number.NaN }, "drainDelay"],
    ["a drain delay of seconds that are not a number", { drainDelay: { seconds: Number.NaN } }, "drainDelay"],
    ["a force timeout of nanoseconds that are not a number", { forceTimeout: [1, Number.NaN] }, "forceTimeout"],
    ["a grace period that is not a number", { grace: Number.NaN }, "grace"],
    ["a grace period that is not a duration", { grace: "soon" as "1 second" }, "grace"],
    ["an infinite drain delay", { drainDelay: "Infinity" }, "drainDelay"],
    ["an infinite force timeout", { forceTimeout: "Infinity" }, "forceTimeout"]
  ])("refuses %s, and names the option", (_, options, option) => {
    try {
      StopPolicy.make(options)
    } catch (error) {
      assert.instanceOf(error, StopPolicy.StopPolicyError)
      assert.strictEqual(error.option, option)
      assert.match(error.message, new RegExp(`^stop policy: ${option} is `))
      return
    }
    assert.fail("it was accepted")
  })

  it("says what was given", () => {
    assert.throws(
      () => StopPolicy.make({ grace: { seconds: Number.NaN } }),
      `stop policy: grace is {"seconds":NaN}: not a duration`
    )
    assert.throws(
      () => StopPolicy.make({ grace: "soon" as "1 second" }),
      `stop policy: grace is "soon": not a duration`
    )
  })
})
