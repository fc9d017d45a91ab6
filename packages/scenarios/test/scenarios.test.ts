/** Every scenario has a test: here are those that no other test has in its name, and that end in a few seconds. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Ground from "../src/Ground.ts"
import type { Scenario } from "../src/Scenario.ts"
import { groups } from "../src/Scenarios.ts"
import { lastcall } from "../src/Subject.ts"

const workspace = join(import.meta.dirname, "../../..")
const scenarios = groups.flatMap((group) => group.scenarios)

/** The numbers in the names of other tests. */
const named = new Set(
  globSync("{packages,examples}/*/test/**/*.test.ts", { cwd: workspace }).flatMap((file) =>
    Array.from(
      readFileSync(join(workspace, file), "utf8").matchAll(/["`]scenario (\d+): /g),
      ([, number]) => Number(number)
    )
  )
)

const isHere = ({ check, isSlow, number }: Scenario) =>
  !named.has(number) && isSlow !== true && typeof check === "function"

afterAll(Ground.remove)

describe("Lastcall", () => {
  for (const { check, number, title } of scenarios.filter(isHere)) {
    if (typeof check !== "function") continue
    it.live(`scenario ${number}: ${title}`, () => check(lastcall), 120_000)
  }
})

describe("the numbers", () => {
  it("are 1 to 72, each once", () => {
    assert.deepStrictEqual(scenarios.map(({ number }) => number), Array.from({ length: 72 }, (_, i) => i + 1))
  })

  it("each have a test, here, in another package, or in `pnpm scenarios` where it takes long", () => {
    const without = scenarios.filter((scenario) =>
      !named.has(scenario.number) && !isHere(scenario) &&
      !(scenario.isSlow === true && typeof scenario.check === "function")
    )
    assert.deepStrictEqual(without.map(({ number }) => number), [])
  })

  it("that are left to tests by name name files that have such a test", () => {
    for (const { check, number } of scenarios) {
      if (typeof check === "function") continue
      const text = check.files.map((file) => readFileSync(join(workspace, file), "utf8")).join("\n")
      assert.include(text, `scenario ${number}: `)
    }
  })
})
