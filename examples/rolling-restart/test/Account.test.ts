import { assert, describe, it } from "@effect/vitest"
import * as Account from "../src/Account.ts"
import type { Stop } from "../src/Replica.ts"
import type { Result } from "../src/Rollout.ts"
import * as Table from "../src/Table.ts"
import * as Tally from "../src/Tally.ts"
import { lastcall, recipe, stop, tallyOf } from "./results.ts"

const withLast = (last: Partial<Stop>): Result => ({
  ...lastcall,
  allStops: [...lastcall.stops, { ...stop("A2", 10, 300), ...last }]
})

describe("the account", () => {
  it("adds what all processes admitted", () => {
    for (const method of Tally.methods) assert.strictEqual(Account.admitted(lastcall, method), 1_000)
    assert.strictEqual(Account.admitted(withLast({ report: undefined }), "Get"), 700)
  })

  it("is kept when nothing is lost and both sides agree", () => {
    assert.isTrue(Account.isKept(lastcall))
    assert.isTrue(Account.isKept(withLast({})))
  })

  const broken: ReadonlyArray<readonly [why: string, result: Result]> = [
    ["an RPC was lost", {
      ...lastcall,
      tally: tallyOf({ sent: 1_000, succeeded: 1_000 }, {
        Get: { sent: 1_000, succeeded: 999, lost: { UNAVAILABLE: 1 } }
      })
    }],
    ["an RPC has no end", {
      ...lastcall,
      tally: tallyOf({ sent: 1_000, succeeded: 1_000 }, { Get: { sent: 1_000, succeeded: 999, lost: {} } })
    }],
    ["an RPC was admitted twice", { ...lastcall, tally: tallyOf({ sent: 999, succeeded: 999 }) }],
    ["a process ended with another status", withLast({ exit: "124" })],
    ["a process has no report", withLast({ report: undefined })]
  ]
  for (const [why, result] of broken) {
    it(`is not kept when ${why}`, () => {
      assert.isFalse(Account.isKept(result))
    })
  }
})

describe("the table", () => {
  it("has a column for each way", () => {
    assert.strictEqual(
      Table.render([recipe, lastcall]),
      [
        "                          recipe                            Lastcall",
        "restarts                  2                                 2",
        "stop time, median / max   1.20 s / 1.20 s                   1.20 s / 1.20 s",
        "RPCs sent                 4,009                             5,000",
        "in flight at most         50                                50",
        "RPCs lost                 6                                 0",
        "  of Get                  0 of 1,000                        0 of 1,000",
        "  of List                 0 of 1,000                        0 of 1,000",
        "  of Put                  0 of 1,000                        0 of 1,000",
        "  of Talk                 0 of 1,000                        0 of 1,000",
        "  of Watch                4 CANCELLED, 2 UNAVAILABLE of 9   0 of 1,000",
        "RPCs without an end       0                                 0"
      ].join("\n")
    )
  })
})
