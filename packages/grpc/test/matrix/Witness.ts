/** What a server saw of an RPC that has a name. */
export interface Seen {
  attempts: number
  /** Attempts whose client went away, or whose time was over, before they were answered. */
  cancelled: number
  /** Attempts that have not ended. */
  running: number
  /** In milliseconds since the epoch. */
  deadline: number
  /** The common name of the client's certificate. */
  commonName: string | undefined
  userAgent: string | undefined
  authority: string | undefined
}

export interface Witness {
  readonly seen: (id: string) => Seen
  /** Attempts of all RPCs, named or not, that have not ended. */
  readonly running: () => number
  /** An attempt begins; `end` tells that it is over. */
  readonly begin: (
    id: string | undefined,
    attempt: Pick<Seen, "deadline" | "commonName" | "userAgent" | "authority">
  ) => { readonly number: number; readonly end: (isCancelled: boolean) => void }
}

export const make = (): Witness => {
  const all = new Map<string | undefined, Seen>()
  let running = 0
  const of = (id: string | undefined): Seen => {
    const seen = all.get(id) ?? {
      attempts: 0,
      cancelled: 0,
      running: 0,
      deadline: Number.NaN,
      commonName: undefined,
      userAgent: undefined,
      authority: undefined
    }
    all.set(id, seen)
    return seen
  }
  return {
    seen: of,
    running: () => running,
    begin(id, attempt) {
      const seen = Object.assign(of(id), attempt)
      const number = ++seen.attempts
      seen.running++
      running++
      let isOver = false
      return {
        number,
        end(isCancelled) {
          if (isOver) return
          isOver = true
          seen.running--
          running--
          if (isCancelled) seen.cancelled++
        }
      }
    }
  }
}
