/** A server in a process of its own, on a core of its own where `taskset` is there. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import type { Address, Answer, ProfiledFunction, Question, ServerSpec } from "./ServerSpec.ts"

export interface ServerProcess {
  readonly at: Address
  /** From the start of the process until it listened: in time, and of CPU. */
  readonly coldStart: { readonly millis: number; readonly cpuMicros: number }
  /** The CPU time of the process so far, in microseconds. */
  readonly cpu: () => Promise<number>
  /** The bytes of the heap that are in use after a full collection. Needs the flag `--expose-gc`. */
  readonly heap: () => Promise<number>
  /** How long its stop took, in milliseconds. */
  readonly stop: (how?: "interrupt") => Promise<number>
  /** Begins a CPU profile; what it returns ends it. */
  readonly profile: () => Promise<() => Promise<ReadonlyArray<ProfiledFunction>>>
  /** Ends the process. */
  readonly kill: () => Promise<void>
}

const hasTaskset = spawnSync("taskset", ["--version"]).status === 0

/** The servers' core and the load's; `undefined` where processes cannot be bound. */
export const cores: { readonly server: number; readonly load: number } | undefined = hasTaskset
  ? { server: 0, load: 1 }
  : undefined

/** Binds this process, which makes the load, to its core. */
export const bindLoad = (): void => {
  if (cores !== undefined) spawnSync("taskset", ["-a", "-p", "-c", String(cores.load), String(process.pid)])
}

const startMillis = 20_000
const answerMillis = 60_000

export const start = async (
  main: string,
  spec: ServerSpec,
  flags: ReadonlyArray<string>,
  isBound: boolean
): Promise<ServerProcess> => {
  const command = [process.execPath, ...flags, main, JSON.stringify(spec)]
  if (isBound && cores !== undefined) command.unshift("taskset", "-c", String(cores.server))
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const kill = (): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve()
      child.once("exit", () => resolve())
      child.kill("SIGKILL")
    })
  try {
    const listening = await answer(child, "Listening", startMillis)
    const ask = async <T extends Answer["_tag"]>(question: Question, tag: T) => {
      const answered = answer(child, tag, answerMillis)
      child.send(question)
      return answered
    }
    return {
      at: listening.at,
      coldStart: { millis: listening.millis, cpuMicros: listening.cpuMicros },
      cpu: async () => (await ask("sample", "Sample")).cpuMicros,
      heap: async () => (await ask("heap", "Heap")).bytes,
      stop: async (how) => (await ask(how ?? "stop", "Stopped")).millis,
      profile: async () => {
        await ask("profile", "Profiling")
        return async () => (await ask("endProfile", "Profile")).functions
      },
      kill
    }
  } catch (cause) {
    await kill()
    throw cause
  }
}

const answer = <T extends Answer["_tag"]>(
  child: ChildProcess,
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
      reject(new Error(`a server process ended with code ${code}`))
    }
    const timer = setTimeout(() => {
      over()
      reject(new Error(`a server process did not say ${tag} within ${millis} ms`))
    }, millis)
    child.on("message", onMessage)
    child.once("exit", onExit)
  })
