import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Demo from "../src/Demo.ts"
import type * as Progress from "../src/Progress.ts"
import * as Verdict from "../src/Verdict.ts"
import type { Way } from "../src/Way.ts"

const recorded = () => {
  const notes: Array<string> = []
  const lives: Array<string> = []
  const progress: Progress.Progress = {
    note: (_, text) => void notes.push(text),
    live: (_, text) => void lives.push(text),
    end: () => {}
  }
  return { progress, notes, lives }
}

const lastcall = (restarts: number): ReadonlyArray<Way> => [
  { name: "Lastcall", what: "", stop: "Lastcall", load: "everyday", restarts }
]

describe("the demo", () => {
  it.live("restarts two replicas with Lastcall, shows their stops, and loses nothing", () =>
    Effect.gen(function*() {
      const { lives, notes, progress } = recorded()
      const results = yield* Demo.run({ ways: lastcall(2), graceMillis: 5_000, progress })
      const { stops, tally, watchesEnded } = results[0]!
      assert.deepStrictEqual(tally.lost, {})
      assert.isAbove(tally.sent, 500)
      assert.isAbove(watchesEnded, 0)
      assert.deepStrictEqual(stops.map(({ exit }) => exit), ["0", "0"])
      assert.deepStrictEqual(
        stops.map(({ report }) => [report?.outcome, report?.resources.map(({ name }) => name).join()]),
        [["graceful", "public,admin"], ["graceful", "public,admin"]]
      )
      for (const instance of ["A1", "B1"]) {
        const drain = new RegExp(`^${instance} public: draining, \\d+ in flight$`)
        const running = new RegExp(`^${instance} public: \\d+ in flight, oldest IdentityService/\\w+ .+ left$`)
        assert.strictEqual(notes.filter((note) => drain.test(note)).length, 1)
        assert.isTrue(lives.some((line) => running.test(line)))
      }
      assert.isTrue(Verdict.passed(results))
    }), 40_000)

  it.live("says so when Lastcall had to force", () =>
    Effect.gen(function*() {
      const { notes, progress } = recorded()
      const results = yield* Demo.run({ ways: lastcall(1), graceMillis: 200, progress })
      const { exit, openAtRelease, released, report, usesAfterRelease } = results[0]!.stops[0]!
      assert.strictEqual(exit, "124")
      assert.deepStrictEqual(released.map(({ what }) => what), ["public", "admin", "database"])
      assert.deepStrictEqual([released[0]?.forced, openAtRelease, usesAfterRelease], [true, 0, 0])
      const forced = report?.resources[0]
      assert.deepStrictEqual([report?.outcome, forced?.name, forced?.forcedBy], ["forced", "public", "grace"])
      assert.isNotEmpty(forced?.blockers)
      const cut = /^A1 public: drain cut short \(grace\), \d+ in flight, oldest IdentityService\//
      assert.strictEqual(notes.filter((note) => cut.test(note)).length, 1)
      assert.isFalse(Verdict.passed(results))
    }), 40_000)
})
