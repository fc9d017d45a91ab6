/** How long a unary call takes at half of the load that the base can bear. */
import * as Load from "../load/Load.ts"
import { quantile } from "../Ratio.ts"
import type { Contender, Flags, Run } from "../Run.ts"
import type { Measured } from "./rounds.ts"
import { load, servers } from "./servers.ts"

const rateMillis = 300

export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
}

/** The rate is measured on the base at the beginning of each generation. */
export const latency = <Name extends string>(
  run: Run,
  flags: Flags,
  contenders: { readonly [K in Name]: Contender },
  base: Name
): Promise<Measured<Name, Latency>> => {
  const perSecond = new Map<unknown, number>()
  let current = 1_000
  return servers(run, flags, contenders, Load.unary, async (side, name) => {
    if (name === base && !perSecond.has(side)) {
      const start = performance.now()
      const calls = await load(side, Load.unary, rateMillis)
      current = (calls * 1_000) / (performance.now() - start) / 2
      perSecond.set(side, current)
    }
    const latencies = await Promise.race([
      Load.paced(side.client.connections, run.windowMillis * 2, current),
      side.client.failure
    ])
    const sorted = Array.from(latencies)
    return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), perSecond: current }
  })
}
