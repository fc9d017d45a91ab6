/** Starts the program as a process of its own, and watches it. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Plan } from "./Plan.ts"

export interface Program {
  /** Sends it a signal. */
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits until a line of its standard output matches. Dies if it ends before. */
  readonly line: (pattern: RegExp) => Effect.Effect<string>
  /** Waits for its end. */
  readonly exit: Effect.Effect<Ended>
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: ReadonlyArray<string>
  readonly stderr: string
}

const main = fileURLToPath(new URL("main.ts", import.meta.url))

/** Starts it; what has not ended by itself is killed when the scope closes. */
export const start = (plan: Plan): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [main, JSON.stringify(plan)], { stdio: ["ignore", "pipe", "pipe"] })),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    ),
    watch
  )

/** Starts it, and waits until it is ready. */
export const ready = (plan: Plan): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.tap(start(plan), (program) => program.line(/^ready$/))

const watch = (child: ChildProcess): Program => {
  const waiting = new Set<() => void>()
  let stdout = ""
  let stderr = ""
  let ended: Ended | undefined
  const changed = () => {
    for (const look of waiting) look()
  }
  const lines = () => stdout.split("\n").slice(0, -1)
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk
    changed()
  })
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk
  })
  child.on("close", (code, signal) => {
    ended = { code, signal, stdout: lines(), stderr }
    changed()
  })

  /** Waits until there is a value. */
  const until = <A>(value: () => A | undefined): Effect.Effect<A> =>
    Effect.callback<A>((resume) => {
      const look = () => {
        const found = value()
        if (found === undefined) return
        waiting.delete(look)
        resume(Effect.succeed(found))
      }
      waiting.add(look)
      look()
      return Effect.sync(() => void waiting.delete(look))
    })

  return {
    kill: (signal) => Effect.sync(() => void child.kill(signal)),
    line: (pattern) =>
      Effect.flatMap(
        until(() => lines().find((line) => pattern.test(line)) ?? (ended === undefined ? undefined : null)),
        (line) =>
          line === null
            ? Effect.die(new Error(`it ended without ${pattern}:\n${stdout}${stderr}`))
            : Effect.succeed(line)
      ),
    exit: until(() => ended)
  }
}
