/**
 * Signals of a Node process as steps of its lifecycle: the first asks for the stop, the second escalates it, the third
 * exits at once.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { constants } from "node:os"
import { logged } from "./internal/logged.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import { Lifecycle } from "./Lifecycle.ts"

/**
 * The options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The signals that count. Default: `SIGTERM` and `SIGINT`. */
  readonly signals?: ReadonlyArray<NodeJS.Signals> | undefined
  /** Ends the process. Default: `process.exit`. */
  readonly exit?: ((code: number) => void) | undefined
}

/**
 * Listens for signals until the scope closes.
 *
 * **Details**
 *
 * It counts the signals of all kinds together: the first starts the stop of the `Lifecycle` in the context, the second
 * escalates it (all drains go to force, finalizers still run), the third exits at once with 128 + the number of the signal.
 * What comes within half a second of a signal that counted is that signal again: a process group or a service's cgroup is
 * signalled as a whole, and npm passes its own signal on besides. `NodeRuntime.runMain` goes on to work as always: its own
 * listener interrupts the program at the first signal.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (options: Options = {}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const exit = options.exit ?? ((code) => process.exit(code))
    const clock = yield* Clock.Clock
    let received = 0
    let receivedAt = Number.NEGATIVE_INFINITY

    const onSignal = (signal: NodeJS.Signals): void => {
      const now = monotonicMillis(clock)
      if (now - receivedAt < sameSignalMillis) return
      receivedAt = now
      received++
      if (received === 1) run(Effect.andThen(logged(Effect.logInfo(`${signal}: stopping`)), lifecycle.stop))
      else if (received === 2) {
        run(Effect.andThen(logged(Effect.logWarning(`${signal} again: forcing the stop`)), lifecycle.escalate))
      } else exit(128 + constants.signals[signal])
    }

    yield* Effect.acquireRelease(
      Effect.sync(() => {
        for (const signal of options.signals ?? defaultSignals) process.on(signal, onSignal)
      }),
      () =>
        Effect.sync(() => {
          for (const signal of options.signals ?? defaultSignals) process.off(signal, onSignal)
        })
    )
  })

/** Longer than a busy machine takes to pass a signal on, shorter than someone takes to read what the first one did. */
const sameSignalMillis = 500

const defaultSignals: ReadonlyArray<NodeJS.Signals> = ["SIGTERM", "SIGINT"]

/**
 * {@link listen} as a layer. Provide it below everything that takes time to stop: it listens until that has stopped.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> => Layer.effectDiscard(listen(options))
