/** Turns of the event loop: I/O that is ready is handled, time does not pass. */
import * as Effect from "effect/Effect"

export const turn: Effect.Effect<void> = Effect.callback((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

export const turns = (n: number): Effect.Effect<void> => n <= 0 ? Effect.void : Effect.andThen(turn, turns(n - 1))
