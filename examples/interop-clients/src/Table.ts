/** The trials as a table, and below it why some were not passed. */
import { type Transport, transports } from "./Endpoint.ts"
import type { Trial } from "./Interop.ts"
import { caseNames } from "./InteropCases.ts"

export const render = (trials: ReadonlyArray<Trial>): string => {
  const clients = [...new Set(trials.map(({ client }) => client))]
  const columns = clients.flatMap((client) => transports.map((transport) => ({ client, transport })))
  const rows = [
    ["case", ...columns.map(({ client, transport }) => transport === transports[0] ? client : "")],
    ["", ...columns.map(({ transport }): string => transport)],
    ...caseNames.map((name) => [
      name,
      ...columns.map(({ client, transport }) => outcome(trials.find(of(client, transport, name))))
    ])
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
  return [...table, ...reasons(trials)].join("\n")
}

const of = (client: string, transport: Transport, name: string) => (trial: Trial): boolean =>
  trial.client === client && trial.transport === transport && trial.name === name

const outcome = (trial: Trial | undefined): string =>
  trial === undefined ? "-" : trial.outcome === "failed" ? "FAILED" : trial.outcome

/** What was skipped as a whole is said once. */
const reasons = (trials: ReadonlyArray<Trial>): ReadonlyArray<string> => {
  const lines = trials.flatMap(({ client, name, outcome, transport, why }) => {
    if (why === undefined) return []
    return [outcome === "failed" ? `${client}, ${transport}, ${name}: FAILED: ${why}` : `${client}, skipped: ${why}`]
  })
  return lines.length === 0 ? [] : ["", ...new Set(lines)]
}
