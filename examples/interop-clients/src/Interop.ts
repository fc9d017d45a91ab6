/** Clients and servers by cases by transports. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { type Endpoint, type Transport, transports } from "./Endpoint.ts"
import { type CaseName, caseNames } from "./InteropCases.ts"
import type { InteropClient, Prepared, Skipped } from "./InteropClient.ts"
import { endpoint, type Files, type PeerServer } from "./PeerServer.ts"

export type Outcome = "passed" | "failed" | "skipped"

/** What became of one case. */
export interface Trial {
  /** The other side of Lastcall: a client of its server, or a server of its client. */
  readonly peer: string
  readonly transport: Transport
  readonly name: CaseName
  readonly outcome: Outcome
  /** Why it was not passed. */
  readonly why: string | undefined
}

/** Runs all cases of a client against all servers, one after the other. */
export const run = (
  { name: peer, prepare }: InteropClient,
  options: { readonly directory: string; readonly servers: ReadonlyArray<Endpoint> }
): Effect.Effect<ReadonlyArray<Trial>> =>
  Effect.gen(function*() {
    const prepared = yield* Effect.result(prepare(options.directory))
    const trials: Array<Trial> = []
    for (const server of options.servers) {
      for (const name of caseNames) {
        const end = yield* tryOne(prepared, name, server)
        trials.push({ peer, transport: server.transport, name, ...end })
      }
    }
    return trials
  })

/** Runs all cases of a client against a server that is started for it. */
export const runAgainst = (
  server: PeerServer,
  client: InteropClient,
  options: { readonly directory: string; readonly files: Files }
): Effect.Effect<ReadonlyArray<Trial>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { cannot, name, start } = server
    const started = yield* Effect.result(start(options.directory, options.files))
    const endpoints = Result.isSuccess(started) ? started.success : []
    return yield* run({
      name,
      prepare: (directory) =>
        Result.isFailure(started)
          ? Effect.fail(started.failure)
          : Effect.map(client.prepare(directory), ({ run }) => cannot === undefined ? { run } : { run, cannot })
    }, {
      directory: options.directory,
      servers: transports.map((transport) =>
        endpoints.find((endpoint) => endpoint.transport === transport) ?? endpoint(transport, 0, options.files)
      )
    })
  })

const tryOne = (
  prepared: Result.Result<Prepared, Skipped>,
  name: CaseName,
  server: Endpoint
): Effect.Effect<Pick<Trial, "outcome" | "why">> => {
  if (Result.isFailure(prepared)) return Effect.succeed({ outcome: "skipped", why: prepared.failure.message })
  const { cannot, run } = prepared.success
  const why = cannot?.[server.transport]
  if (why !== undefined) return Effect.succeed({ outcome: "skipped", why })
  return Effect.match(run(name, server), {
    onSuccess: () => ({ outcome: "passed", why: undefined }),
    onFailure: ({ message }) => ({ outcome: "failed", why: message })
  })
}
