/** Processes of `HandoverServer.ts`. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import * as EchoServer from "./EchoServer.ts"
import type { Config, Line } from "./HandoverServer.ts"

export interface ServerProcess {
  readonly pid: number
  /** The next line that it says; dies if it ends without one. */
  readonly line: Effect.Effect<Line>
  /** Sends SIGTERM. */
  readonly terminate: Effect.Effect<void>
  /** Its exit code. */
  readonly exit: Effect.Effect<number | null>
}

export const program = join(import.meta.dirname, "HandoverServer.ts")

/** Whether this machine can play systemd. */
export const hasSocketActivate = spawnSync("systemd-socket-activate", ["--version"]).status === 0

const adopt = (child: ChildProcess): ServerProcess => {
  const lines: Array<Line> = []
  const waiting: Array<Deferred.Deferred<Line>> = []
  const exit = Deferred.makeUnsafe<number | null>()
  createInterface(child.stdout!).on("line", (text) => {
    const line = JSON.parse(text) as Line
    const first = waiting.shift()
    if (first === undefined) lines.push(line)
    else Deferred.doneUnsafe(first, Effect.succeed(line))
  })
  child.on("close", (code) => {
    Deferred.doneUnsafe(exit, Effect.succeed(code))
    for (const one of waiting) Deferred.doneUnsafe(one, Effect.die(new Error(`the server has ended: ${code}`)))
  })
  return {
    pid: child.pid!,
    line: Effect.suspend(() => {
      const line = lines.shift()
      if (line !== undefined) return Effect.succeed(line)
      const next = Deferred.makeUnsafe<Line>()
      waiting.push(next)
      return Deferred.await(next)
    }),
    terminate: Effect.sync(() => void child.kill("SIGTERM")),
    exit: Deferred.await(exit)
  }
}

const start = (
  command: string,
  args: ReadonlyArray<string>,
  stderr: "inherit" | "pipe" = "inherit"
): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    // a process group, so that nothing of a supervisor outlives the test
    Effect.sync(() => spawn(command, args, { stdio: ["ignore", "pipe", stderr], detached: true })),
    (child) =>
      Effect.sync(() => {
        if (child.exitCode !== null || child.signalCode !== null) return
        process.kill(-child.pid!, "SIGKILL")
      })
  )

/** A server process, listening. */
export const make = (...listen: ReadonlyArray<Config>): Effect.Effect<ServerProcess, never, Scope.Scope> =>
  Effect.tap(Effect.map(start(process.execPath, [program, JSON.stringify(listen)]), adopt), expectListening)

/** Listens as systemd does, at these addresses, and becomes the command when the first connection comes. */
export const activate = (
  options: { readonly listen: ReadonlyArray<string>; readonly names?: string },
  command: ReadonlyArray<string>
): Effect.Effect<ServerProcess, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* start("systemd-socket-activate", [
      ...options.listen.flatMap((address) => ["-l", address]),
      ...(options.names === undefined ? [] : [`--fdname=${options.names}`]),
      ...command
    ], "pipe")
    let said = ""
    child.stderr!.on("data", (chunk: Buffer) => {
      said += chunk.toString()
    })
    yield* EchoServer.until("it listens", () => said.split("Listening on").length > options.listen.length)
    return adopt(child)
  })

/** The command of a server with these listeners. */
export const command = (...listen: ReadonlyArray<Config>): ReadonlyArray<string> => [
  process.execPath,
  program,
  JSON.stringify(listen)
]

const expectListening = (server: ServerProcess) =>
  Effect.flatMap(
    server.line,
    (line) =>
      "listening" in line ? Effect.void : Effect.die(new Error(`the server does not listen: ${JSON.stringify(line)}`))
  )
