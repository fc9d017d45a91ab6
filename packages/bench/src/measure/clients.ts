/** CPU of a client's process per call, and calls per second: clients side by side, all of one server on raw HTTP/2. */
import type { ClientProcess } from "../ClientProcess.ts"
import type { ClientSpec } from "../ClientSpec.ts"
import { type ClientContender, type Flags, type Run, start, startClient } from "../Run.ts"
import type { ServerProcess } from "../ServerProcess.ts"
import { type Measured, rounds } from "./rounds.ts"
import type { Throughput } from "./throughput.ts"

interface Side {
  readonly client: ClientProcess
  readonly server: ServerProcess
}

export const clients = <Name extends string>(
  run: Run,
  { flags }: Flags,
  contenders: { readonly [K in Name]: ClientContender },
  method: ClientSpec["method"]
): Promise<Measured<Name, Throughput>> =>
  rounds(
    run,
    Object.keys(contenders) as Array<Name>,
    async (closing) => {
      const server = await startPeer(run)
      closing(server.kill)
      return async (name): Promise<Side> => {
        const client = await startClient(run, contenders[name], flags, method, portOf(server))
        closing(client.kill)
        await client.load(run.warmupMillis)
        return { client, server }
      }
    },
    async ({ client, server }) => {
      const before = await server.cpu()
      const closeWindow = run.noise.open()
      await client.load(run.runInMillis)
      const { count, cpuMicros, millis } = await client.load(run.windowMillis)
      closeWindow((cpuMicros + await server.cpu() - before) / 1_000)
      return { cpuMicros: cpuMicros / count, perSecond: (count * 1_000) / millis }
    }
  )

/** It needs less CPU for a call than the clients, so that they set the pace. */
export const startPeer = (run: Run): Promise<ServerProcess> => start(run, { library: "http2" }, [], "peer")

export const portOf = ({ at }: ServerProcess): number => {
  if (at._tag !== "Tcp") throw new Error("clients are measured over TCP")
  return at.port
}
