/**
 * `pnpm bench`: measures Lastcall side by side with others, and writes `docs/benchmarks.md` and `docs/benchmarks.json`.
 *
 * - `--quick`: few rounds of the main rows, in some five minutes; writes nothing.
 * - `--only unary,bidi/grpc-js`: the rows or scenarios whose ids begin so; writes nothing.
 * - `--candidate /path`: another checkout of Lastcall beside this one; writes nothing.
 * - `--profile`: only the CPU profiles of Lastcall's servers and clients; writes nothing.
 */
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Certificates from "../../grpc/test/Certificates.ts"
import { bindLoad } from "./Child.ts"
import * as Document from "./Document.ts"
import * as Machine from "./Machine.ts"
import * as Noise from "./Noise.ts"
import * as Outcome from "./Outcome.ts"
import { full, quick, type Run } from "./Run.ts"
import type { Measurement } from "./Scenario.ts"
import { controlId, profiled, scenarios } from "./Scenarios.ts"
import * as Snapshot from "./Snapshot.ts"

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    candidate: { type: "string" },
    profile: { type: "boolean", default: false }
  }
})

const only = options.only.split(",").filter((id) => id !== "")
const isWhole = !options.quick && only.length === 0 && options.candidate === undefined && !options.profile
const wanted = options.profile ? [] : scenarios.flatMap((scenario) => {
  if (only.length === 0) return !options.quick || scenario.isMain ? [{ scenario, rows: scenario.rows }] : []
  const rows = scenario.rows.filter(({ id }) => only.some((prefix) => id === prefix || id.startsWith(`${prefix}/`)))
  return rows.length === 0 ? [] : [{ scenario, rows }]
})

const started = performance.now()
const snapshot = Snapshot.make()
const candidate = options.candidate === undefined ? undefined : Snapshot.make(options.candidate)
const remove = (): void => {
  snapshot.remove()
  candidate?.remove()
}
process.once("exit", remove)
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const { cert, key } = Certificates.authority("bench").issue("localhost")
writeFileSync(join(snapshot.folder, "cert.pem"), cert)
writeFileSync(join(snapshot.folder, "key.pem"), key)

const run: Run = {
  ...(options.quick ? quick : full),
  snapshot,
  candidate,
  noise: Noise.make(),
  log: (line) => console.log(line)
}

bindLoad()

const outcomes: Array<Outcome.ScenarioOutcome> = []
for (const { rows, scenario } of wanted) {
  const measurements: Array<Measurement> = []
  for (const flags of options.quick ? scenario.flags.slice(-1) : scenario.flags) {
    const begin = performance.now()
    measurements.push(...await scenario.measure(run, flags, rows))
    run.log(`${scenario.title} (V8: ${flags.name}), ${Math.round((performance.now() - begin) / 1_000)} s`)
  }
  const outcome = Outcome.ofScenario(scenario, measurements)
  outcomes.push(outcome)
  for (const row of outcome.rows) {
    for (const { base, flags, quietest, remark, subject, summary, throughput } of row.results) {
      const { high, low, max, median, min, p10 } = summary
      run.log([
        `  ${row.what === undefined ? "" : `${row.what}, `}${row.subject} vs ${row.base}`.padEnd(52),
        flags.padEnd(15),
        Document.digits(median).padStart(6),
        `p10 ${Document.digits(p10)}`,
        `${Document.digits(min)}..${Document.digits(max)}`,
        `ci ${Document.digits(low)}..${Document.digits(high)}`,
        throughput === undefined ? "" : `per s ${Document.digits(throughput.median)}`,
        quietest === undefined ? "" : `quietest ${Document.digits(quietest)}`,
        `${Document.digits(subject)} / ${Document.digits(base)} ${scenario.unit}`,
        Document.verdict(row),
        remark ?? ""
      ].join("  "))
    }
  }
}

const profiles: Array<Outcome.Profile> = []
if (isWhole || options.profile) {
  for (const { id, profile, title, unit } of profiled) {
    if (only.length > 0 && !only.includes(id)) continue
    const result = Outcome.ofProfile({ title, unit }, await profile(run, candidate !== undefined))
    profiles.push(result)
    run.log(`${title}, ${result.unit}, Lastcall / grpc-js`)
    for (const { base, owner, subject } of result.owners) {
      run.log(`  ${Document.digits(subject).padStart(7)} / ${Document.digits(base).padStart(7)}  ${owner}`)
    }
    for (const { file, name, share } of result.functions) {
      run.log(`  ${Outcome.percent(share).padStart(7)}  ${name}  ${file}`)
    }
  }
}

const others = run.noise.others()
const doubts = Outcome.doubts(others, outcomes, controlId)
const seconds = (performance.now() - started) / 1_000
run.log(`${Math.round(seconds)} s; others had ${others === undefined ? "?" : Outcome.percent(others)} of the machine`)
for (const doubt of doubts) run.log(`too noisy to conclude: ${doubt}`)

if (isWhole) {
  const outcome: Outcome.Outcome = {
    date: new Date().toISOString().slice(0, 10),
    command: "pnpm bench",
    seconds: Math.round(seconds),
    pairs: run.generations * run.rounds,
    generations: run.generations,
    windowMillis: run.windowMillis,
    warmupMillis: run.warmupMillis,
    runInMillis: run.runInMillis,
    machine: Machine.read(),
    versions: Machine.versions(),
    ...(others === undefined ? {} : { others }),
    doubts,
    scenarios: outcomes,
    profiles
  }
  const json = join(Snapshot.workspace, "docs/benchmarks.json")
  const markdown = join(Snapshot.workspace, "docs/benchmarks.md")
  writeFileSync(json, `${JSON.stringify(outcome, undefined, 2)}\n`)
  writeFileSync(markdown, Document.render(outcome))
  spawnSync("dprint", ["fmt", json, markdown], { cwd: Snapshot.workspace, stdio: "ignore" })
}
process.exit()
