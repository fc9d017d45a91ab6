/**
 * A state that changes, as a stream of what it is: its value now, then each other value that it comes to.
 *
 * It is read when the consumer asks for more, so that a slow one skips what is out of date and nothing is kept for it.
 */
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"

export interface Changes {
  /** Says that the state may have changed. */
  readonly notify: () => void
  /** What is read of the state, now and whenever that has changed. It never ends. */
  readonly latest: <A>(read: () => A) => Stream.Stream<A>
}

export const makeChanges = (): Changes => {
  const listeners = new Set<() => void>()
  return {
    notify() {
      for (const listener of Array.from(listeners)) listener()
    },
    latest: <A>(read: () => A) =>
      Stream.fromPull(Effect.sync(() => {
        let last: A | undefined
        // Reading and listening are one step: no change falls between them.
        const pull: Pull.Pull<readonly [A], never> = Effect.callback((resume) => {
          const value = read()
          if (value !== last) {
            last = value
            return resume(Effect.succeed([value] as const))
          }
          const listener = () => {
            listeners.delete(listener)
            resume(pull)
          }
          listeners.add(listener)
          return Effect.sync(() => void listeners.delete(listener))
        })
        return pull
      }))
  }
}
