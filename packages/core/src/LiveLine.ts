/**
 * A stop on a terminal: one line that says what is still running, rewritten in place.
 *
 * "api: 12 in flight, oldest demo.Watch 12s, 8s left"
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Lifecycle } from "./Lifecycle.ts"
import { renderRunning } from "./StopEvent.ts"
import type { Member } from "./StopRegistry.ts"

/**
 * What a live line is written to; `process.stderr` is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Terminal {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  readonly write: (text: string) => unknown
}

/** How often the line is rewritten, in milliseconds. */
const everyMillis = 250

const clearLine = "\u001b[2K"

/**
 * Shows the stop of the `Lifecycle` in the context until the scope closes. Provide it below what takes time to stop.
 *
 * **Details**
 *
 * It writes nothing before the stop begins, and nothing at all where `isTTY` is not true: there the events of the stop are
 * in the log. The cursor stays at the beginning of the line, so that a log line takes its place.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (terminal: Terminal): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    if (terminal.isTTY !== true) return
    const lifecycle = yield* Lifecycle
    const clock = yield* Clock.Clock

    const show = Effect.sync(() => {
      if (lifecycle.phase() !== "Announced" && lifecycle.phase() !== "Draining") return
      const line = render(lifecycle.members(), clock.currentTimeMillisUnsafe())
      terminal.write(`${clearLine}${line.slice(0, Math.max(0, (terminal.columns ?? 80) - 1))}\r`)
    })

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (lifecycle.phase() !== "Starting" && lifecycle.phase() !== "Ready") terminal.write(clearLine)
      })
    )
    yield* Effect.forkScoped(
      Effect.andThen(
        Stream.runHead(Stream.filter(lifecycle.changes, (phase) => phase !== "Starting" && phase !== "Ready")),
        Effect.forever(Effect.andThen(show, Effect.sleep(Duration.millis(everyMillis))))
      )
    )
  })

/**
 * The line: what each resource that is stopping waits for.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (members: ReadonlyArray<Member>, now: number): string => {
  const stopping = members.filter(({ stop }) => stop.phase() !== "Serving" && stop.phase() !== "Announced")
  if (stopping.length > 0) {
    return stopping.map(({ inFlight, stop }) => {
      const deadline = stop.deadline()
      const left = deadline === undefined ? "" : `, ${seconds(deadline - now)} left`
      return `${stop.name}: ${renderRunning(inFlight?.running() ?? [])}${left}`
    }).join(" | ")
  }
  return members.length > 0
    ? `stopping, still served: ${members.map(({ stop }) => stop.name).join(", ")}`
    : "all stopped, releasing the rest"
}

/** Tenths below ten seconds. */
const seconds = (millis: number): string => {
  const left = Math.max(0, millis) / 1_000
  return `${left < 10 ? left.toFixed(1) : Math.ceil(left)} s`
}
