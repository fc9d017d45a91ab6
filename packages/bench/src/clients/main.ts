/** The process of one client: makes calls when the benchmark asks for them over IPC, and says what they cost it. */
import type { Answer, ClientSpec, Connect, Question } from "../ClientSpec.ts"
import type { ProfiledFunction } from "../Profile.ts"

const spec = JSON.parse(process.argv[2]!) as ClientSpec
// The benchmark may be gone.
const say = (answer: Answer): void => void process.send!(answer, undefined, undefined, () => {})

const { connect } = await import(`./${spec.library}.ts`) as { readonly connect: Connect }
const calls = await connect(spec)
say({ _tag: "Ready" })

let endProfile: (() => Promise<ReadonlyArray<ProfiledFunction>>) | undefined

process.on("disconnect", () => process.exit())
process.on("message", async (question: Question) => {
  switch (question._tag) {
    case "Load": {
      const before = process.cpuUsage()
      const start = performance.now()
      const count = await calls(question.millis)
      const millis = performance.now() - start
      const { system, user } = process.cpuUsage(before)
      return say({ _tag: "Loaded", count, millis, cpuMicros: system + user })
    }
    case "Profile": {
      const { profile } = await import("../Profile.ts")
      endProfile = await profile()
      return say({ _tag: "Profiling" })
    }
    case "EndProfile":
      return say({ _tag: "Profile", functions: await endProfile!() })
  }
})
