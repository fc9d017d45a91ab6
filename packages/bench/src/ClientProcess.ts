/** A client in a process of its own. */
import * as Child from "./Child.ts"
import type { Answer, ClientSpec, Loaded, Question } from "./ClientSpec.ts"
import type { ProfiledFunction } from "./Profile.ts"

export interface ClientProcess {
  /** Makes its calls for about so long. */
  readonly load: (millis: number) => Promise<Loaded>
  /** Begins a CPU profile; what it returns ends it. */
  readonly profile: () => Promise<() => Promise<ReadonlyArray<ProfiledFunction>>>
  /** Ends the process. */
  readonly kill: () => Promise<void>
}

const startMillis = 20_000

export const start = async (
  main: string,
  spec: ClientSpec,
  flags: ReadonlyArray<string>,
  role: Child.Role
): Promise<ClientProcess> => {
  const { ask, kill, said } = Child.start<Question, Answer>(main, spec, flags, role)
  try {
    await said("Ready", startMillis)
    return {
      load: (millis) => ask({ _tag: "Load", millis }, "Loaded"),
      profile: async () => {
        await ask({ _tag: "Profile" }, "Profiling")
        return async () => (await ask({ _tag: "EndProfile" }, "Profile")).functions
      },
      kill
    }
  } catch (cause) {
    await kill()
    throw cause
  }
}
