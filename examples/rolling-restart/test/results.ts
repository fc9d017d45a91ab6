/** A result as a run might have it. */
import type { Stop } from "../src/Replica.ts"
import type { Result } from "../src/Rollout.ts"
import * as Tally from "../src/Tally.ts"

const counts = (admitted: number) => ({
  admitted,
  succeeded: admitted,
  failed: 0,
  interrupted: 0,
  destroyed: 0,
  abandoned: 0,
  refused: 0
})

/** The stop of a process that has admitted so many RPCs of each method. */
export const stop = (instance: string, millis: number, admitted: number): Stop => ({
  instance,
  millis,
  exit: "0",
  report: {
    outcome: "graceful",
    startedAt: 0,
    durations: { drainDelay: 0, closing: millis, total: millis },
    resources: [
      {
        name: "feed",
        outcome: "graceful",
        startedAt: 0,
        durations: { announced: 0, draining: millis, interrupting: 0, total: millis },
        counts: counts(5 * admitted),
        kinds: Object.fromEntries(
          Tally.methods.map((method) => [`lastcall.rolling.v1.FeedService/${method}`, counts(admitted)])
        ),
        notified: 0,
        blockers: [],
        abandoned: [],
        failures: []
      }
    ]
  }
})

export const tallyOf = (each: Omit<Tally.Counts, "lost">, lost: Partial<Tally.Tally> = {}): Tally.Tally => {
  const counts = (): Tally.Counts => ({ ...each, lost: {} })
  return { Get: counts(), List: counts(), Put: counts(), Talk: counts(), Watch: counts(), ...lost }
}

export const lastcall: Result = {
  way: "Lastcall",
  tally: tallyOf({ sent: 1_000, succeeded: 1_000 }),
  mostOutstanding: 50,
  stops: [stop("A1", 1_000, 400), stop("B1", 1_200, 300)],
  allStops: [stop("A1", 1_000, 400), stop("B1", 1_200, 300), stop("A2", 10, 300)]
}

export const recipe: Result = {
  ...lastcall,
  way: "recipe",
  tally: tallyOf({ sent: 1_000, succeeded: 1_000 }, {
    Watch: { sent: 9, succeeded: 3, lost: { CANCELLED: 4, UNAVAILABLE: 2 } }
  })
}
