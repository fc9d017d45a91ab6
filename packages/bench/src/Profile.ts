/** A CPU profile of this process, summed up by function. */
import { Session } from "node:inspector/promises"

/** A function of a CPU profile, and its own share of the time that the process was busy. */
export interface ProfiledFunction {
  readonly owner: string
  readonly name: string
  readonly file: string
  readonly share: number
}

/** Whose code it is: a package, what Node or V8 have natively, or the measured program itself. */
export const ownerOf = (name: string, url: string): string => {
  if (name === "(garbage collector)") return "collector"
  if (url === "") return "native"
  if (url.startsWith("node:")) return "Node"
  const packages = /^.*\/node_modules\/(@[^/]+\/[^/]+|[^/]+)\//.exec(url)
  if (packages === null) return "program"
  const owner = packages[1]!
  return owner.startsWith("@lastcall/") ? "Lastcall" : owner === "effect" ? "Effect" : owner.replace(/^@grpc\//, "")
}

export const profile = async (): Promise<() => Promise<ReadonlyArray<ProfiledFunction>>> => {
  const session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 250 })
  await session.post("Profiler.start")
  return async () => {
    const { profile } = await session.post("Profiler.stop")
    session.disconnect()
    const names = new Map(profile.nodes.map(({ callFrame: { functionName, lineNumber, url }, id }) => [
      id,
      {
        owner: ownerOf(functionName, url),
        name: functionName === "" ? "(anonymous)" : functionName,
        file: url === "" ? "" : `${url.replace(/^.*node_modules\//, "").replace(/^.*\/src\//, "")}:${lineNumber + 1}`
      }
    ]))
    const micros = new Map<string, Omit<ProfiledFunction, "share"> & { micros: number }>()
    let busy = 0
    profile.samples?.forEach((id, i) => {
      const { file, name, owner } = names.get(id)!
      // Its own start is in it.
      if (name === "(idle)" || file.startsWith("node:inspector")) return
      const delta = profile.timeDeltas![i]!
      busy += delta
      const key = `${name} ${file}`
      const entry = micros.get(key) ?? { owner, name, file, micros: 0 }
      entry.micros += delta
      micros.set(key, entry)
    })
    return Array.from(micros.values(), ({ file, micros, name, owner }) => ({ owner, name, file, share: micros / busy }))
      .toSorted((a, b) => b.share - a.share)
  }
}
