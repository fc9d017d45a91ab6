/**
 * The last resort: ends a Node process whose stop does not end, because its event loop is blocked or a handle keeps it alive.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Worker } from "node:worker_threads"
import { Lifecycle } from "./Lifecycle.ts"
import { renderRunning } from "./StopEvent.ts"
import * as StopPolicy from "./StopPolicy.ts"

/**
 * The options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long after the announcement the process has to be gone. Default: 28 seconds, between the budget's default of 25 and
   * Kubernetes' 30.
   */
  readonly after?: Duration.Input | undefined
}

/**
 * What the process seems to exit with when the watchdog has ended it: 128 + SIGKILL, as Kubernetes shows it.
 *
 * @category exit codes
 * @since 0.1.0
 */
export const exitCode = 137

/**
 * Watches the stop of the `Lifecycle` in the context.
 *
 * **Details**
 *
 * A worker thread is told when the stop is announced, and then of each resource that drains or has stopped. If the process
 * still exists when the time is over, it writes one line to stderr that says what was still open, and kills the process with
 * SIGKILL: nothing else ends a process whose main thread does not turn. The thread does not keep the process alive, and a
 * stop that has ended does not call it off: a handle that keeps the process alive afterwards is what it is for. So use it in
 * programs that end when they have stopped, not in tests.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const afterMillis = StopPolicy.millis("after", options.after ?? "28 seconds", "finite")
    const worker = new Worker(program, { eval: true })
    worker.unref()
    let isArmed = false

    const describe = (): string => {
      const left = lifecycle.members().filter(({ stop }) => stop.phase() !== "Stopped")
      return left.length === 0
        ? "all resources had stopped, a handle or a blocked event loop kept the process alive"
        : left.map(({ inFlight, stop }) =>
          `${stop.name} (${stop.phase()}, ${renderRunning(inFlight?.running() ?? [])})`
        )
          .join(", ")
    }

    const arm = (): void => {
      if (isArmed) return
      isArmed = true
      worker.postMessage({ afterMillis })
    }

    const isStopping = (): boolean => lifecycle.phase() !== "Starting" && lifecycle.phase() !== "Ready"

    // With no resource that tells anything, what is left is what is released after this.
    yield* Effect.addFinalizer(() => Effect.sync(() => void (isStopping() && arm())))
    yield* lifecycle.onEvent(() =>
      Effect.sync(() => {
        // A resource that stops on its own is no stop of the process.
        if (!isStopping()) return
        arm()
        worker.postMessage({ open: describe() })
      })
    )
  })

/**
 * {@link make} as a layer. Provide it below everything that takes time to stop.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> => Layer.effectDiscard(make(options))

/** Runs in the worker. `writeSync` because the main thread, whose stderr a worker's would go through, may be blocked. */
const program = `
const { writeSync } = require("node:fs")
const { parentPort } = require("node:worker_threads")
let open = "nothing was told yet"
parentPort.on("message", (message) => {
  if (message.open !== undefined) open = message.open
  if (message.afterMillis === undefined) return
  setTimeout(() => {
    writeSync(2, "lastcall: the stop did not end in " + message.afterMillis + " ms, killing the process; still open: " + open + "\\n")
    process.kill(process.pid, "SIGKILL")
  }, message.afterMillis)
})
`
