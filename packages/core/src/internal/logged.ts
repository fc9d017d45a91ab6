/** Log lines that nothing depends on. */
import * as Effect from "effect/Effect"

/** A logger that throws would end the fiber that logs, and what comes next: here the stop, or what asks for it. */
export const logged = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.asVoid(Effect.exit(log))
