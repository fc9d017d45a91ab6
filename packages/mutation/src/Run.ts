/** Runs Stryker for one source, in a copy of the work tree. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Explained from "./Explained.ts"
import type { Group } from "./Group.ts"
import * as Mutant from "./Mutant.ts"

const stryker = fileURLToPath(new URL("../../bin/stryker.js", import.meta.resolve("@stryker-mutator/core")))
const runner = fileURLToPath(import.meta.resolve("@stryker-mutator/vitest-runner"))

/** The quick tests first; what survives them meets the others. */
export const run = async (
  copy: string,
  group: Group,
  source: string,
  processes: number
): Promise<ReadonlyArray<Mutant.Mutant>> => {
  const { except = [], more = [], tests } = group
  const coverage = group.inChildren === true ? "off" : "perTest"
  const mutants = await pass(copy, {
    source,
    tests,
    except,
    coverage,
    mutate: [source],
    processes
  })
  // Stryker believes what it sees of coverage, though it was told not to look.
  if (group.inChildren === true && mutants.some(({ fate }) => fate === "not covered")) {
    throw new Error(`${source} is to run in child processes only, but a test imports it`)
  }
  const survivors = mutants.filter(Explained.isSurvivor)
  if (more.length === 0 || survivors.length === 0) return mutants
  const mutate = Array.from(new Set(survivors.map(({ file, place }) => `${file}:${place}`)))
  const again = await pass(copy, { source, tests: more, except, coverage, mutate, processes })
  const key = ({ change, file, mutator, place }: Mutant.Mutant) => [file, place, mutator, change].join("\0")
  const fates = new Map(again.map((mutant) => [key(mutant), mutant.fate]))
  return mutants.map((mutant) => {
    const fate = fates.get(key(mutant))
    // not covered by the others: it survived those that cover it
    return Explained.isSurvivor(mutant) && fate !== undefined && fate !== "not covered" ? { ...mutant, fate } : mutant
  })
}

interface Pass {
  readonly source: string
  readonly tests: ReadonlyArray<string>
  readonly except: ReadonlyArray<string>
  readonly coverage: "off" | "perTest"
  readonly mutate: ReadonlyArray<string>
  readonly processes: number
}

const pass = async (copy: string, options: Pass): Promise<ReadonlyArray<Mutant.Mutant>> => {
  const { coverage, except, mutate, processes, source, tests } = options
  const config = {
    testRunner: "vitest",
    plugins: [runner],
    vitest: { configFile: "packages/mutation/src/vitest.config.ts", related: false },
    mutate,
    // Words for people are compared by few tests, on purpose.
    mutator: { excludedMutations: ["StringLiteral"] },
    inPlace: true,
    concurrency: processes,
    coverageAnalysis: coverage,
    timeoutMS: 8_000,
    reporters: ["json", "progress-append-only"],
    jsonReporter: { fileName: "mutation.json" },
    allowConsoleColors: false
  }
  writeFileSync(join(copy, "stryker.json"), JSON.stringify(config))
  // A group of its own, so that the runners that it starts end with it.
  const child = spawn(process.execPath, [stryker, "run", "stryker.json"], {
    cwd: copy,
    detached: true,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, LASTCALL_MUTATION: JSON.stringify({ source, tests, except }) }
  })
  const end = () => process.kill(-child.pid!, "SIGKILL")
  // Before the copy is removed.
  process.prependOnceListener("exit", end)
  const [code] = await once(child, "exit") as [number | null]
  process.off("exit", end)
  if (code !== 0) throw new Error(`Stryker ended with ${code}: the tests may fail without any mutant`)
  return Mutant.fromReport(JSON.parse(readFileSync(join(copy, "mutation.json"), "utf8")) as Mutant.Report)
}
