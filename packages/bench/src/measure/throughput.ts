/** Server CPU per call, and calls per second, under full load. */
import type { Workload } from "../load/Load.ts"
import type { Contender, Flags, Run } from "../Run.ts"
import type { Measured } from "./rounds.ts"
import { load, servers } from "./servers.ts"

export interface Throughput {
  /** CPU time of the measured process for one call or message. */
  readonly cpuMicros: number
  readonly perSecond: number
}

export const throughput = <Name extends string>(
  run: Run,
  flags: Flags,
  contenders: { readonly [K in Name]: Contender },
  workload: Workload
): Promise<Measured<Name, Throughput>> =>
  servers(run, flags, contenders, workload, async (side) => {
    await load(side, workload, run.runInMillis)
    const before = await side.server.cpu()
    const closeWindow = run.noise.open()
    const start = performance.now()
    const count = await load(side, workload, run.windowMillis)
    const millis = performance.now() - start
    const cpuMicros = await side.server.cpu() - before
    closeWindow(cpuMicros / 1_000)
    return { cpuMicros: cpuMicros / count, perSecond: (count * 1_000) / millis }
  })
