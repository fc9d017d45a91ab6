/** What became of the RPCs of a load. */
import * as Schema from "effect/Schema"

export const Tally = Schema.Struct({
  sent: Schema.Int,
  succeeded: Schema.Int,
  /** The lost ones: method, then status, then how many. */
  lost: Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Int))
})
export type Tally = typeof Tally.Type

export const empty: Tally = { sent: 0, succeeded: 0, lost: {} }

export const sent = (self: Tally): Tally => ({ ...self, sent: self.sent + 1 })

/** Counts the end of an RPC: anything but `OK` is a loss. */
export const settled = (self: Tally, method: string, status: string): Tally => {
  if (status === "OK") return { ...self, succeeded: self.succeeded + 1 }
  const lost = self.lost[method] ?? {}
  return { ...self, lost: { ...self.lost, [method]: { ...lost, [status]: (lost[status] ?? 0) + 1 } } }
}

const total = (counts: { readonly [key: string]: number }): number =>
  Object.values(counts).reduce((sum, n) => sum + n, 0)

export const lost = (self: Tally): number => total(lostByMethod(self))

export const outstanding = (self: Tally): number => self.sent - self.succeeded - lost(self)

export const lostByMethod = (self: Tally): { readonly [method: string]: number } =>
  Object.fromEntries(Object.entries(self.lost).map(([method, statuses]) => [method, total(statuses)]))

export const lostByStatus = (self: Tally): { readonly [status: string]: number } => {
  const result: Record<string, number> = {}
  for (const statuses of Object.values(self.lost)) {
    for (const [status, n] of Object.entries(statuses)) result[status] = (result[status] ?? 0) + n
  }
  return result
}
