/** Where the time of a server or of a client goes under load. */
import type { ClientSpec } from "../ClientSpec.ts"
import * as Client from "../load/Client.ts"
import type { Workload } from "../load/Load.ts"
import type { ProfiledFunction } from "../Profile.ts"
import { type ClientContender, type Contender, noPretenuring, type Run, start, startClient } from "../Run.ts"
import { portOf, startPeer } from "./clients.ts"
import { load } from "./servers.ts"

const warmupMillis = 1_500
const profileMillis = 2_500

export const ofServer = async (
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

export const ofClient = async (
  run: Run,
  contender: ClientContender,
  method: ClientSpec["method"]
): Promise<ReadonlyArray<ProfiledFunction>> => {
  const server = await startPeer(run)
  try {
    const client = await startClient(run, contender, noPretenuring.flags, method, portOf(server))
    try {
      await client.load(warmupMillis)
      const end = await client.profile()
      await client.load(profileMillis)
      return await end()
    } finally {
      await client.kill()
    }
  } finally {
    await server.kill()
  }
}
