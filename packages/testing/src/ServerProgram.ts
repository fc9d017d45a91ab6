/**
 * A server program in a process of its own, as a test sees it: started, waited for, signalled, and always killed by its id
 * in the end.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import * as CheckedOption from "./internal/checkedOption.ts"

/**
 * A program that runs, or has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerProgram {
  readonly pid: number
  /** The lines of its standard output so far. */
  readonly lines: () => ReadonlyArray<string>
  /** Its standard error so far. */
  readonly stderr: () => string
  /**
   * Waits until a line of its standard output, an earlier one included, is picked: until this returns something for it.
   * Fails if the program ends without it.
   */
  readonly awaitLine: <A>(pick: (line: string) => A | undefined) => Effect.Effect<A, ServerProgramEnded>
  /** Writes a line to its standard input. */
  readonly say: (line: string) => Effect.Effect<void>
  /** Sends it a signal; one that has ended hears nothing. */
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for its end. */
  readonly ended: Effect.Effect<Ended>
  /**
   * Waits for its end so long, and kills it then: `killed` says so. 0 or longer; a patience that makes no sense is a defect, a
   * `TestOptionError`.
   */
  readonly endedWithin: (patience: Duration.Input) => Effect.Effect<Ended>
}

/**
 * How a program has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ended {
  /** Its exit code; `null` if a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Whether the test had to kill it. */
  readonly killed: boolean
  readonly lines: ReadonlyArray<string>
  readonly stderr: string
}

/**
 * A program ended before it said what was waited for.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerProgramEnded extends Data.TaggedError("ServerProgramEnded")<{ readonly ended: Ended }> {
  override get message(): string {
    const { code, lines, signal, stderr } = this.ended
    return `the program ended early (${code ?? signal}):\n${lines.join("\n")}\n${stderr}`
  }
}

/**
 * The options of a program.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its arguments. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Flags of node. */
  readonly flags?: ReadonlyArray<string> | undefined
  /** Variables besides those of this process. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** The node that runs it. Default: the one of this process. */
  readonly node?: string | undefined
}

/**
 * Starts a file with node. It is killed when the scope closes, if it still runs, and its end waited for. Processes that it
 * started are not: what they say on its output 100 ms after its exit is not read.
 *
 * **Example** (How a server stops)
 *
 * ```ts
 * import * as ServerProgram from "@lastcall/testing/ServerProgram"
 * import * as Effect from "effect/Effect"
 *
 * export const exitCode = Effect.gen(function*() {
 *   const server = yield* ServerProgram.start("src/main.ts")
 *   yield* server.awaitLine((line) => line.includes("listens on") ? line : undefined)
 *   yield* server.signal("SIGTERM")
 *   return (yield* server.endedWithin("30 seconds")).code
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = (file: string, options: Options = {}): Effect.Effect<ServerProgram, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => spawned(file, options)),
    ({ kill }) => kill
  )

/** How long the output of a program may stay open when it has exited. */
const patienceMillis = 100

const spawned = (file: string, options: Options): ServerProgram & { readonly kill: Effect.Effect<void> } => {
  const child = spawn(options.node ?? process.execPath, [...(options.flags ?? []), file, ...(options.args ?? [])], {
    stdio: "pipe",
    env: { ...process.env, ...options.env }
  })
  const lines: Array<string> = []
  const waiting = new Set<() => void>()
  const done = Deferred.makeUnsafe<Ended>()
  let ended: Ended | undefined
  let killed = false
  let stderr = ""

  const look = () => {
    for (const one of waiting) one()
  }
  const end = (code: number | null, signal: NodeJS.Signals | null): void => {
    if (ended !== undefined) return
    ended = { code, signal, killed, lines, stderr }
    Deferred.doneUnsafe(done, Effect.succeed(ended))
    look()
  }
  createInterface(child.stdout).on("line", (line) => {
    lines.push(line)
    look()
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  // It may be gone when it is spoken to.
  child.stdin.on("error", () => {})
  child.on("error", (cause) => {
    stderr += String(cause)
    end(null, null)
  })
  child.on("close", end)
  child.on("exit", (code, signal) => {
    // A child of its own that has its output keeps it open, and 'close' from coming.
    const leave = () => {
      child.stdout.destroy()
      child.stderr.destroy()
      end(code, signal)
    }
    // One turn more: in a busy process what it said may still be unread.
    const timer = setTimeout(() => setImmediate(leave), patienceMillis)
    child.once("close", () => clearTimeout(timer))
  })

  const kill = Effect.suspend(() => {
    if (ended !== undefined) return Effect.void
    if (child.exitCode === null && child.signalCode === null) {
      killed = true
      child.kill("SIGKILL")
    }
    return Effect.asVoid(Deferred.await(done))
  })

  return {
    pid: child.pid ?? 0,
    lines: () => lines,
    stderr: () => stderr,
    awaitLine: (pick) =>
      Effect.callback((resume) => {
        let seen = 0
        const one = () => {
          for (; seen < lines.length; seen++) {
            const picked = pick(lines[seen]!)
            if (picked !== undefined) return over(Effect.succeed(picked))
          }
          if (ended !== undefined) over(Effect.fail(new ServerProgramEnded({ ended })))
        }
        const over = (result: Parameters<typeof resume>[0]) => {
          waiting.delete(one)
          resume(result)
        }
        waiting.add(one)
        one()
        return Effect.sync(() => void waiting.delete(one))
      }),
    say: (line) => Effect.sync(() => void child.stdin.write(`${line}\n`)),
    signal: (signal) => Effect.sync(() => void child.kill(signal)),
    ended: Deferred.await(done),
    endedWithin: (patience) =>
      Effect.suspend(() =>
        Effect.timeoutOrElse(Deferred.await(done), {
          duration: CheckedOption.duration("ServerProgram.endedWithin", "patience", patience, "any"),
          orElse: () => Effect.andThen(kill, Deferred.await(done))
        })
      ),
    kill
  }
}
