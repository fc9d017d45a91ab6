/** A process that measures itself and is asked over IPC, on a core of its own where `taskset` is there. */
import { spawn, spawnSync } from "node:child_process"

interface Tagged {
  readonly _tag: string
}

export interface Child<Question, Answer extends Tagged> {
  /** Waits until it says this by itself, for at most so long. */
  readonly said: <T extends Answer["_tag"]>(tag: T, millis: number) => Promise<Extract<Answer, { readonly _tag: T }>>
  readonly ask: <T extends Answer["_tag"]>(question: Question, tag: T) => Promise<Extract<Answer, { readonly _tag: T }>>
  /** Ends the process. */
  readonly kill: () => Promise<void>
}

const hasTaskset = spawnSync("taskset", ["--version"]).status === 0

/** The core of what is measured, and that of its peer; `undefined` where processes cannot be bound. */
export const cores: { readonly measured: number; readonly peer: number } | undefined = hasTaskset
  ? { measured: 0, peer: 1 }
  : undefined

/** Whose core; `undefined` for none in particular. */
export type Role = keyof NonNullable<typeof cores> | undefined

/** Binds this process, which makes the load of servers, to its core. */
export const bindLoad = (): void => {
  if (cores !== undefined) spawnSync("taskset", ["-a", "-p", "-c", String(cores.peer), String(process.pid)])
}

const answerMillis = 60_000

/** `spec` is the one argument of the process, as JSON. */
export const start = <Question, Answer extends Tagged>(
  main: string,
  spec: unknown,
  flags: ReadonlyArray<string>,
  role: Role
): Child<Question, Answer> => {
  const command = [process.execPath, ...flags, main, JSON.stringify(spec)]
  if (role !== undefined && cores !== undefined) command.unshift("taskset", "-c", String(cores[role]))
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const said = <T extends Answer["_tag"]>(
    tag: T,
    millis: number
  ): Promise<Extract<Answer, { readonly _tag: T }>> =>
    new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer)
        child.off("message", onMessage)
        child.off("exit", onExit)
      }
      const onMessage = (message: Answer): void => {
        if (message._tag !== tag) return
        over()
        resolve(message as Extract<Answer, { readonly _tag: T }>)
      }
      const onExit = (code: number | null): void => {
        over()
        reject(new Error(`a process of the benchmark ended with code ${code}`))
      }
      const timer = setTimeout(() => {
        over()
        reject(new Error(`a process of the benchmark did not say ${tag} within ${millis} ms`))
      }, millis)
      child.on("message", onMessage)
      child.once("exit", onExit)
    })
  return {
    said,
    ask(question, tag) {
      const answered = said(tag, answerMillis)
      child.send(question as object)
      return answered
    },
    kill: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve()
        child.once("exit", () => resolve())
        child.kill("SIGKILL")
      })
  }
}
