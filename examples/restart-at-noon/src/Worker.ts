/** A process that this one has started: it tells events in JSON lines, and never outlives its scope. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export interface Ended {
  /** The exit code, or the signal that ended it. */
  readonly exit: string
  /** When it ended, in milliseconds of `performance.now`. */
  readonly at: number
}

export interface Worker {
  readonly signal: (signal: NodeJS.Signals) => void
  /** Writes a line to its standard input. */
  readonly say: (line: string) => void
  /** Ends its standard input. */
  readonly endInput: () => void
  readonly ended: Effect.Effect<Ended>
}

export interface Options<A> {
  /** A module beside this one. */
  readonly program: string
  readonly config: unknown
  readonly event: Schema.Codec<A, unknown>
  readonly onEvent: (event: A) => void
  /** A line of its standard error. */
  readonly onLog: (line: string) => void
}

/** How long the output of a process may stay open when it has exited. */
const patienceMillis = 100

export const start = <A>(options: Options<A>): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const program = fileURLToPath(new URL(options.program, import.meta.url))
      const child = spawn(process.execPath, [program, JSON.stringify(options.config)])
      const ended = Deferred.makeUnsafe<Ended>()
      const decode = Schema.decodeUnknownSync(Schema.fromJsonString(options.event))
      let at: number | undefined
      createInterface(child.stdout).on("line", (line) => options.onEvent(decode(line)))
      createInterface(child.stderr).on("line", options.onLog)
      child.stdin.on("error", () => {})
      child
        .on("error", (error) => options.onLog(error.message))
        .on("exit", () => {
          at = performance.now()
          // A child of its own that has its output keeps it open, and `close` from coming. One turn more: what it said may
          // still be unread.
          const leave = () => {
            child.stdout.destroy()
            child.stderr.destroy()
          }
          const timer = setTimeout(() => setImmediate(leave), patienceMillis)
          child.once("close", () => clearTimeout(timer))
        })
        // after `exit`, when all that it wrote has been read
        .on("close", (code, signal) =>
          Deferred.doneUnsafe(ended, Effect.succeed({ exit: String(signal ?? code), at: at ?? performance.now() })))
      const worker: Worker = {
        signal: (signal) =>
          void child.kill(signal),
        say: (line) =>
          void child.stdin.write(`${line}\n`),
        endInput: () => void child.stdin.end(),
        ended: Deferred.await(ended)
      }
      return worker
    }),
    (worker) => Effect.andThen(Effect.sync(() => worker.signal("SIGKILL")), worker.ended)
  )
