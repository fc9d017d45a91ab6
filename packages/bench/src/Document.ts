/** `docs/benchmarks.md`, of what a run has found. */
import { causes } from "./Cause.ts"
import { type Outcome, percent, type Profile, type Result, type RowOutcome, type ScenarioOutcome } from "./Outcome.ts"
import type { Goal, Summary } from "./Ratio.ts"

/** A number with three digits that count. */
export const digits = (value: number): string => {
  const size = Math.abs(value)
  return size >= 100 ? String(Math.round(value)) : value.toFixed(size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3)
}

const spread = ({ max, median, min, p10 }: Summary): string =>
  `**${digits(median)}** (p10 ${digits(p10)}; ${digits(min)}..${digits(max)})`

const goalText = (goal: Goal | undefined): string =>
  goal === undefined ? "" : `${goal._tag === "AtLeast" ? "≥" : "≤"} ${goal.value}`

/**
 * Met where it is met with every setting of V8; otherwise by how much the worst of them misses it. A goal that one setting
 * misses beyond noise is missed beyond noise, whatever the other says.
 */
export const verdict = ({ goal, results }: RowOutcome): string => {
  if (goal === undefined) return ""
  const missed = results.filter(({ verdict }) => verdict?.met === false)
  const isOpen = (results: ReadonlyArray<Result>): boolean => results.some(({ verdict }) => verdict?.open === true)
  if (missed.length === 0) return isOpen(results) ? "met, within noise" : "met"
  const by = Math.max(...missed.map(({ summary }) => Math.abs(summary.median / goal.value - 1)))
  const where = missed.length < results.length ? ` (V8: ${missed[0]!.flags})` : ""
  const isNoise = missed.every(({ verdict }) => verdict?.open === true)
  return `**missed** by ${percent(by)}${where}${isNoise ? ", within noise" : ""}`
}

const name = ({ base, subject, what }: RowOutcome): string =>
  `${what === undefined ? "" : `${what}, `}${subject} vs ${base}`

const cell = (results: ReadonlyArray<Result>, flags: string): string => {
  const result = results.find((result) => result.flags === flags)
  return result === undefined ? "" : spread(result.summary)
}

const sides = (results: ReadonlyArray<Result>): string =>
  results.map(({ base, subject }) => `${digits(subject)} / ${digits(base)}`).join("; ")

const rates = (results: ReadonlyArray<Result>): string =>
  results.flatMap(({ throughput }) => throughput === undefined ? [] : [digits(throughput.median)]).join("; ")

const quietest = (results: ReadonlyArray<Result>): string =>
  results.flatMap(({ quietest }) => quietest === undefined ? [] : [digits(quietest)]).join("; ")

const line = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const table = ({ compared, rows, title, unit }: ScenarioOutcome): string => {
  const flags = [...new Set(rows.flatMap(({ results }) => results.map(({ flags }) => flags)))]
  const hasRates = rows.some(({ results }) => results.some(({ throughput }) => throughput !== undefined))
  const head = [
    "",
    "goal",
    ...flags.map((flags) => `V8: ${flags}`),
    ...(hasRates ? ["quietest tenth", "throughput"] : []),
    `${unit}, subject / base`,
    "verdict"
  ]
  const remarks = rows.flatMap((row) =>
    row.results.flatMap(({ flags, remark }) => remark === undefined ? [] : [`- ${name(row)} (V8: ${flags}): ${remark}`])
  )
  return [
    `### ${title}`,
    "",
    `${compared[0]!.toUpperCase()}${compared.slice(1)}.`,
    "",
    line(head),
    line(head.map(() => "---")),
    ...rows.map((row) =>
      line([
        name(row),
        goalText(row.goal),
        ...flags.map((flags) => cell(row.results, flags)),
        ...(hasRates ? [quietest(row.results), rates(row.results)] : []),
        sides(row.results),
        verdict(row)
      ])
    ),
    "",
    ...(remarks.length === 0 ? [] : [...remarks, ""])
  ].join("\n")
}

const profileTable = ({ functions, owners, title, unit }: Profile): string =>
  [
    `### ${title}`,
    "",
    line([unit, ...owners.map(({ owner }) => owner), "all"]),
    line(["---", ...owners.map(() => "---"), "---"]),
    ...(["subject", "base"] as const).map((side) => {
      const micros = owners.map((sums) => sums[side])
      const all = micros.reduce((sum, value) => sum + value, 0)
      return line([side === "subject" ? "Lastcall" : "grpc-js", ...[...micros, all].map(digits)])
    }),
    "",
    line(["share", "function", "where"]),
    line(["---", "---", "---"]),
    ...functions.slice(0, 15).map(({ file, name, share }) => line([percent(share), `\`${name}\``, file])),
    ""
  ].join("\n")

