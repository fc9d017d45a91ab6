/** A server in a process of its own. */
import * as Child from "./Child.ts"
import type { ProfiledFunction } from "./Profile.ts"
import type { Address, Answer, Question, ServerSpec } from "./ServerSpec.ts"

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

const startMillis = 20_000

export const start = async (
  main: string,
  spec: ServerSpec,
  flags: ReadonlyArray<string>,
  role: Child.Role
): Promise<ServerProcess> => {
  const { ask, kill, said } = Child.start<Question, Answer>(main, spec, flags, role)
  try {
    const listening = await said("Listening", startMillis)
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
