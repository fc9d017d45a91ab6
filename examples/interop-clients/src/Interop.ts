/** Clients by cases by transports. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Endpoint, Transport } from "./Endpoint.ts"
import { type CaseName, caseNames } from "./InteropCases.ts"
import type { InteropClient, Prepared, Skipped } from "./InteropClient.ts"

export type Outcome = "passed" | "failed" | "skipped"

/** What became of one case. */
export interface Trial {
  readonly client: string
  readonly transport: Transport
  readonly name: CaseName
  readonly outcome: Outcome
  /** Why it was not passed. */
  readonly why: string | undefined
}

/** Runs all cases of a client against all servers, one after the other. */
export const run = (
  { name: client, prepare }: InteropClient,
  options: { readonly directory: string; readonly servers: ReadonlyArray<Endpoint> }
): Effect.Effect<ReadonlyArray<Trial>> =>
  Effect.gen(function*() {
    const prepared = yield* Effect.result(prepare(options.directory))
    const trials: Array<Trial> = []
    for (const server of options.servers) {
      for (const name of caseNames) {
        const end = yield* tryOne(prepared, name, server)
        trials.push({ client, transport: server.transport, name, ...end })
      }
    }
    return trials
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
