/** A mutant with an id that stays the same while its line does. */
import { createHash } from "node:crypto"

export interface Mutant {
  readonly id: string
  readonly file: string
  readonly line: number
  /** Where it is, as Stryker takes it: line and column of its start and end. */
  readonly place: string
  /** The kind of change. */
  readonly mutator: string
  /** The line that is changed, and what the changed part of it becomes. */
  readonly code: string
  readonly change: string
  readonly fate: "killed" | "timeout" | "survived" | "not covered"
}

/** The part of Stryker's report that is read. */
export interface Report {
  readonly files: {
    readonly [file: string]: { readonly source: string; readonly mutants: ReadonlyArray<Reported> }
  }
}

interface Reported {
  readonly mutatorName: string
  readonly replacement: string
  readonly status: string
  readonly location: Location
}

interface Location {
  readonly start: Position
  readonly end: Position
}

interface Position {
  readonly line: number
  readonly column: number
}

/** The mutants of a report. */
export const fromReport = (report: Report): ReadonlyArray<Mutant> =>
  Object.entries(report.files).flatMap(([file, { mutants, source }]) => {
    const lines = source.split("\n")
    const seen = new Map<string, number>()
    return mutants.toSorted(byPosition).flatMap(({ location, mutatorName: mutator, replacement, status }) => {
      const fate = fates[status]
      if (fate === undefined) return []
      const code = lines[location.start.line - 1]!.trim()
      const change = `${between(lines, location.start, location.end)} => ${oneLine(replacement)}`
      const identity = [file, mutator, code, change].join("\0")
      const nth = (seen.get(identity) ?? 0) + 1
      seen.set(identity, nth)
      const id = createHash("sha256").update(`${identity}\0${nth}`).digest("hex").slice(0, 8)
      return [{ id, file, line: location.start.line, place: placeOf(location), mutator, code, change, fate }]
    })
  })

const byPosition = (a: Reported, b: Reported): number =>
  a.location.start.line - b.location.start.line || a.location.start.column - b.location.start.column

/** A run that ends in an error outside of a test is not green either. */
const fates: { readonly [status: string]: Mutant["fate"] } = {
  Killed: "killed",
  RuntimeError: "killed",
  Timeout: "timeout",
  Survived: "survived",
  NoCoverage: "not covered"
}

const placeOf = ({ end, start }: Location): string => `${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`

const oneLine = (text: string): string => text.replaceAll(/\s+/g, " ").slice(0, 160)

const between = (lines: ReadonlyArray<string>, start: Position, end: Position): string =>
  oneLine(
    lines.slice(start.line - 1, end.line).map((line, index, { length }) =>
      line.slice(index === 0 ? start.column - 1 : 0, index === length - 1 ? end.column - 1 : undefined)
    ).join("\n")
  )
