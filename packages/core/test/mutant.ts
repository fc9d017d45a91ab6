/** A mutant of the kernel: a copy of its source with one change, loaded beside the real one. */
import * as Effect from "effect/Effect"
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Kernel } from "./laws/kernel.ts"
import type { Mode } from "./laws/properties.ts"

export interface Mutant {
  readonly name: string
  readonly module: "GracefulStop" | "InFlight" | "Lifecycle" | "StopBudget"
  /** Occurs once in the source. */
  readonly from: string
  readonly to: string
  /** The name of a property that is falsified. */
  readonly breaks: string
  /** `shuffled` where the default scheduler never shows it. */
  readonly mode: Mode
}

const source = fileURLToPath(new URL("../src", import.meta.url))
const folder = fileURLToPath(new URL("../node_modules/.cache/mutants", import.meta.url))

/** Loads a copy of the kernel, changed or not, from a folder of its own. */
export const load = (name: string, mutant?: Mutant): Effect.Effect<Kernel> =>
  Effect.promise(async () => {
    const copy = `${folder}/${process.pid}/${name.replaceAll(/\W+/g, "-")}`
    await mkdir(copy, { recursive: true })
    await cp(source, copy, { recursive: true })
    if (mutant !== undefined) {
      const file = `${copy}/${mutant.module}.ts`
      const parts = (await readFile(file, "utf8")).split(mutant.from)
      if (parts.length !== 2) throw new Error(`${name}: ${parts.length - 1} places to change instead of one`)
      await writeFile(file, parts.join(mutant.to))
    }
    const load = (module: string) => import(/* @vite-ignore */ pathToFileURL(`${copy}/${module}.ts`).href)
    return {
      GracefulStop: await load("GracefulStop"),
      InFlight: await load("InFlight"),
      Lifecycle: await load("Lifecycle"),
      StopBudget: await load("StopBudget")
    }
  })

/** Removes the copies of this process. */
export const cleanUp = (): Promise<void> => rm(`${folder}/${process.pid}`, { recursive: true, force: true })
