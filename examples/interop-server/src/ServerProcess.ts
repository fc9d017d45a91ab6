/** The server as a process of its own, and as long as a scope. */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export interface ServerProcess {
  /** The line that says where it listens, as it was written. */
  readonly line: string
  /** Its port, or else the target of its Unix socket. */
  readonly listening: number | string
  readonly pid: number
  /** Sends SIGTERM, or another signal, and waits for the end; the exit code, or the signal that ended it. */
  readonly terminate: (signal?: NodeJS.Signals) => Effect.Effect<End>
}

/** What is left of a process that has ended. */
export interface End {
  readonly exit: number | string
  /** What it wrote after the line that says where it listens. */
  readonly stdout: string
  readonly stderr: string
}

/** It ended, and never listened. */
export class EndedEarly extends Data.TaggedError("EndedEarly")<End> {
  override get message(): string {
    return `the server ended with ${this.exit}: ${this.stderr}`
  }
}

const main = fileURLToPath(new URL("main.ts", import.meta.url))

/** How long the output of a process may stay open when it has exited. */
const patienceMillis = 100

/** Starts it; ready when it listens. It is killed when the scope closes, if it has not ended. */
export const start = (...args: ReadonlyArray<string>): Effect.Effect<ServerProcess, EndedEarly, Scope.Scope> =>
  Effect.gen(function*() {
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    const ended = Deferred.makeUnsafe<End>()
    const listening = Deferred.makeUnsafe<string>()
    const lines: Array<string> = []
    let stderr = ""
    createInterface(child.stdout).on("line", (line) => {
      lines.push(line)
      Deferred.doneUnsafe(listening, Effect.succeed(line))
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text
    })
    child.on("exit", () => {
      // A child of its own that has its output keeps it open, and `close` from coming. One turn more: what it said may still
      // be unread.
      const leave = () => {
        child.stdout.destroy()
        child.stderr.destroy()
      }
      const timer = setTimeout(() => setImmediate(leave), patienceMillis)
      child.once("close", () => clearTimeout(timer))
    })
    // after the last of its output
    child.on("close", (code, signal) => {
      const exit = code ?? signal ?? "unknown"
      Deferred.doneUnsafe(ended, Effect.succeed({ exit, stdout: lines.slice(1).join("\n"), stderr }))
    })
    yield* Effect.addFinalizer(() => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Deferred.await(ended)))
    const line = yield* Effect.raceFirst(
      Deferred.await(listening),
      Effect.flatMap(Deferred.await(ended), (end) => Effect.fail(new EndedEarly(end)))
    )
    const told = JSON.parse(line) as Pick<ServerProcess, "listening" | "pid">
    return {
      line,
      listening: told.listening,
      pid: told.pid,
      terminate: (signal = "SIGTERM") =>
        // As an operator does: by the pid that it told.
        Effect.andThen(Effect.sync(() => process.kill(told.pid, signal)), Deferred.await(ended))
    }
  })
