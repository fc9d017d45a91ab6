/**
 * A loop that takes messages from a queue and handles them, under the stop protocol.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as GracefulStop from "./GracefulStop.ts"
import * as InFlight from "./InFlight.ts"
import { logged } from "./internal/logged.ts"
import { Lifecycle } from "./Lifecycle.ts"
import * as StopPolicy from "./StopPolicy.ts"

/**
 * The options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E, R, E2, R2> {
  /** The name in logs and in the report. */
  readonly name: string
  /**
   * Waits for the next message. Interrupted when the drain begins; what it has returned by then is handled. If it is
   * interrupted by anything else, as by a queue that is shut down, that is the end of the messages.
   */
  readonly take: Effect.Effect<A, E, R>
  /**
   * Handles a message, and acknowledges it. If it fails or dies, that is logged and counted, and the loop goes on. In a force
   * it is interrupted: a message that was not acknowledged comes again, where the queue does that.
   */
  readonly handle: (message: A) => Effect.Effect<unknown, E2, R2>
  /** How many messages are handled at the same time. Default: 1. A defect if it is no whole number above 0. */
  readonly concurrency?: number | undefined
  /** How long the steps of its stop may take. */
  readonly stop?: StopPolicy.Options | undefined
}

/**
 * Runs the loop until the scope closes; then stops taking, and waits for what is being handled.
 *
 * **Details**
 *
 * No message is lost between taking and handling: what was taken is handled, also if the drain begins in that moment. If
 * `take` fails or dies, the loop ends, and that is logged. While the process serves, the `Lifecycle` in the context is asked
 * to stop with that cause; so it is if the messages end then.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E, R, E2, R2>(
  options: Options<A, E, R, E2, R2>
): Effect.Effect<GracefulStop.GracefulStop, never, R | R2 | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    // Before anything runs: with a policy that makes no sense nothing would stop the loops.
    StopPolicy.make(options.stop)
    const concurrency = options.concurrency ?? 1
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new StopPolicy.StopPolicyError({
        option: "concurrency",
        value: concurrency,
        reason: "must be a whole number above 0"
      })
    }
    const inFlight = yield* InFlight.make
    const lifecycle = yield* Lifecycle
    const { name } = options

    /** Uninterruptible from the moment a message is there: the drain, which interrupts the loop, waits for it. */
    const next = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(options.take), (message) =>
        Effect.catchCause(
          InFlight.run(inFlight, "message", options.handle(message)),
          (cause) =>
            Cause.hasInterruptsOnly(cause)
              ? Effect.void
              : logged(Effect.logError(`${name}: a message was not handled`, cause))
        ))
    )

    let isDraining = false
    /** Whoever ends the messages while the process stops may do so. */
    const isExpected = (): boolean => isDraining || (lifecycle.phase() !== "Starting" && lifecycle.phase() !== "Ready")

    const ended = (reason: Cause.Cause<E>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const isInterrupted = Cause.hasInterruptsOnly(reason)
        if (isInterrupted && isExpected()) return Effect.void
        const cause = isInterrupted ? Cause.die(new Error(`the messages of ${name} have ended`)) : reason
        const tell = logged(Effect.logError(`${name}: the loop ended`, cause))
        // A lifecycle that stops already would log it again.
        return isExpected() ? tell : Effect.andThen(tell, lifecycle.failCause(Cause.die(Cause.squash(cause))))
      })

    const loops = yield* Effect.forEach(
      Array.from({ length: concurrency }),
      () => Effect.forkDetach(Effect.onError(Effect.forever(next), ended))
    )

    const drain = Effect.suspend(() => {
      isDraining = true
      return Fiber.interruptAll(loops)
    })
    return yield* GracefulStop.make({ name, inFlight, drain }, options.stop)
  }))
