import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Demo from "../src/Demo.ts"
import * as Progress from "../src/Progress.ts"
import * as Verdict from "../src/Verdict.ts"

describe("the demo", () => {
  it.live("restarts two replicas with Lastcall and loses nothing", () =>
    Effect.gen(function*() {
      const results = yield* Demo.run({
        ways: [{ name: "Lastcall", what: "", stop: "Lastcall", load: "everyday", restarts: 2 }],
        graceMillis: 5_000,
        progress: Progress.silent
      })
      const { stops, tally, watchesEnded } = results[0]!
      assert.deepStrictEqual(tally.lost, {})
      assert.isAbove(tally.sent, 500)
      assert.isAbove(watchesEnded, 0)
      assert.deepStrictEqual(stops.map(({ exit }) => exit), ["0", "0"])
      assert.isTrue(Verdict.passed(results))
    }), 40_000)
})
