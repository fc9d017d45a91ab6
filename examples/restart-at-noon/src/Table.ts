/** The results as a table of plain text. */
import * as Tally from "./Tally.ts"
import type { Result } from "./Way.ts"

/** A cell is one or more lines. */
type Cell = ReadonlyArray<string>

interface Column {
  readonly head: Cell
  readonly align: "left" | "right"
  readonly cell: (result: Result) => Cell
}

const number = (n: number): string => n.toLocaleString("en-US")

const seconds = (millis: number): string => (millis / 1000).toFixed(2)

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, n) => total + n, 0)

const lost = ({ tally }: Result): Cell => {
  const byStatus = Object.entries(Tally.lostByStatus(tally)).toSorted(([, a], [, b]) => b - a)
  const lines = byStatus.map(([status, n]) => `${number(n)} ${status}`)
  if (lines.length === 0) return ["0"]
  return lines.length === 1 ? lines : [`${number(Tally.lost(tally))}, of them`, ...lines]
}

/** The order of the first stop, and that there were others. Forced in one stop is said as forced. */
const order = ({ stops }: Result): Cell => {
  const orders = new Set(stops.map(({ released }) => released.map(({ what }) => what).join(" ")))
  const [first, ...others] = orders
  if (first === undefined || first === "") return ["none was told"]
  const lines = first.split(" ").map((what) => {
    const forced = stops.filter(({ released }) => released.some((one) => one.what === what && one.forced)).length
    if (forced === 0) return what
    return `${what}, ${forced === stops.length ? "" : `${forced} `}forced`
  })
  return others.length === 0 ? lines : [...lines, `(or ${others.length} other)`]
}

const databaseUse = ({ stops }: Result): Cell => {
  const handlers = sum(stops.map(({ openAtRelease }) => openAtRelease))
  const queries = sum(stops.map(({ usesAfterRelease }) => usesAfterRelease))
  if (handlers === 0 && queries === 0) return ["none"]
  return [`${number(handlers)} handlers`, `${number(queries)} queries`]
}

const columns: ReadonlyArray<Column> = [
  { head: ["way"], align: "left", cell: ({ way }) => [way.name] },
  { head: ["", "restarts"], align: "right", cell: ({ stops }) => [number(stops.length)] },
  { head: ["RPCs", "sent"], align: "right", cell: ({ tally }) => [number(tally.sent)] },
  { head: ["RPCs", "lost"], align: "left", cell: lost },
  {
    head: ["stop time,", "median / max"],
    align: "left",
    cell({ stops }) {
      const times = stops.map(({ millis }) => millis)
      return [`${seconds(median(times))} / ${seconds(Math.max(...times))} s`]
    }
  },
  { head: ["release", "order"], align: "left", cell: order },
  {
    head: ["exit"],
    align: "left",
    cell: ({ stops }) => [Array.from(new Set(stops.map(({ exit }) => exit))).join(", ")]
  },
  { head: ["database use", "after release"], align: "left", cell: databaseUse }
]

const gap = "  "

export const render = (results: ReadonlyArray<Result>): string => {
  const rows = results.map((result) => columns.map(({ cell }) => cell(result)))
  const widths = columns.map(({ head }, i) =>
    Math.max(...[head, ...rows.map((row) => row[i]!)].flat().map((line) => line.length))
  )
  const lines = (row: ReadonlyArray<Cell>): Array<string> =>
    Array.from({ length: Math.max(...row.map((cell) => cell.length)) }, (_, line) =>
      row.map((cell, i) => {
        const text = cell[line] ?? ""
        return columns[i]!.align === "left" ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)
      }).join(gap).trimEnd())
  const rule = widths.map((width) => "-".repeat(width)).join(gap)
  return [
    ...lines(columns.map(({ head }) => head)),
    ...rows.flatMap((row) => [rule, ...lines(row)]),
    rule
  ].join("\n")
}
