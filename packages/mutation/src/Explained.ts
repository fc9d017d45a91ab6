/** Survivors that no test can or should kill, each with the reason. */
import { readFileSync } from "node:fs"
import type { Mutant } from "./Mutant.ts"

export interface Explained {
  readonly id: string
  readonly file: string
  /** For people: the line and the change. */
  readonly code: string
  readonly change: string
  /** One sentence. */
  readonly why: string
}

export const read = (): ReadonlyArray<Explained> =>
  JSON.parse(readFileSync(new URL("../explained.json", import.meta.url), "utf8")) as ReadonlyArray<Explained>

export const isSurvivor = ({ fate }: Mutant): boolean => fate === "survived" || fate === "not covered"

/** The survivors without a reason, and the reasons of these files without a survivor. */
export const compare = (mutants: ReadonlyArray<Mutant>, explained: ReadonlyArray<Explained>): {
  readonly unexplained: ReadonlyArray<Mutant>
  readonly stale: ReadonlyArray<Explained>
} => {
  const survivors = mutants.filter(isSurvivor)
  const reasons = new Set(explained.filter(({ why }) => why !== "").map(({ id }) => id))
  const alive = new Set(survivors.map(({ id }) => id))
  const files = new Set(mutants.map(({ file }) => file))
  return {
    unexplained: survivors.filter(({ id }) => !reasons.has(id)),
    stale: explained.filter(({ file, id }) => files.has(file) && !alive.has(id))
  }
}
