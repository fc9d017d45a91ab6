/** Results as a run of the demo might have them. */
import type { Result, Stop, Way } from "../src/Way.ts"

const way = (name: string, stop: Way["stop"], restarts: number): Way => ({
  name,
  what: "",
  stop,
  load: "everyday",
  restarts
})

const counts = { admitted: 12, succeeded: 12, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }

const stopped = (millis: number, forced: boolean): Stop => ({
  instance: "A1",
  millis,
  exit: "0",
  released: [{ what: "public", forced }, { what: "admin", forced: false }, { what: "database", forced: false }],
  openAtRelease: forced ? 2 : 0,
  usesAfterRelease: forced ? 1 : 0,
  report: undefined
})

/** A stop with Lastcall that has its report. */
const told = (instance: string, millis: number): Stop => ({
  ...stopped(millis, false),
  instance,
  report: {
    outcome: "graceful",
    startedAt: 0,
    durations: { drainDelay: 0, closing: millis, total: millis },
    resources: [
      {
        name: "public",
        outcome: "graceful",
        startedAt: 0,
        durations: { announced: 0, draining: millis, interrupting: 0, total: millis },
        counts,
        kinds: { "lastcall.demo.v1.IdentityService/Issue": counts },
        notified: 12,
        blockers: [],
        abandoned: [],
        failures: []
      }
    ]
  }
})

export const recipe: Result = {
  way: way("recipe", "recipe", 3),
  graceMillis: 1_700,
  tally: { sent: 1_500, succeeded: 1_496, lost: { Watch: { CANCELLED: 3 }, Issue: { UNAVAILABLE: 1 } } },
  watchesEnded: 0,
  stops: [stopped(1_710, true), stopped(20, false), stopped(1_750, true)]
}

export const lastcall: Result = {
  way: way("Lastcall", "Lastcall", 2),
  graceMillis: 1_700,
  tally: { sent: 900, succeeded: 900, lost: {} },
  watchesEnded: 2,
  stops: [told("A1", 1_000), told("B1", 1_100)]
}
