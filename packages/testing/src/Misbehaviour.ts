/**
 * Handlers that misbehave: Effects that a test puts in the place of well-behaved work.
 *
 * A duration that makes no sense is thrown where such an Effect is made, as a `TestOptionError`: a server would take a defect
 * for the handler's.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as CheckedOption from "./internal/checkedOption.ts"
import type { TrackedResource } from "./TrackedResource.ts"

/**
 * Never ends, but when interrupted it does at once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const neverEnding: Effect.Effect<never> = Effect.never

/**
 * Never ends, and ignores interruption: the one kind of work that a stop must leave behind.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deaf: Effect.Effect<never> = Effect.uninterruptible(Effect.never)

/**
 * Ignores interruption until this has ended; for tests that must let go of it in the end.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deafUntil = <A, E, R>(end: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => Effect.uninterruptible(end)

/**
 * Is interrupted, and takes so long to clean up: 0 or longer, and `"Infinity"` never ends. Throws `TestOptionError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slowToEnd = (duration: Duration.Input): Effect.Effect<never> => {
  const cleanUp = Effect.sleep(CheckedOption.duration("Misbehaviour.slowToEnd", "duration", duration, "any"))
  return Effect.onInterrupt(Effect.never, () => cleanUp)
}

/**
 * Uses a resource at each interval (finite, longer than 0; default: 10 ms), ignoring interruption, until it has used it
 * after its release. Where a release is never too early this does not end. Throws `TestOptionError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const usingAfterRelease = (
  resource: TrackedResource,
  every: Duration.Input = "10 millis"
): Effect.Effect<void> => {
  const pause = Effect.sleep(CheckedOption.duration("Misbehaviour.usingAfterRelease", "every", every, "positive"))
  return Effect.uninterruptible(
    pause.pipe(
      Effect.andThen(resource.use),
      Effect.repeat({ until: () => resource.uses().after > 0 })
    )
  )
}

/**
 * Blocks the event loop for so long, in real time: no timer fires, no byte is read, no signal is heard. The duration is finite
 * and 0 or longer; throws `TestOptionError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const blocking = (duration: Duration.Input): Effect.Effect<void> => {
  const millis = Duration.toMillis(CheckedOption.duration("Misbehaviour.blocking", "duration", duration, "finite"))
  return Effect.sync(() => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
  })
}
