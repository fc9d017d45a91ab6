/** Servers side by side: all are started, then each is measured in every round, A B C A B C. */
import * as Client from "../load/Client.ts"
import type { Workload } from "../load/Load.ts"
import { type Contender, type Flags, type Run, start } from "../Run.ts"
import type * as ServerProcess from "../ServerProcess.ts"

export interface Side {
  readonly server: ServerProcess.ServerProcess
  readonly client: Client.Client
}

/** One measurement of each contender in each round, by its name and in order. */
export type Measured<Name extends string, A> = { readonly [K in Name]: ReadonlyArray<A> }

export const rounds = async <Name extends string, A>(
  run: Run,
  { flags }: Flags,
  contenders: { readonly [K in Name]: Contender },
  workload: Workload,
  measure: (side: Side, name: Name) => Promise<A>
): Promise<Measured<Name, A>> => {
  const names = Object.keys(contenders) as Array<Name>
  const measured = Object.fromEntries(names.map((name) => [name, []])) as unknown as { [K in Name]: Array<A> }
  for (let generation = 0; generation < run.generations; generation++) {
    const sides = new Map<Name, Side>()
    const servers: Array<ServerProcess.ServerProcess> = []
    try {
      for (const name of names) {
        const server = await start(run, contenders[name], flags)
        servers.push(server)
        const client = await Client.connect(server.at, contenders[name].transport ?? "tcp", workload)
        sides.set(name, { server, client })
        await load({ server, client }, workload, run.warmupMillis)
      }
      // After a process has been idle its first windows are slow again.
      for (let round = -run.warmupRounds; round < run.rounds; round++) {
        for (const [name, side] of sides) {
          const value = await measure(side, name)
          if (round >= 0) measured[name].push(value)
        }
      }
    } finally {
      for (const { client } of sides.values()) client.close()
      await Promise.all(servers.map((server) => server.kill()))
    }
  }
  return measured
}

/** The load for so long, unless a connection fails. */
export const load = ({ client }: Side, workload: Workload, millis: number): Promise<number> =>
  Promise.race([workload.load(client.connections, millis), client.failure])
