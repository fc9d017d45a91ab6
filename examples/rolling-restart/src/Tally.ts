/** What became of the RPCs of a load, by method. */

export const methods = ["Get", "List", "Put", "Talk", "Watch"] as const

export type Method = (typeof methods)[number]

export interface Counts {
  sent: number
  succeeded: number
  /** The lost ones by status; `INCOMPLETE` ended with OK, but not with all that was asked for. */
  readonly lost: Record<string, number>
}

export type Tally = Readonly<Record<Method, Counts>>

export const make = (): Tally => {
  const counts = (): Counts => ({ sent: 0, succeeded: 0, lost: {} })
  return { Get: counts(), List: counts(), Put: counts(), Talk: counts(), Watch: counts() }
}

/** Counts the end of an RPC: anything but `OK` is a loss. */
export const settle = (counts: Counts, status: string): void => {
  if (status === "OK") counts.succeeded++
  else counts.lost[status] = (counts.lost[status] ?? 0) + 1
}

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, n) => total + n, 0)

export const sent = (self: Tally): number => sum(methods.map((method) => self[method].sent))

export const lostOf = ({ lost }: Counts): number => sum(Object.values(lost))

export const lost = (self: Tally): number => sum(methods.map((method) => lostOf(self[method])))

/** RPCs that have not ended. */
export const outstanding = (self: Tally): number =>
  sum(methods.map((method) => self[method].sent - self[method].succeeded - lostOf(self[method])))
