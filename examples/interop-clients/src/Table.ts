/** The trials as a table, and below it why some were not passed. */
import { type Transport, transports } from "./Endpoint.ts"
import type { Trial } from "./Interop.ts"
import { caseNames } from "./InteropCases.ts"

export const render = (trials: ReadonlyArray<Trial>): string => {
  const peers = [...new Set(trials.map(({ peer }) => peer))]
  const columns = peers.flatMap((peer) => transports.map((transport) => ({ peer, transport })))
  const rows = [
    ["case", ...columns.map(({ peer, transport }) => transport === transports[0] ? peer : "")],
    ["", ...columns.map(({ transport }): string => transport)],
    ...caseNames.map((name) => [
      name,
      ...columns.map(({ peer, transport }) => outcome(trials.find(of(peer, transport, name))))
    ])
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
  return [...table, ...reasons(trials)].join("\n")
}

const of = (peer: string, transport: Transport, name: string) => (trial: Trial): boolean =>
  trial.peer === peer && trial.transport === transport && trial.name === name

const outcome = (trial: Trial | undefined): string =>
  trial === undefined ? "-" : trial.outcome === "failed" ? "FAILED" : trial.outcome

/** What was skipped as a whole is said once. */
const reasons = (trials: ReadonlyArray<Trial>): ReadonlyArray<string> => {
  const lines = trials.flatMap(({ name, outcome, peer, transport, why }) => {
    if (why === undefined) return []
    return [outcome === "failed" ? `${peer}, ${transport}, ${name}: FAILED: ${why}` : `${peer}, skipped: ${why}`]
  })
  return lines.length === 0 ? [] : ["", ...new Set(lines)]
}
