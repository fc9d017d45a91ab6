/**
 * `pnpm scenarios`: asks all subjects all scenarios, and prints the table.
 *
 * - `--only 1,2`: these scenarios.
 * - `--subject lastcall,grpc-js`: these subjects.
 * - `--write`: writes `docs/scenarios.md`; of a whole run only.
 *
 * Exits with 1 if Lastcall fails a scenario.
 */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Cell from "./Cell.ts"
import * as NamedTests from "./NamedTests.ts"
import type { Scenario } from "./Scenario.ts"
import { groups } from "./Scenarios.ts"
import { lastcall, type Subject, subjects as all } from "./Subject.ts"
import * as Table from "./Table.ts"

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    subject: { type: "string" },
    write: { type: "boolean", default: false }
  }
})

const bad = (message: string): never => {
  console.error(message)
  process.exit(2)
}

const scenarios = groups.flatMap((group) => group.scenarios)
const list = <A>(value: string | undefined, of: ReadonlyArray<A>, name: (a: A) => string): ReadonlyArray<A> =>
  value === undefined ?
    of :
    value.split(",").map((one) =>
      of.find((a) => name(a) === one.trim()) ?? bad(`${one} is none of ${of.map(name).join(", ")}`)
    )
const wanted = list(options.only, scenarios, ({ number }) => `${number}`)
const subjects = list(options.subject, all, ({ id }) => id)
if (options.write && (wanted.length < scenarios.length || subjects.length < all.length)) {
  bad("only a whole run is written")
}

/** As many at a time: most of a scenario is waiting. What counts losses under load runs alone. */
const concurrency = 3

const cells = new Map<number, Map<string, Cell.Cell>>(wanted.map(({ number }) => [number, new Map()]))

const told = (cell: Cell.Cell): string => {
  switch (cell._tag) {
    case "Passed":
      return `passed${cell.remark === undefined ? "" : ` (${cell.remark})`}`
    case "Failed":
      return `FAILED: ${cell.how}`
    case "NotApplicable":
      return `n/a: ${cell.why}`
  }
}

const program = Effect.gen(function*() {
  const named = yield* Effect.cached(NamedTests.run(subjects.includes(lastcall) ? wanted : []))
  const one = (scenario: Scenario, subject: Subject) =>
    Effect.gen(function*() {
      const inTests = Effect.map(named, (cells) => cells.get(scenario.number)!)
      const cell = yield* Cell.ask(scenario, subject, inTests)
      cells.get(scenario.number)!.set(subject.id, cell)
      console.log(`${`${scenario.number}`.padStart(2)} ${subject.title.padEnd(20)} ${told(cell)}`)
    })
  const pairs = subjects.flatMap((subject) => wanted.map((scenario) => ({ scenario, subject })))
  const isSlow = ({ scenario }: { readonly scenario: Scenario }) => scenario.isSlow === true
  const run = (pairs: ReadonlyArray<{ readonly scenario: Scenario; readonly subject: Subject }>, concurrency: number) =>
    Effect.forEach(pairs, ({ scenario, subject }) => one(scenario, subject), { concurrency, discard: true })
  yield* run(pairs.filter((pair) => !isSlow(pair)), concurrency)
  yield* run(pairs.filter(isSlow), 1)
})

const started = performance.now()
await Effect.runPromise(program)
const seconds = (performance.now() - started) / 1_000

console.log(`\n${Table.table({ cells, groups, subjects })}\n${Math.round(seconds)} s`)
if (options.write) {
  const workspace = join(import.meta.dirname, "../../..")
  const path = join(workspace, "docs/scenarios.md")
  const date = new Date().toISOString().slice(0, 10)
  writeFileSync(path, Table.document({ command: "pnpm scenarios --write", date, seconds, subjects, groups, cells }))
  spawnSync(join(workspace, "node_modules/.bin/dprint"), ["fmt", path], { cwd: workspace, stdio: "ignore" })
}
const lost = Array.from(cells.values()).some((row) => row.get(lastcall.id)?._tag === "Failed")
process.exit(lost ? 1 : 0)
