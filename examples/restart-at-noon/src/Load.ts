/** The load process, as the demo sees it. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type LoadConfig, LoadEvent } from "./LoadEvent.ts"
import * as Tally from "./Tally.ts"
import * as Worker from "./Worker.ts"

export class LoadError extends Data.TaggedError("LoadError")<{ readonly message: string }> {}

export interface Load {
  readonly latest: () => LoadEvent
  /** Waits until every client has been answered by a server instance: it has found back to that replica. */
  readonly awaitReturn: (instance: string) => Effect.Effect<boolean, LoadError>
  /** Sends no more, and waits for what it has sent. */
  readonly finish: Effect.Effect<LoadEvent, LoadError>
}

const failed = ({ exit }: Worker.Ended) =>
  Effect.fail(new LoadError({ message: `the load process ended with ${exit}` }))

const silence: LoadEvent = { tally: Tally.empty, heard: {}, watchesEnded: 0 }

export const start = (
  config: LoadConfig,
  options: { readonly onReport: () => void; readonly onLog: (line: string) => void }
): Effect.Effect<Load, never, Scope.Scope> =>
  Effect.gen(function*() {
    let latest = silence
    const worker = yield* Worker.start({
      program: "LoadProcess.ts",
      config,
      event: LoadEvent,
      onEvent(event) {
        latest = event
        options.onReport()
      },
      onLog: (line) => options.onLog(`load: ${line}`)
    })
    /** The public clients, and the admin client of the replica. */
    const everyone = config.clients + 1
    const returned = (instance: string): Effect.Effect<void> =>
      Effect.suspend(() =>
        (latest.heard[instance] ?? 0) >= everyone
          ? Effect.void
          : Effect.andThen(Effect.sleep("50 millis"), returned(instance))
      )
    return {
      latest: () => latest,
      awaitReturn: (instance) =>
        returned(instance).pipe(
          Effect.as(true),
          Effect.timeoutOrElse({ duration: "8 seconds", orElse: () => Effect.succeed(false) }),
          Effect.raceFirst(Effect.flatMap(worker.ended, failed))
        ),
      finish: Effect.gen(function*() {
        worker.endInput()
        const ended = yield* worker.ended
        return ended.exit === "0" ? latest : yield* failed(ended)
      })
    }
  })
