/** Where a server's time goes under load. */
import * as Client from "../load/Client.ts"
import type { Workload } from "../load/Load.ts"
import { type Contender, noPretenuring, type Run, start } from "../Run.ts"
import type { ProfiledFunction } from "../ServerSpec.ts"
import { load } from "./rounds.ts"

const warmupMillis = 1_500
const profileMillis = 2_500

export const profile = async (
  run: Run,
  contender: Contender,
  workload: Workload
): Promise<ReadonlyArray<ProfiledFunction>> => {
  const server = await start(run, contender, noPretenuring.flags)
  try {
    const client = await Client.connect(server.at, contender.transport ?? "tcp", workload)
    try {
      const side = { server, client }
      await load(side, workload, warmupMillis)
      const end = await server.profile()
      await load(side, workload, profileMillis)
      return await end()
    } finally {
      client.close()
    }
  } finally {
    await server.kill()
  }
}
