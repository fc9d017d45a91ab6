/** The score of a file, kept from run to run, so that a run of some files leaves the others as they were. */
import { isSurvivor } from "./Explained.ts"
import type { Mutant } from "./Mutant.ts"

export interface Score {
  readonly file: string
  readonly date: string
  readonly mutants: number
  /** By a test that failed or by the time that it took. */
  readonly killed: number
  readonly timeouts: number
  readonly explained: number
  readonly unexplained: number
}

export const fromMutants = (
  mutants: ReadonlyArray<Mutant>,
  unexplained: ReadonlySet<string>,
  date: string
): ReadonlyArray<Score> =>
  Array.from(new Set(mutants.map(({ file }) => file)), (file) => {
    const own = mutants.filter((mutant) => mutant.file === file)
    const survivors = own.filter(isSurvivor)
    const open = survivors.filter(({ id }) => unexplained.has(id)).length
    return {
      file,
      date,
      mutants: own.length,
      killed: own.length - survivors.length,
      timeouts: own.filter(({ fate }) => fate === "timeout").length,
      explained: survivors.length - open,
      unexplained: open
    }
  })

/** The newer scores take the place of older ones of the same files. */
export const merge = (older: ReadonlyArray<Score>, newer: ReadonlyArray<Score>): ReadonlyArray<Score> => {
  const files = new Set(newer.map(({ file }) => file))
  return [...older.filter(({ file }) => !files.has(file)), ...newer].toSorted((a, b) => a.file < b.file ? -1 : 1)
}
