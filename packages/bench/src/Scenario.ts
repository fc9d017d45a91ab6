/** A scenario of the benchmark: what is measured, on which servers or clients, and which pairs of them make rows of the table. */
import type { ClientSpec } from "./ClientSpec.ts"
import type { Workload } from "./load/Load.ts"
import { clients } from "./measure/clients.ts"
import { coldStart } from "./measure/coldStart.ts"
import { heap } from "./measure/heap.ts"
import { latency } from "./measure/latency.ts"
import type { Measured } from "./measure/rounds.ts"
import { stopIdle, stopInFlight } from "./measure/stop.ts"
import { type Throughput, throughput } from "./measure/throughput.ts"
import { type Goal, median, ofPairs, quantile } from "./Ratio.ts"
import { type ClientContender, type Contender, defaultFlags, type Flags, noPretenuring, type Run } from "./Run.ts"

/** One row of the table. */
export interface Row {
  readonly id: string
  /** Where a scenario measures more than one thing. */
  readonly what?: string
  readonly subject: string
  readonly base: string
  readonly goal?: Goal
}

/** What was measured for a row with one setting of V8. */
export interface Measurement {
  readonly row: Row
  readonly flags: string
  /** One for each pair, as the scenario compares: ratios, or plain values. */
  readonly values: ReadonlyArray<number>
  /** The ratio of each pair in calls per second, subject to base. */
  readonly throughput?: ReadonlyArray<number>
  /** The ratio of the tenth percentiles of both sides: what is left when others leave the machine alone. */
  readonly quietest?: number
  /** Medians, in the scenario's unit. */
  readonly subject: number
  readonly base: number
  readonly remark?: string
}

export interface Scenario {
  readonly id: string
  readonly title: string
  /** What the values of the sides are. */
  readonly unit: string
  /** What the values of the pairs are. */
  readonly compared: string
  /** Whether `--quick` runs it. */
  readonly isMain: boolean
  readonly flags: ReadonlyArray<Flags>
  readonly rows: ReadonlyArray<Row>
  readonly measure: (run: Run, flags: Flags, rows: ReadonlyArray<Row>) => Promise<ReadonlyArray<Measurement>>
}

type ContendersOf<C> = { readonly [name: string]: C }
type Contenders = ContendersOf<Contender>

const both = [defaultFlags, noPretenuring]

const faster = "base / subject, more is better"
const slower = "subject / base, less is better"

const least = (values: ReadonlyArray<number>): number => quantile(values.toSorted((a, b) => a - b), 0.1)

const needed = <C>(contenders: ContendersOf<C>, rows: ReadonlyArray<Row>): ContendersOf<C> =>
  Object.fromEntries(
    Object.entries(contenders).filter(([name]) => rows.some(({ base, subject }) => name === subject || name === base))
  )

/** CPU per call, or per message, under full load. */
const perUnit = <C extends { readonly library: string; readonly isCandidate?: boolean }>(
  { each, ...described }: Pick<Scenario, "id" | "title" | "isMain" | "rows"> & { readonly each: "call" | "message" },
  contenders: ContendersOf<C>,
  measure: (run: Run, flags: Flags, contenders: ContendersOf<C>) => Promise<Measured<string, Throughput>>
): Scenario => ({
  ...described,
  unit: `µs CPU / ${each}`,
  compared: faster,
  flags: both,
  async measure(run, flags, rows) {
    const sides: Record<string, C> = { ...needed(contenders, rows) }
    const all = [...rows]
    if (run.candidate !== undefined) {
      for (const { base, id, subject } of rows) {
        if (sides[subject]?.library !== "lastcall") continue
        const candidate = `candidate: ${subject}`
        sides[candidate] = { ...sides[subject], isCandidate: true }
        all.push(
          { id: `${id}/candidate`, subject: candidate, base: subject },
          { id: `${id}/candidate-base`, subject: candidate, base }
        )
      }
    }
    const measured = await measure(run, flags, sides)
    return all.map((row): Measurement => {
      const subject = measured[row.subject]!
      const base = measured[row.base]!
      const micros = (side: typeof subject) => side.map(({ cpuMicros }) => cpuMicros)
      const rates = (side: typeof subject) => side.map(({ perSecond }) => perSecond)
      return {
        row,
        flags: flags.name,
        values: ofPairs(micros(base), micros(subject)),
        throughput: ofPairs(rates(subject), rates(base)),
        quietest: least(micros(base)) / least(micros(subject)),
        subject: median(micros(subject)),
        base: median(micros(base))
      }
    })
  }
})

/** CPU of the server's process. */
export const cpu = (
  id: string,
  title: string,
  each: "call" | "message",
  isMain: boolean,
  workload: (run: Run) => Workload,
  contenders: Contenders,
  rows: ReadonlyArray<Row>
): Scenario =>
  perUnit(
    { id, title, each, isMain, rows },
    contenders,
    (run, flags, sides) => throughput(run, flags, sides, workload(run))
  )

/** CPU of the client's process. */
export const clientCpu = (
  id: string,
  title: string,
  isMain: boolean,
  method: ClientSpec["method"],
  contenders: ContendersOf<ClientContender>,
  rows: ReadonlyArray<Row>
): Scenario =>
  perUnit(
    { id, title, each: method === "Unary" ? "call" : "message", isMain, rows },
    contenders,
    (run, flags, sides) => clients(run, flags, sides, method)
  )

