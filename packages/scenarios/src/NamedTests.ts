/** Lastcall's own tests, asked by the number in their names. */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Cell } from "./Cell.ts"
import type { Scenario } from "./Scenario.ts"

const workspace = join(import.meta.dirname, "../../..")
const vitest = join(workspace, "node_modules/vitest/vitest.mjs")

interface Results {
  readonly testResults: ReadonlyArray<{
    readonly assertionResults: ReadonlyArray<{
      readonly title: string
      readonly status: "passed" | "failed" | "skipped" | "pending" | "todo"
    }>
  }>
}

/** Runs the tests of these scenarios, all in one run; a cell for each number. */
export const run = (scenarios: ReadonlyArray<Scenario>): Effect.Effect<ReadonlyMap<number, Cell>> =>
  Effect.callback((resume) => {
    const wanted = scenarios.flatMap(({ check, number }) =>
      typeof check === "function" ? [] : [{ number, files: check.files }]
    )
    if (wanted.length === 0) return resume(Effect.succeed(new Map()))
    const folder = mkdtempSync(join(tmpdir(), "lastcall-scenarios-"))
    const output = join(folder, "results.json")
    const child = execFile(
      process.execPath,
      [
        vitest,
        "run",
        ...new Set(wanted.flatMap(({ files }) => files)),
        "-t",
        `scenario (${wanted.map(({ number }) => number).join("|")}):`,
        "--reporter=json",
        `--outputFile=${output}`
      ],
      { cwd: workspace, timeout: 120_000 },
      () => {
        let tests: Results["testResults"][number]["assertionResults"] = []
        try {
          tests = (JSON.parse(readFileSync(output, "utf8")) as Results).testResults.flatMap((file) =>
            file.assertionResults
          )
        } catch {
          // no tests: each cell says so
        }
        rmSync(folder, { recursive: true, force: true })
        resume(Effect.succeed(new Map(wanted.map(({ number }) => [number, cell(number, tests)]))))
      }
    )
    return Effect.sync(() => void child.kill())
  })

const cell = (number: number, all: Results["testResults"][number]["assertionResults"]): Cell => {
  const tests = all.filter(({ status, title }) => title.includes(`scenario ${number}:`) && status !== "skipped")
  const failed = tests.find(({ status }) => status !== "passed")
  if (tests.length === 0) return { _tag: "Failed", how: "its test did not run" }
  return failed === undefined
    ? { _tag: "Passed", remark: undefined }
    : { _tag: "Failed", how: failed.title }
}
