/** One replica: a process that has loaded its program, then serves, then is stopped by SIGTERM. */
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { type ReplicaConfig, ReplicaEvent } from "./ReplicaEvent.ts"

export class ReplicaError extends Data.TaggedError("ReplicaError")<{ readonly message: string }> {}

/** How a replica stops. */
export type Way = "Lastcall" | "recipe"

/** One stop. */
export interface Stop {
  readonly instance: string
  /** From SIGTERM to the end of the process. */
  readonly millis: number
  /** The exit code, or the signal that ended it. */
  readonly exit: string
  /** What Lastcall says of it. */
  readonly report: ProcessReport | undefined
}

export interface Replica {
  readonly instance: string
  /** Sends SIGTERM and waits for the end of the process. */
  readonly terminate: Effect.Effect<Stop>
}

/** It has loaded its program, and does not listen yet: a restart is as short as its stop. */
export interface Prepared {
  /** Ready when it listens. */
  readonly serve: Effect.Effect<Replica, ReplicaError>
}

const programs = { Lastcall: "LastcallReplica.ts", recipe: "RecipeReplica.ts" }

/** How long after SIGTERM a process that is still there is killed. */
const patience = "30 seconds"

/** How long the output of a process may stay open when it has exited. */
const patienceMillis = 100

const decode = Schema.decodeUnknownSync(Schema.fromJsonString(ReplicaEvent))

/** Starts the process, but not yet the server. It never outlives the scope. */
export const prepare = (way: Way, config: ReplicaConfig): Effect.Effect<Prepared, ReplicaError, Scope.Scope> =>
  Effect.gen(function*() {
    const { instance } = config
    const prepared = Deferred.makeUnsafe<void>()
    const listening = Deferred.makeUnsafe<void>()
    const ended = Deferred.makeUnsafe<{ readonly exit: string; readonly at: number }>()
    let report: ProcessReport | undefined
    let lastLine = ""

    const program = fileURLToPath(new URL(programs[way], import.meta.url))
    const child = spawn(process.execPath, [program, JSON.stringify(config)])
    child.stdin.on("error", () => {})
    createInterface(child.stderr).on("line", (line) => {
      lastLine = line
    })
    createInterface(child.stdout).on("line", (line) => {
      const event = decode(line)
      if (event.event === "prepared") Deferred.doneUnsafe(prepared, Effect.void)
      else if (event.event === "listening") Deferred.doneUnsafe(listening, Effect.void)
      else report = event.report
    })
    let at = Number.NaN
    child.on("exit", () => {
      at = performance.now()
      // A child of its own that has its output keeps it open, and `close` from coming. One turn more: what it said may still
      // be unread.
      const leave = () => {
        child.stdout.destroy()
        child.stderr.destroy()
      }
      const timer = setTimeout(() => setImmediate(leave), patienceMillis)
      child.once("close", () => clearTimeout(timer))
    })
    // After `exit`, when all that it wrote has been read.
    child.on(
      "close",
      (code, signal) => Deferred.doneUnsafe(ended, Effect.succeed({ exit: String(signal ?? code), at }))
    )
    yield* Effect.addFinalizer(() => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Deferred.await(ended)))

    const failed = (why: string) =>
      Effect.suspend(() => Effect.fail(new ReplicaError({ message: `replica ${instance} ${why}: ${lastLine}` })))
    const reached = (step: Deferred.Deferred<void>) =>
      Deferred.await(step).pipe(
        Effect.raceFirst(Effect.flatMap(Deferred.await(ended), ({ exit }) => failed(`ended with ${exit}`))),
        Effect.timeoutOrElse({ duration: "2 minutes", orElse: () => failed("did not start in two minutes") })
      )
    const replica: Replica = {
      instance,
      terminate: Effect.gen(function*() {
        const begin = performance.now()
        child.kill("SIGTERM")
        const { at, exit } = yield* Effect.timeoutOrElse(Deferred.await(ended), {
          duration: patience,
          orElse: () => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Deferred.await(ended))
        })
        return { instance, millis: at - begin, exit, report }
      })
    }
    yield* reached(prepared)
    return {
      serve: Effect.sync(() => void child.stdin.write("start\n")).pipe(
        Effect.andThen(reached(listening)),
        Effect.as(replica)
      )
    }
  })