/** The latency of a unary call at half of what bare grpc-js can bear. The base of each row comes first. */
export const halfLoad = (
  contenders: Contenders,
  base: string,
  rows: { readonly p50: Row; readonly p99: Row; readonly control: Row }
): Scenario => ({
  id: "latency",
  title: "Latency of a unary call at half load",
  unit: "ms",
  compared: slower,
  isMain: false,
  flags: both,
  rows: Object.values(rows),
  async measure(run, flags, wanted) {
    const measured = await latency(run, flags, needed(contenders, wanted), base)
    const rate = Math.round(median(measured[wanted[0]!.base]!.map(({ perSecond }) => perSecond)))
    return wanted.map((row): Measurement => {
      const values = (name: string) => measured[name]!.map(({ p50, p99 }) => row === rows.p50 ? p50 : p99)
      return {
        row,
        flags: flags.name,
        values: ofPairs(values(row.subject), values(row.base)),
        subject: median(values(row.subject)),
        base: median(values(row.base)),
        remark: `${rate} calls/s`
      }
    })
  }
})

/** Pairs of processes: of each pair the base first, then the subject. */
const pairs = async <A>(
  run: Run,
  contenders: Contenders,
  rows: ReadonlyArray<Row>,
  measure: (contender: Contender) => Promise<A>
): Promise<{ readonly [name: string]: ReadonlyArray<A> }> => {
  const measured: Record<string, Array<A>> = {}
  for (let pair = 0; pair < run.pairs; pair++) {
    for (const [name, contender] of Object.entries(needed(contenders, rows))) {
      ;(measured[name] ??= []).push(await measure(contender))
    }
  }
  return measured
}

export const stopWithIdle = (contenders: Contenders, rows: ReadonlyArray<Row>): Scenario => ({
  id: "stop-idle",
  title: "Graceful stop with 5,000 idle connections",
  unit: "ms",
  compared: slower,
  isMain: false,
  flags: [defaultFlags],
  rows,
  async measure(run, flags, rows) {
    const measured = await pairs(run, contenders, rows, (contender) => stopIdle(run, flags, contender))
    return rows.map((row) => ({
      row,
      flags: flags.name,
      values: ofPairs(measured[row.subject]!, measured[row.base]!),
      subject: median(measured[row.subject]!),
      base: median(measured[row.base]!)
    }))
  }
})

export const stopWithCalls = (contenders: Contenders, rows: ReadonlyArray<Row>): Scenario => ({
  id: "stop-in-flight",
  title: "Interrupting 1,000 RPCs in flight",
  unit: "ms",
  compared: "ms of the subject, less is better",
  isMain: false,
  flags: [defaultFlags],
  rows,
  async measure(run, flags, rows) {
    const measured = await pairs(run, contenders, rows, (contender) => stopInFlight(run, flags, contender))
    return rows.map((row) => {
      const millis = (name: string) => measured[name]!.map(({ millis }) => millis)
      const answered = (name: string) => Math.min(...measured[name]!.map(({ unavailable }) => unavailable))
      return {
        row,
        flags: flags.name,
        values: millis(row.subject),
        subject: median(millis(row.subject)),
        base: median(millis(row.base)),
        remark: `answered UNAVAILABLE: ${answered(row.subject)} of ${run.openCalls}; base: ${answered(row.base)}`
      }
    })
  }
})

export const heapOver = (
  contenders: Contenders,
  rows: { readonly call: Row; readonly connection: Row }
): Scenario => ({
  id: "heap",
  title: "Heap of what is open, over the base",
  unit: "bytes",
  compared: "bytes over the base, less is better",
  isMain: false,
  flags: [defaultFlags],
  rows: Object.values(rows),
  async measure(run, flags, wanted) {
    const measured = await pairs({ ...run, pairs: Math.min(run.pairs, 5) }, contenders, wanted, (
      contender
    ) => heap(run, contender))
    return wanted.map((row) => {
      const bytes = (name: string) =>
        measured[name]!.map(({ bytesPerCall, bytesPerConnection }) =>
          row === rows.call ? bytesPerCall : bytesPerConnection
        )
      const subject = bytes(row.subject)
      const base = bytes(row.base)
      return {
        row,
        flags: flags.name,
        values: subject.map((value, i) => value - base[i]!),
        subject: median(subject),
        base: median(base)
      }
    })
  }
})

export const startCold = (contenders: Contenders, rows: ReadonlyArray<Row>): Scenario => ({
  id: "cold-start",
  title: "Cold start: from the start of the process to listening",
  unit: "ms",
  compared: slower,
  isMain: false,
  flags: [defaultFlags],
  rows,
  async measure(run, flags, rows) {
    const measured = await pairs(run, contenders, rows, (contender) => coldStart(run, flags, contender))
    return rows.map((row) => {
      const millis = (name: string) => measured[name]!.map(({ millis }) => millis)
      const cpu = (name: string) => Math.round(median(measured[name]!.map(({ cpuMillis }) => cpuMillis)))
      return {
        row,
        flags: flags.name,
        values: ofPairs(millis(row.subject), millis(row.base)),
        subject: median(millis(row.subject)),
        base: median(millis(row.base)),
        remark: `CPU ${cpu(row.subject)} ms; base ${cpu(row.base)} ms`
      }
    })
  }
})
