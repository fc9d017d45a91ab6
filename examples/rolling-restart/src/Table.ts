/** The results as a table of plain text. */
import type { Result } from "./Rollout.ts"
import * as Tally from "./Tally.ts"

const number = (n: number): string => n.toLocaleString("en-US")

const seconds = (millis: number): string => `${(millis / 1_000).toFixed(2)} s`

const lost = (counts: Tally.Counts): string => {
  const statuses = Object.entries(counts.lost).map(([status, n]) => `${number(n)} ${status}`)
  return statuses.length === 0 ? "0" : statuses.join(", ")
}

const stopTimes = ({ stops }: Result): string => {
  const millis = stops.map(({ millis }) => millis).toSorted((a, b) => a - b)
  return `${seconds(millis[Math.floor(millis.length / 2)]!)} / ${seconds(millis.at(-1)!)}`
}

export const render = (results: ReadonlyArray<Result>): string => {
  const rows: ReadonlyArray<readonly [string, (result: Result) => string]> = [
    ["", ({ way }) => way],
    ["restarts", ({ stops }) => number(stops.length)],
    ["stop time, median / max", stopTimes],
    ["RPCs sent", ({ tally }) => number(Tally.sent(tally))],
    ["in flight at most", ({ mostOutstanding }) => number(mostOutstanding)],
    ["RPCs lost", ({ tally }) => number(Tally.lost(tally))],
    ...Tally.methods.map((method): readonly [string, (result: Result) => string] => [
      `  of ${method}`,
      ({ tally }) => `${lost(tally[method])} of ${number(tally[method].sent)}`
    ]),
    ["RPCs without an end", ({ tally }) => number(Tally.outstanding(tally))]
  ]
  const cells = rows.map(([head, cell]) => [head, ...results.map(cell)])
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  return cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("   ").trimEnd()).join("\n")
}
