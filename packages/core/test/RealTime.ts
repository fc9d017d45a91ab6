/** What happens outside of virtual time, on sockets for instance. */
import * as Effect from "effect/Effect"

/** Waits in real time, a turn of the event loop at a time. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() =>
    condition()
      ? Effect.void
      : Effect.andThen(
        Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), 1)),
        until(condition)
      )
  )
