/**
 * What a handler can know about the stop of its server.
 *
 * A drain waits for what is in flight; a stream that never ends by itself holds it for the whole grace period. A handler
 * that listens here ends its stream in time instead.
 *
 * Handlers are told after the connections got their GOAWAY: a client that comes back at once goes elsewhere.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import { shutDown } from "./internal/shutDown.ts"

/**
 * What a server tells its handlers.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcDrain {
  readonly isAnnounced: () => boolean
  readonly awaitAnnounced: Effect.Effect<void>
  readonly isDraining: () => boolean
  readonly awaitDraining: Effect.Effect<void>
}

/**
 * The drain of the server that runs this handler. Outside a server it never begins.
 *
 * @category references
 * @since 0.1.0
 */
export const GrpcDrain: Context.Reference<GrpcDrain> = Context.Reference<GrpcDrain>("@lastcall/grpc/GrpcDrain", {
  defaultValue: () => never
})

const never: GrpcDrain = {
  isAnnounced: () => false,
  awaitAnnounced: Effect.never,
  isDraining: () => false,
  awaitDraining: Effect.never
}

/**
 * Waits until the server announces its end: everything is still served, for the drain delay.
 *
 * @category waiting
 * @since 0.1.0
 */
export const awaitAnnounced: Effect.Effect<void> = Effect.flatMap(GrpcDrain, (drain) => drain.awaitAnnounced)

/**
 * Whether the server is draining.
 *
 * @category getters
 * @since 0.1.0
 */
export const isDraining: Effect.Effect<boolean> = Effect.map(GrpcDrain, (drain) => drain.isDraining())

/**
 * Waits until the server drains.
 *
 * @category waiting
 * @since 0.1.0
 */
export const awaitDraining: Effect.Effect<void> = Effect.flatMap(GrpcDrain, (drain) => drain.awaitDraining)

/**
 * Ends a response stream when the server drains, with a last message: the client sees the message and then OK.
 *
 * **Details**
 *
 * A stream that ends by itself before ends as it is, without the last message.
 *
 * **Example** (A watch that does not hold a restart)
 *
 * ```ts
 * import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
 * import * as Stream from "effect/Stream"
 *
 * const updates = Stream.never as Stream.Stream<{ readonly update: string }>
 *
 * export const watch = () => updates.pipe(GrpcDrain.endWith(() => ({ update: "the server restarts, come again" })))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const endWith: {
  <B>(last: () => B): <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A | B, E, R>
  <A, E, R, B>(self: Stream.Stream<A, E, R>, last: () => B): Stream.Stream<A | B, E, R>
} = dual(
  2,
  <A, E, R, B>(self: Stream.Stream<A, E, R>, last: () => B): Stream.Stream<A | B, E, R> =>
    Stream.suspend(() => {
      let told = false
      const untilTold = Effect.map(awaitDraining, () => {
        told = true
      })
      return Stream.concat(
        Stream.interruptWhen(self, untilTold),
        Stream.suspend(() => told ? Stream.sync(last) : Stream.empty)
      )
    })
)

/**
 * Ends a response stream when the server drains: the client sees OK after the messages that were sent before.
 *
 * @category combinators
 * @since 0.1.0
 */
export const end = <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
  Stream.interruptWhen(self, awaitDraining)

/**
 * What becomes of the RPCs of a method when the server drains:
 *
 * - `"notify"`, the default: they run on, and their handlers can know (`GrpcDrain`).
 * - `"finish"`: they run on, and their handlers are not told.
 * - `"end"`: their response streams end with OK; with `{ end: () => last }`, after a last message. Of streams only.
 * - `"cut"`: their handlers are interrupted at once, and the clients get `UNAVAILABLE`, which they may retry.
 *
 * Where the grace period is over, all are interrupted.
 *
 * @category models
 * @since 0.1.0
 */
export type DrainPolicy<A> = "notify" | "finish" | "end" | "cut" | { readonly end: () => A }

/**
 * Applies a policy to a handler's Stream.
 *
 * @category combinators
 * @since 0.1.0
 */
export const stream = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  policy: DrainPolicy<A>
): Stream.Stream<A, E, R> => {
  switch (policy) {
    case "notify":
      return self
    case "finish":
      return Stream.provideService(self, GrpcDrain, never)
    case "end":
      return end(self)
    case "cut":
      return Stream.interruptWhen(self, cut)
    default:
      return endWith(self, policy.end)
  }
}

/**
 * Applies a policy to a handler's Effect. `"end"` is for streams: here it is `"notify"`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const effect = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  policy: DrainPolicy<never>
): Effect.Effect<A, E, R> => {
  switch (policy) {
    case "finish":
      return Effect.provideService(self, GrpcDrain, never)
    case "cut":
      return Effect.raceFirst(self, cut)
    default:
      return self
  }
}

/** The server tells the RPCs that it cuts apart from those whose handlers died. */
const cut: Effect.Effect<never> = Effect.andThen(awaitDraining, Effect.die(shutDown))