const summaryOfGoals = (scenarios: ReadonlyArray<ScenarioOutcome>): string => {
  const missed = scenarios.flatMap(({ rows, title }) =>
    rows.flatMap((row) => {
      const text = verdict(row)
      if (text === "" || text.startsWith("met")) return []
      const cause = causes[row.id]
      return [`- ${title}; ${name(row)}: ${text}.${cause === undefined ? "" : ` ${cause}`}`]
    })
  )
  const goals = scenarios.flatMap(({ rows }) => rows).filter(({ goal }) => goal !== undefined).length
  return missed.length === 0
    ? `All ${goals} goals that were measured are met.`
    : [`${goals - missed.length} of ${goals} goals that were measured are met. Not met:`, "", ...missed].join("\n")
}

export const render = (outcome: Outcome): string => {
  const {
    command,
    date,
    doubts,
    generations,
    machine,
    others,
    pairs,
    profiles,
    runInMillis,
    scenarios,
    seconds,
    versions,
    warmupMillis,
    windowMillis
  } = outcome
  return [
    "# Benchmarks",
    "",
    `Written by \`${command}\` on ${date}, in ${
      Math.round(seconds / 60)
    } minutes. The same as data: [benchmarks.json](benchmarks.json).`,
    "",
    ...(doubts.length === 0 ? [] : [
      "> **The machine was too noisy to conclude.** The ratios are of pairs that were measured one after the other, so that",
      "> slow changes cancel, but small differences mean nothing:",
      ...doubts.map((doubt) => `> ${doubt}.`),
      ""
    ]),
    summaryOfGoals(scenarios),
    "",
    "## How it was measured",
    "",
    "- CPU of the server (user and system, all threads of its process) per call or message; calls per second beside it.",
    "- Every server in a process of its own; the load comes from another process, in raw HTTP/2 frames made by hand, and",
    "  checks the size of every answer. Loopback.",
    "- Of clients the same, the other way round: CPU of the client, in a process of its own, 32 calls at a time on one connection;",
    "  all clients call one server on raw `node:http2`, in another process. *traceparent*: all calls belong to one span.",
    `- Rounds are interleaved, A B C B C A, ${pairs} pairs (15 of stops and cold starts, 5 of heaps) of ${generations} processes on each side. The ratio is taken of each`,
    "  pair. Shown are the median, the tenth percentile, and the least and the greatest. \"Within noise\": the goal lies in the",
    "  95 % confidence interval of the median.",
    "  *Quietest tenth*: the ratio of the tenth percentiles of both sides, what is left when others leave the machine alone.",
    "  *Throughput*: the median ratio of calls per second. Both first with V8's defaults.",
    `- A process is loaded for ${warmupMillis / 1_000} s before its first window: what has more code is warm later.`,
    `- A window of a pair is ${windowMillis} ms of full load, or one stream if that takes longer: some three collections of the`,
    `  young heap. Before it, ${runInMillis} ms of the same load are not measured: a process that has been idle is slow at first.`,
    "- The same codec on both sides. *Identity*: messages are their bytes, 16 of them. *protobuf-es*: a message with a string.",
    "- Once with V8's defaults and once with `--no-allocation-site-pretenuring`: servers on `node:http2` flip between two states",
    "  of the heap under the default, which can hide a difference.",
    "- All servers and clients on grpc-js have channelz off, but the one that is named so. NestJS and protobuf-ts have the identity codec too.",
    "- *Lastcall loaded*: bare grpc-js in a process that has loaded Lastcall and Effect, and uses neither. With messages of",
    "  1 MiB it is the collector that takes the time, the more the larger the heap is, whosever it is.",
    "- *Bundled*: server and dependencies in one minified file (rolldown), as a program may be deployed.",
    "- Sources are copied as JavaScript before a run: no types are stripped in what is measured.",
    "",
    "## Results",
    "",
    ...scenarios.map(table),
    ...(profiles.length === 0 ? [] : [
      "## Where the time goes",
      "",
      "For a call or message, by whose code it is: the mean of three processes of each side, one after the other in turn, and so",
      "not free of noise; the profiler has its part of all, the larger one of a client's calls. *native*: what Node, V8 and the system have natively. Then Lastcall's",
      "busy time by function, its own time only, of one process. V8: no pretenuring; sampled every 250 µs.",
      "",
      ...profiles.map(profileTable)
    ]),
    "## Machine",
    "",
    `- ${machine.processor}, ${machine.processors} processors, ${machine.memoryGiB} GiB, ${machine.system}`,
    `- ${machine.cores}`,
    `- others' share of the processors meanwhile: ${others === undefined ? "unknown" : percent(others)}`,
    `- ${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")}`,
    ""
  ].join("\n")
}
