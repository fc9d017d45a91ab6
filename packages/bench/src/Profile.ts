/** A CPU profile of this process, summed up by function. */
import { Session } from "node:inspector/promises"

/** A function of a CPU profile, and its own share of the time that the process was busy. */
export interface ProfiledFunction {
  readonly name: string
  readonly file: string
  readonly share: number
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
        name: functionName === "" ? "(anonymous)" : functionName,
        file: url === "" ? "" : `${url.replace(/^.*node_modules\//, "").replace(/^.*\/src\//, "")}:${lineNumber + 1}`
      }
    ]))
    const micros = new Map<string, { readonly name: string; readonly file: string; micros: number }>()
    let busy = 0
    profile.samples?.forEach((id, i) => {
      const { file, name } = names.get(id)!
      // Its own start is in it.
      if (name === "(idle)" || file.startsWith("node:inspector")) return
      const delta = profile.timeDeltas![i]!
      busy += delta
      const key = `${name} ${file}`
      const entry = micros.get(key) ?? { name, file, micros: 0 }
      entry.micros += delta
      micros.set(key, entry)
    })
    return Array.from(micros.values(), ({ file, micros, name }) => ({ name, file, share: micros / busy }))
      .toSorted((a, b) => b.share - a.share)
  }
}
