import { assert, it } from "@effect/vitest"
import * as Explained from "../src/Explained.ts"
import * as Mutant from "../src/Mutant.ts"
import * as Score from "../src/Score.ts"

const file = "packages/core/src/Gate.ts"

/** A report of two changes of one kind in the same line, and one that a test has noticed. */
const report = (before: string): Mutant.Report => {
  const line = before.split("\n").length
  const at = (column: number, end: number) => ({ start: { line, column }, end: { line, column: end } })
  const mutant = { mutatorName: "BooleanLiteral", replacement: "true" }
  return {
    files: {
      [file]: {
        source: `${before}const closed = [false, false]\n`,
        mutants: [
          { ...mutant, status: "NoCoverage", location: at(24, 29) },
          { ...mutant, status: "Survived", location: at(17, 22) },
          { mutatorName: "ArrayDeclaration", replacement: "[]", status: "Killed", location: at(16, 30) },
          { ...mutant, status: "Ignored", location: at(17, 22) }
        ]
      }
    }
  }
}

it("mutants are told apart, and keep their ids when their line moves", () => {
  const mutants = Mutant.fromReport(report(""))
  assert.deepStrictEqual(mutants.map(({ change, fate }) => [fate, change]), [
    ["killed", "[false, false] => []"],
    ["survived", "false => true"],
    ["not covered", "false => true"]
  ])
  assert.strictEqual(new Set(mutants.map(({ id }) => id)).size, 3)
  const moved = Mutant.fromReport(report("// a line\n"))
  assert.deepStrictEqual(moved.map(({ id }) => id), mutants.map(({ id }) => id))
  assert.deepStrictEqual(moved.map(({ place }) => place), ["2:15-2:29", "2:16-2:21", "2:23-2:28"])
})

it("a survivor needs a reason, and a reason a survivor", () => {
  const mutants = Mutant.fromReport(report(""))
  const reason = (id: string, why: string) => ({ id, file, code: "", change: "", why })
  const [killed, survived, uncovered] = mutants.map(({ id }) => id) as [string, string, string]
  const { stale, unexplained } = Explained.compare(mutants, [
    reason(survived, "equivalent"),
    reason(uncovered, ""),
    reason(killed, "equivalent"),
    { ...reason("00000000", "of a file that was not mutated"), file: "packages/core/src/Other.ts" }
  ])
  assert.deepStrictEqual(unexplained.map(({ id }) => id), [uncovered])
  assert.deepStrictEqual(stale.map(({ id }) => id), [killed])
})

it("a run of one file leaves the scores of the others as they were", () => {
  const mutants = Mutant.fromReport(report(""))
  const uncovered = mutants[2]!.id
  const [score] = Score.fromMutants(mutants, new Set([uncovered]), "2026-11-23")
  assert.deepStrictEqual(score, {
    file,
    date: "2026-11-23",
    mutants: 3,
    killed: 1,
    timeouts: 0,
    explained: 1,
    unexplained: 1
  })
  const other = { ...score!, file: "packages/core/src/Other.ts" }
  const older = { ...score!, mutants: 99 }
  assert.deepStrictEqual(Score.merge([other, older], [score!]), [score, other])
})
