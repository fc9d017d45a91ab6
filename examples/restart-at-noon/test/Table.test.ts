import { assert, describe, it } from "@effect/vitest"
import * as Table from "../src/Table.ts"
import * as Way from "../src/Way.ts"
import { lastcall, recipe } from "./results.ts"

describe("Table", () => {
  it("has a row for each way", () => {
    assert.strictEqual(
      Table.render([recipe, lastcall]),
      [
        "way                  RPCs  RPCs           stop time,     release           exit  database use",
        "          restarts   sent  lost           median / max   order                   after release",
        "--------  --------  -----  -------------  -------------  ----------------  ----  -------------",
        "recipe           3  1,500  4, of them     1.71 / 1.75 s  public, 2 forced  0     4 handlers",
        "                           3 CANCELLED                   admin                   2 queries",
        "                           1 UNAVAILABLE                 database",
        "--------  --------  -----  -------------  -------------  ----------------  ----  -------------",
        "Lastcall         2    900  0              1.05 / 1.10 s  public            0     none",
        "                                                         admin",
        "                                                         database",
        "--------  --------  -----  -------------  -------------  ----------------  ----  -------------"
      ].join("\n")
    )
  })

  it("fits in 112 columns at its widest", () => {
    const way = { ...recipe.way, name: "recipe, easy case" }
    const lost = { Issue: { DEADLINE_EXCEEDED: 100, UNAVAILABLE: 10_000 } }
    const widest = Table.render([{ ...recipe, way, tally: { sent: 99_999, succeeded: 0, lost } }])
    assert.isAtMost(Math.max(...widest.split("\n").map((line) => line.length)), 112)
    assert.isTrue(Way.all(4).every(({ name }) => name.length <= way.name.length))
  })

  it("takes the median between the two in the middle", () => {
    assert.strictEqual(Table.median([3, 1, 2]), 2)
    assert.strictEqual(Table.median([4, 1, 2, 3]), 2.5)
  })
})
