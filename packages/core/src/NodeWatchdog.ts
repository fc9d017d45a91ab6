/**
 * The last resort: ends a Node process whose stop does not end, because its event loop is blocked or a handle keeps it alive.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
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
   * How long after the announcement the process has to be gone. At most 2^31 - 1 milliseconds, some 24 days, the longest
   * timer of Node; more is as much. Default: 3 seconds more than the budget of the `Lifecycle`. With the budget's default
   * that is 28 seconds, before Kubernetes' 30. A budget without an end has no default: nothing is watched.
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
 * A worker thread is told when the stop is announced, and then of each event of a resource. If the process still exists
 * when the time is over, it writes one line to stderr that says what was still open, and kills the process with
 * SIGKILL: nothing else ends a process whose main thread does not turn. The thread does not keep the process alive, and a
 * stop that has ended does not call it off: a handle that keeps the process alive afterwards is what it is for. So use it in
 * programs that end when they have stopped, not in tests.
 *
 * It is not armed when a layer fails during the start: the failed building closes the watchdog's scope before any stop is
 * announced.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const afterMillis = options.after === undefined
      ? Duration.toMillis(lifecycle.budget) + beyondBudgetMillis
      : StopPolicy.millis("after", options.after, "finite")
    if (afterMillis === Number.POSITIVE_INFINITY) return
    const worker = new Worker(program, { eval: true, workerData: Math.min(afterMillis, maxTimerMillis) })
    worker.unref()

    const describe = (): string => {
      const left = lifecycle.members().filter(({ stop }) => stop.phase() !== "Stopped")
      return left.length === 0
        ? "all resources had stopped, a finalizer, a handle or a blocked event loop kept the process alive"
        : left.map(({ inFlight, stop }) =>
          `${stop.name} (${stop.phase()}, ${renderRunning(inFlight?.running() ?? [])})`
        )
          .join(", ")
    }

    const isStopping = (): boolean => lifecycle.phase() !== "Starting" && lifecycle.phase() !== "Ready"

    /** The first time arms it. */
    const tell = Effect.sync(() => {
      // A resource that stops on its own is no stop of the process.
      if (isStopping()) worker.postMessage(describe())
    })

    // What hangs may be no resource, so that nothing is told of it.
    yield* Effect.forkScoped(Effect.andThen(Stream.runHead(Stream.filter(lifecycle.changes, isStopping)), tell))
    yield* lifecycle.onEvent(() => tell)
  })

/**
 * {@link make} as a layer. Provide it below everything that takes time to stop.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> => Layer.effectDiscard(make(options))

/** For what has no budget: `onReport`, and finalizers that are late. */
const beyondBudgetMillis = 3_000

const maxTimerMillis = 2 ** 31 - 1

/** Runs in the worker. `writeSync` because the main thread, whose stderr a worker's would go through, may be blocked. */
const program = `
const { writeSync } = require("node:fs")
const { parentPort, workerData: afterMillis } = require("node:worker_threads")
let open
parentPort.on("message", (message) => {
  open = message
})
parentPort.once("message", () => {
  setTimeout(() => {
    writeSync(2, "lastcall: the stop did not end in " + afterMillis + " ms, killing the process; still open: " + open + "\\n")
    process.kill(process.pid, "SIGKILL")
  }, afterMillis)
})
`
