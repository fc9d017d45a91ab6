/**
 * `pnpm mutation`: changes the sources, one small change at a time, and sees whether a test notices.
 *
 *     pnpm mutation                          all files
 *     pnpm mutation --file InFlight.ts       one, or several with more `--file`s
 *     pnpm mutation --changed [REVISION]     those that differ from a revision (HEAD)
 *     pnpm mutation --processes 1            at a time; 2 by default
 *
 * It exits with 1 if a mutant survives and `explained.json` does not say why.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { setPriority } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Copy from "./Copy.ts"
import * as Document from "./Document.ts"
import * as Explained from "./Explained.ts"
import { groups } from "./Group.ts"
import type { Mutant } from "./Mutant.ts"
import * as Run from "./Run.ts"
import * as Score from "./Score.ts"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const { positionals, values } = parseArgs({
  options: {
    file: { type: "string", multiple: true },
    changed: { type: "boolean" },
    processes: { type: "string", default: "2" }
  },
  allowPositionals: true
})

const git = (...args: ReadonlyArray<string>): string => execFileSync("git", args, { cwd: root, encoding: "utf8" })

const changed = values.changed === true
  ? new Set(
    `${git("diff", "--name-only", positionals[0] ?? "HEAD")}${git("ls-files", "-o", "--exclude-standard")}`.split("\n")
  )
  : undefined

const isChosen = (file: string): boolean =>
  (changed === undefined || changed.has(file)) &&
  (values.file === undefined || values.file.some((name) => file === name || file.endsWith(`/${name}`)))

const jobs = groups.flatMap((group) => group.sources.filter(isChosen).map((source) => ({ group, source })))
if (jobs.length === 0) {
  console.log("nothing to mutate")
  process.exit(changed === undefined ? 2 : 0)
}

setPriority(10)
const copy = Copy.make(root)
process.once("exit", () => rmSync(copy, { recursive: true, force: true }))
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const lists = new URL("../node_modules/.cache/mutants/", import.meta.url)
const data = new URL("../scores.json", import.meta.url)
const today = new Date().toISOString().slice(0, 10)
mkdirSync(lists, { recursive: true })

/** After each file, so that a run that is ended keeps what it has found. */
const keep = (source: string, mutants: ReadonlyArray<Mutant>): number => {
  writeFileSync(new URL(`${source.replaceAll("/", "-")}.json`, lists), JSON.stringify(mutants, undefined, 1))
  const explained = Explained.read()
  const { stale, unexplained } = Explained.compare(mutants, explained)
  const older = existsSync(data) ? JSON.parse(readFileSync(data, "utf8")) as ReadonlyArray<Score.Score> : []
  const scores = Score.merge(older, Score.fromMutants(mutants, new Set(unexplained.map(({ id }) => id)), today))
  writeFileSync(data, `${JSON.stringify(scores, undefined, 2)}\n`)
  writeFileSync(join(root, "docs/mutation.md"), Document.render(scores, explained))
  for (const { change, code, fate, file, id, line, mutator } of unexplained) {
    console.log(`\n${fate} ${id} ${mutator} ${file}:${line}\n    ${code}\n    ${change}`)
  }
  for (const { file, id, why } of stale) console.log(`\nno longer a survivor: ${id} ${file}: ${why}`)
  console.log(`\n${source}: ${mutants.length} mutants, ${unexplained.length} survivors unexplained`)
  return unexplained.length
}

let unexplained = 0
for (const { group, source } of jobs) {
  unexplained += keep(source, await Run.run(copy, group, source, Number(values.processes)))
}
process.exitCode = unexplained === 0 ? 0 : 1
