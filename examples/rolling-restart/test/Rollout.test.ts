import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Account from "../src/Account.ts"
import * as Rollout from "../src/Rollout.ts"
import * as Tally from "../src/Tally.ts"

const options = { load: { perSecond: 120, longMillis: 240 }, note: () => {} }

// Most of it is waiting.
describe.concurrent("a rolling restart of three replicas under open-loop load", () => {
  it.live("scenario 63: with Lastcall no RPC is lost, and both sides account for each", () =>
    Effect.gen(function*() {
      const result = yield* Rollout.run({
        ...options,
        way: "Lastcall",
        restarts: 3,
        holdMillis: 1_500,
        graceMillis: 20_000
      })
      assert.deepStrictEqual(Tally.methods.map((method) => [method, result.tally[method].lost]), [
        ["Get", {}],
        ["List", {}],
        ["Put", {}],
        ["Talk", {}],
        ["Watch", {}]
      ])
      assert.strictEqual(Tally.outstanding(result.tally), 0)
      for (const method of Tally.methods) {
        assert.strictEqual(Account.admitted(result, method), result.tally[method].sent)
        assert.isAbove(result.tally[method].sent, 3)
      }
      assert.deepStrictEqual(result.stops.map(({ instance }) => instance), ["A1", "B1", "C1"])
      assert.deepStrictEqual(result.allStops.map(({ exit }) => exit), Array(6).fill("0"))
      assert.isTrue(Account.isKept(result))
      // Each restart has ended the watch of its replica with a last message.
      assert.isAtLeast(result.tally.Watch.sent, 6)
    }), 300_000)

  it.live("with the recipe a watch takes the whole timer, and is cut", () =>
    Effect.gen(function*() {
      const graceMillis = 400
      const result = yield* Rollout.run({ ...options, way: "recipe", restarts: 1, holdMillis: 0, graceMillis })
      assert.strictEqual(Tally.outstanding(result.tally), 0)
      assert.isAtLeast(Tally.lostOf(result.tally.Watch), 1)
      const [stop] = result.stops
      assert.isAtLeast(stop!.millis, graceMillis)
      assert.strictEqual(stop!.exit, "0")
      assert.isFalse(Account.isKept(result))
    }), 300_000)
})
