/** Whether a channel is connected: grpc-js's state, as a value and as a stream. */
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { State } from "../GrpcChannel.ts"
import { leave } from "./clientSockets.ts"

export interface Connectivity {
  readonly state: () => State
  readonly states: Stream.Stream<State>
  /** Connects; ends with whether there is a connection, or there never will be. */
  readonly connect: Effect.Effect<boolean>
}

const names = {
  [grpc.connectivityState.IDLE]: "IDLE",
  [grpc.connectivityState.CONNECTING]: "CONNECTING",
  [grpc.connectivityState.READY]: "READY",
  [grpc.connectivityState.TRANSIENT_FAILURE]: "TRANSIENT_FAILURE",
  [grpc.connectivityState.SHUTDOWN]: "SHUTDOWN"
} as const

/** `enter` calls into grpc-js. */
export const make = (
  channel: grpc.ChannelInterface,
  enter: <A>(call: () => A) => A
): Effect.Effect<Connectivity> =>
  Effect.map(PubSub.unbounded<State>({ replay: 1 }), (changes) => {
    let state: State = "IDLE"
    const watch = (): void => {
      const current = channel.getConnectivityState(false)
      const now = names[current]
      state = now
      // One watcher for all: grpc-js forgets none before the next change.
      if (now !== "SHUTDOWN") channel.watchConnectivityState(current, Number.POSITIVE_INFINITY, watch)
      // Later: who waits may close the channel, and grpc-js is in the middle of a change.
      queueMicrotask(() => leave(() => void PubSub.publishUnsafe(changes, now)))
    }
    enter(watch)
    const states = Stream.takeUntil(Stream.fromPubSub(changes), (change) => change === "SHUTDOWN")
    return {
      state: () => state,
      states,
      connect: Effect.map(
        Stream.runHead(Stream.filter(
          // It falls back to idle when it has lost a connection, or is not needed.
          Stream.tap(states, () =>
            Effect.sync(() => {
              if (state === "IDLE") enter(() => channel.getConnectivityState(true))
            })),
          (change) => change === "READY" || change === "SHUTDOWN"
        )),
        Option.contains("READY")
      )
    }
  })
