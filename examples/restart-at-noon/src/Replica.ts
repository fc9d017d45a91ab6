/** One server process: loaded, then serving, then stopped by SIGTERM. */
import type { StopEvent } from "@lastcall/core/StopEvent"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ServerConfig, ServerEvent } from "./ServerEvent.ts"
import type { Stop } from "./Way.ts"
import * as Worker from "./Worker.ts"

export class ReplicaError extends Data.TaggedError("ReplicaError")<{ readonly message: string }> {}

export interface Replica {
  readonly instance: string
  /** Sends SIGTERM and waits for the end of the process. */
  readonly terminate: Effect.Effect<Stop>
}

/** A server process that has loaded its program and does not listen yet. */
export interface Prepared {
  readonly instance: string
  /** Starts it; ready when it listens. */
  readonly serve: Effect.Effect<Replica, ReplicaError>
}

export interface Listeners {
  readonly onLog: (line: string) => void
  /** What happens in a stop with Lastcall. */
  readonly onStopEvent: (event: StopEvent) => void
  /** The live line of a stop with Lastcall; empty in the end. */
  readonly onLiveLine: (line: string) => void
}

/** How long after SIGTERM a process that is still there is killed. */
const patience = "10 seconds"

/** Starts the process of a server, but not yet the server. */
export const prepare = (
  config: ServerConfig,
  { onLiveLine, onLog, onStopEvent }: Listeners
): Effect.Effect<Prepared, ReplicaError, Scope.Scope> =>
  Effect.gen(function*() {
    const { instance } = config
    const prepared = Deferred.makeUnsafe<void>()
    const listening = Deferred.makeUnsafe<void>()
    const released: Array<Stop["released"][number]> = []
    let use = { openAtRelease: 0, usesAfterRelease: 0 }
    let report: Stop["report"]

    const onEvent = (event: ServerEvent): void => {
      switch (event.event) {
        case "prepared":
          Deferred.doneUnsafe(prepared, Effect.void)
          return
        case "listening":
          Deferred.doneUnsafe(listening, Effect.void)
          return
        case "stopping": {
          const { what } = event
          if (what._tag === "Stopped") {
            released.push({ what: what.resource, forced: what.report.outcome === "forced" })
          }
          return onStopEvent(what)
        }
        case "live":
          return onLiveLine(event.line)
        case "stopped":
          report = event.report
          return
        case "released":
          released.push({ what: event.what, forced: event.forced })
          return
        case "ended":
          use = event
      }
    }

    const worker = yield* Worker.start({
      program: config.stop === "Lastcall" ? "LastcallServer.ts" : "PlainServer.ts",
      config,
      event: ServerEvent,
      onEvent,
      onLog: (line) => onLog(`${instance}: ${line}`)
    })

    const failed = (why: string) =>
      Effect.fail(new ReplicaError({ message: `server ${instance} did not start: ${why}` }))
    const reached = (step: Deferred.Deferred<void>) =>
      Deferred.await(step).pipe(
        Effect.raceFirst(Effect.flatMap(worker.ended, ({ exit }) => failed(`it ended with ${exit}`))),
        Effect.timeoutOrElse({ duration: "20 seconds", orElse: () => failed("it took more than 20 seconds") })
      )

    const replica: Replica = {
      instance,
      terminate: Effect.gen(function*() {
        const begin = performance.now()
        worker.signal("SIGTERM")
        const { at, exit } = yield* Effect.timeoutOrElse(worker.ended, {
          duration: patience,
          orElse: () => Effect.andThen(Effect.sync(() => worker.signal("SIGKILL")), worker.ended)
        })
        return {
          instance,
          millis: at - begin,
          exit,
          released,
          openAtRelease: use.openAtRelease,
          usesAfterRelease: use.usesAfterRelease,
          report
        }
      })
    }

    yield* reached(prepared)
    return {
      instance,
      serve: Effect.sync(() => worker.say("start")).pipe(Effect.andThen(reached(listening)), Effect.as(replica))
    }
  })
