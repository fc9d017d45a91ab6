/** What a run has found, as data: `docs/benchmarks.json`. */
import type { Machine } from "./Machine.ts"
import type { Sample } from "./measure/profile.ts"
import { maxOthers } from "./Noise.ts"
import type { ProfiledFunction } from "./Profile.ts"
import { type Goal, judge, summarize, type Summary, type Verdict } from "./Ratio.ts"
import type { Measurement, Scenario } from "./Scenario.ts"

/** A row with one setting of V8. */
export interface Result {
  readonly flags: string
  readonly summary: Summary
  /** The ratio of calls per second, subject to base. */
  readonly throughput?: Summary
  /** The ratio of the tenth percentiles of both sides. */
  readonly quietest?: number
  readonly subject: number
  readonly base: number
  readonly remark?: string
  readonly verdict?: Verdict
}

export interface RowOutcome {
  readonly id: string
  readonly what?: string
  readonly subject: string
  readonly base: string
  readonly goal?: Goal
  readonly results: ReadonlyArray<Result>
}

export interface ScenarioOutcome {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly compared: string
  readonly rows: ReadonlyArray<RowOutcome>
}

/** Of Lastcall by function, and of both sides by whose code it is, the mean of all processes. */
export interface Profile {
  readonly title: string
  readonly unit: string
  readonly functions: ReadonlyArray<ProfiledFunction>
  /** Microseconds of CPU for a call or message. */
  readonly owners: ReadonlyArray<{ readonly owner: string; readonly subject: number; readonly base: number }>
}

const shownFunctions = 30

export const ofProfile = (
  { title, unit }: { readonly title: string; readonly unit: string },
  samples: { readonly subject: ReadonlyArray<Sample>; readonly base: ReadonlyArray<Sample> }
): Profile => {
  const owners = new Map<string, { subject: number; base: number }>()
  for (const side of ["subject", "base"] as const) {
    for (const { functions, micros } of samples[side]) {
      for (const { owner, share } of functions) {
        const sum = owners.get(owner) ?? { subject: 0, base: 0 }
        owners.set(owner, sum)
        sum[side] += share * micros / samples[side].length
      }
    }
  }
  return {
    title,
    unit: `µs CPU / ${unit}`,
    functions: samples.subject[0]!.functions.slice(0, shownFunctions),
    owners: Array.from(owners, ([owner, sums]) => ({ owner, ...sums })).toSorted((a, b) => b.subject - a.subject)
  }
}

export interface Outcome {
  readonly date: string
  readonly command: string
  readonly seconds: number
  readonly pairs: number
  readonly windowMillis: number
  readonly warmupMillis: number
  readonly runInMillis: number
  /** Processes on each side. */
  readonly generations: number
  readonly machine: Machine
  readonly versions: { readonly [name: string]: string }
  /** The share of the machine that other processes had while it was measured. */
  readonly others?: number
  /** Why the run does not conclude, if it does not. */
  readonly doubts: ReadonlyArray<string>
  readonly scenarios: ReadonlyArray<ScenarioOutcome>
  readonly profiles: ReadonlyArray<Profile>
}

export const ofScenario = (
  { compared, id, title, unit }: Scenario,
  measurements: ReadonlyArray<Measurement>
): ScenarioOutcome => {
  const rows = new Map<string, RowOutcome & { results: Array<Result> }>()
  for (const { base, flags, quietest, remark, row, subject, throughput, values } of measurements) {
    const outcome = rows.get(row.id) ?? { ...row, results: [] }
    rows.set(row.id, outcome)
    const summary = summarize(values)
    outcome.results.push({
      flags,
      summary,
      subject,
      base,
      ...(throughput === undefined ? {} : { throughput: summarize(throughput) }),
      ...(quietest === undefined ? {} : { quietest }),
      ...(remark === undefined ? {} : { remark }),
      ...(row.goal === undefined ? {} : { verdict: judge(row.goal, summary) })
    })
  }
  return { id, title, unit, compared, rows: Array.from(rows.values()) }
}

/** How far the medians of a server against itself may be from 1. */
const maxControl = 0.03

/** Why a run does not conclude: others had too much of the machine, or one server seemed to differ from itself. */
export const doubts = (
  others: number | undefined,
  scenarios: ReadonlyArray<ScenarioOutcome>,
  controlId: string
): ReadonlyArray<string> => {
  const doubts: Array<string> = []
  if (others !== undefined && others > maxOthers) {
    doubts.push(
      `other processes had ${percent(others)} of the machine's processors (at most ${percent(maxOthers)} is quiet)`
    )
  }
  for (const { rows } of scenarios) {
    for (const { id, results } of rows) {
      if (id !== controlId) continue
      for (const { flags, summary } of results) {
        if (Math.abs(summary.median - 1) <= maxControl) continue
        doubts.push(`the same server twice differs by ${percent(Math.abs(summary.median - 1))} (V8: ${flags})`)
      }
    }
  }
  return doubts
}

export const percent = (share: number): string => `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`
