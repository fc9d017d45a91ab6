/** Servers side by side, each with the connections of its load. */
import * as Client from "../load/Client.ts"
import type { Workload } from "../load/Load.ts"
import { type Contender, type Flags, type Run, start } from "../Run.ts"
import type * as ServerProcess from "../ServerProcess.ts"
import { type Measured, rounds } from "./rounds.ts"

export interface Side {
  readonly server: ServerProcess.ServerProcess
  readonly client: Client.Client
}

export const servers = <Name extends string, A>(
  run: Run,
  { flags }: Flags,
  contenders: { readonly [K in Name]: Contender },
  workload: Workload,
  measure: (side: Side, name: Name) => Promise<A>
): Promise<Measured<Name, A>> =>
  rounds(
    run,
    Object.keys(contenders) as Array<Name>,
    async (closing) => async (name) => {
      const server = await start(run, contenders[name], flags)
      closing(server.kill)
      const client = await Client.connect(server.at, contenders[name].transport ?? "tcp", workload)
      closing(client.close)
      const side = { server, client }
      await load(side, workload, run.warmupMillis)
      return side
    },
    measure
  )

/** The load for so long, unless a connection fails. */
export const load = ({ client }: Side, workload: Workload, millis: number): Promise<number> =>
  Promise.race([workload.load(client.connections, millis), client.failure])
