/** Turns of the event loop, for tests of what comes before what. */
import * as Effect from "effect/Effect"

/** So many turns; 0 is none. */
export const turns = (n: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const next = (left: number): void => void (left === 0 ? resume(Effect.void) : setImmediate(next, left - 1))
    next(n)
  })

/** One turn, with what had been put off to it before. */
export const turn: Effect.Effect<void> = turns(1)
