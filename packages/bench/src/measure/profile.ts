/** Where the time of a server or of a client goes under load, beside that of its base. */
import type { ClientSpec } from "../ClientSpec.ts"
import * as Client from "../load/Client.ts"
import type { Workload } from "../load/Load.ts"
import type { ProfiledFunction } from "../Profile.ts"
import { type ClientContender, type Contender, noPretenuring, type Run, start, startClient } from "../Run.ts"
import { portOf, startPeer } from "./clients.ts"
import { load } from "./servers.ts"

/** What one process has used of CPU for a call or message, and for what. */
export interface Sample {
  readonly micros: number
  readonly functions: ReadonlyArray<ProfiledFunction>
}

const warmupMillis = 2_000
const profileMillis = 2_000
/** Processes of each side, one after the other in turn. */
const processes = 3

export const ofServer = async (run: Run, contender: Contender, workload: Workload): Promise<Sample> => {
  const server = await start(run, contender, noPretenuring.flags)
  try {
    const client = await Client.connect(server.at, contender.transport ?? "tcp", workload)
    try {
      const side = { server, client }
      await load(side, workload, warmupMillis)
      const end = await server.profile()
      const before = await server.cpu()
      const count = await load(side, workload, profileMillis)
      const micros = (await server.cpu() - before) / count
      return { micros, functions: await end() }
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
): Promise<Sample> => {
  const server = await startPeer(run)
  try {
    const client = await startClient(run, contender, noPretenuring.flags, method, portOf(server))
    try {
      await client.load(warmupMillis)
      const end = await client.profile()
      const { count, cpuMicros } = await client.load(profileMillis)
      return { micros: cpuMicros / count, functions: await end() }
    } finally {
      await client.kill()
    }
  } finally {
    await server.kill()
  }
}

/** Both sides in turn. */
export const pairs = async (
  subject: () => Promise<Sample>,
  base: () => Promise<Sample>
): Promise<{ readonly subject: ReadonlyArray<Sample>; readonly base: ReadonlyArray<Sample> }> => {
  const samples = { subject: [] as Array<Sample>, base: [] as Array<Sample> }
  for (let i = 0; i < processes; i++) {
    samples.base.push(await base())
    samples.subject.push(await subject())
  }
  return samples
}
