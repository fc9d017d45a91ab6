/**
 * Handlers that misbehave: Effects that a test puts in the place of well-behaved work.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
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
 * Is interrupted, and takes so long to clean up.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slowToEnd = (duration: Duration.Input): Effect.Effect<never> =>
  Effect.onInterrupt(Effect.never, () => Effect.sleep(duration))

/**
 * Uses a resource at each interval (default: 10 ms), ignoring interruption, until it has used it after its release. Where
 * a release is never too early this does not end.
 *
 * @category constructors
 * @since 0.1.0
 */
export const usingAfterRelease = (
  resource: TrackedResource,
  every: Duration.Input = "10 millis"
): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.sleep(every).pipe(
      Effect.andThen(resource.use),
      Effect.repeat({ until: () => resource.uses().after > 0 })
    )
  )

/**
 * Blocks the event loop for so long, in real time: no timer fires, no byte is read, no signal is heard.
 *
 * @category constructors
 * @since 0.1.0
 */
export const blocking = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.sync(() => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Duration.toMillis(duration))
  })
