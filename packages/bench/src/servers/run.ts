/** The process of one server: listens, and answers what the benchmark asks over IPC. */
import type { ProfiledFunction } from "../Profile.ts"
import type { Answer, Question, Serve, ServerSpec } from "../ServerSpec.ts"

export const spec = JSON.parse(process.argv[2]!) as ServerSpec
// The benchmark may be gone.
const say = (answer: Answer): void => void process.send!(answer, undefined, undefined, () => {})
const cpuMicros = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

export const run = async (serve: Serve): Promise<void> => {
  const served = await serve(spec)
  say({ _tag: "Listening", at: served.at, millis: performance.now(), cpuMicros: cpuMicros() })

  let endProfile: (() => Promise<ReadonlyArray<ProfiledFunction>>) | undefined

  process.on("disconnect", () => process.exit())
  process.on("message", async (question: Question) => {
    switch (question) {
      case "sample":
        return say({ _tag: "Sample", cpuMicros: cpuMicros() })
      case "heap":
        globalThis.gc!()
        globalThis.gc!()
        return say({ _tag: "Heap", bytes: process.memoryUsage().heapUsed })
      case "stop":
      case "interrupt": {
        const start = performance.now()
        await served.stop(question === "interrupt")
        return say({ _tag: "Stopped", millis: performance.now() - start })
      }
      case "profile": {
        const { profile } = await import("../Profile.ts")
        endProfile = await profile()
        return say({ _tag: "Profiling" })
      }
      case "endProfile":
        return say({ _tag: "Profile", functions: await endProfile!() })
    }
  })
}
