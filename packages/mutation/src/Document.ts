/** docs/mutation.md. */
import { readFileSync } from "node:fs"
import type { Explained } from "./Explained.ts"
import { groups } from "./Group.ts"
import type { Score } from "./Score.ts"

const version = (name: string): string =>
  (JSON.parse(readFileSync(new URL(`../../../node_modules/${name}/package.json`, import.meta.url), "utf8")) as {
    readonly version: string
  }).version

const { devDependencies } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  readonly devDependencies: { readonly [name: string]: string }
}

const percent = ({ explained, killed, mutants }: Score): string => {
  const counted = mutants - explained
  return counted === 0 ? "-" : `${(Math.floor(killed / counted * 1_000) / 10).toFixed(1)} %`
}

const total = (scores: ReadonlyArray<Score>): Score => ({
  file: "all",
  date: "",
  mutants: sum(scores, ({ mutants }) => mutants),
  killed: sum(scores, ({ killed }) => killed),
  timeouts: sum(scores, ({ timeouts }) => timeouts),
  explained: sum(scores, ({ explained }) => explained),
  unexplained: sum(scores, ({ unexplained }) => unexplained)
})

const sum = (scores: ReadonlyArray<Score>, of: (score: Score) => number): number =>
  scores.reduce((sum, score) => sum + of(score), 0)

const table = (header: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = header.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n")
}

const row = (score: Score): ReadonlyArray<string> => [
  score.file.replace("packages/", ""),
  String(score.mutants),
  `${score.killed} (${score.timeouts})`,
  String(score.explained),
  String(score.unexplained),
  percent(score),
  score.date
]

const unmeasured = (scores: ReadonlyArray<Score>): string => {
  const measured = new Set(scores.map(({ file }) => file))
  const missing = groups.flatMap(({ sources }) => sources).filter((file) => !measured.has(file))
  return missing.length === 0
    ? "All files of these groups were measured."
    : `Not measured as they are now: ${missing.map((file) => file.replace("packages/", "")).join(", ")}.`
}

export const render = (scores: ReadonlyArray<Score>, explained: ReadonlyArray<Explained>): string =>
  `# Mutation tests

Made by \`pnpm mutation\`; do not edit. Node ${process.version.slice(1)}, Stryker ${
    devDependencies["@stryker-mutator/core"]
  }, vitest ${version("vitest")}, Effect ${version("effect")}, TypeScript ${version("typescript")}.

A mutant is the source with one small change: a condition that is always true, a call that is gone, \`<\` for \`<=\`, an empty
block. The tests that cover the change run against it. If one fails, or they take several times as long as they should (in
brackets), the mutant is killed. If none does, either a test is missing, or the change makes no difference that anyone can
see; then [explained.json](../packages/mutation/explained.json) says why. The score is what was killed of what was not explained.

    pnpm mutation                       # all files
    pnpm mutation --file InFlight.ts    # one of them
    pnpm mutation --changed main        # those that differ from a revision (HEAD, if none is given)

It exits with 1 if a survivor is not explained. It works in a copy of the work tree, with two processes at low priority.
Texts (string literals) are not changed. The kernel's hand-written mutants are apart: \`pnpm mutants\`.

${
    table(["file", "mutants", "killed (by time)", "explained", "unexplained", "score", "date"], [
      ...scores.map(row),
      row(total(scores))
    ])
  }

There are ${explained.length} explanations. ${unmeasured(scores)}
`
