/** A client of `grpc.health.v1`, by hand. */
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { target } from "./Client.ts"
import type { Address } from "./Plan.ts"
import { Failed, inTime } from "./Scenario.ts"

export const serving = 1
export const notServing = 2

/** The field 1 of the answer, an enum; what is 0 is not sent. */
const statusOf = (bytes: Buffer): number => bytes[1] ?? 0
const nothing = () => Buffer.alloc(0)

const make = (at: Address) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new grpc.Client(target(at), grpc.credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 })
    ),
    (client) => Effect.sync(() => client.close())
  )

/** The status of the whole server, asked over a connection of its own. */
export const check = (at: Address): Effect.Effect<number, Failed> =>
  Effect.scoped(Effect.flatMap(make(at), (client) =>
    inTime(
      Effect.callback<number, Failed>((resume) => {
        client.makeUnaryRequest("/grpc.health.v1.Health/Check", nothing, statusOf, null, (error, status) =>
          resume(
            error === null
              ? Effect.succeed(status ?? 0)
              : Effect.fail(new Failed({ how: `a health check failed: ${error.message}` }))
          ))
      }),
      "a health check was not answered"
    )))

export interface Watch {
  readonly statuses: ReadonlyArray<number>
  /** The code that it ended with. */
  readonly code: () => grpc.status | undefined
}

export const watch = (at: Address): Effect.Effect<Watch, never, Scope.Scope> =>
  Effect.map(make(at), (client) => {
    const statuses: Array<number> = []
    let code: grpc.status | undefined
    const call = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", nothing, statusOf, null)
    call.on("data", (status: number) => statuses.push(status))
    call.on("error", () => {})
    call.on("status", (status: grpc.StatusObject) => {
      code = status.code
    })
    return { statuses, code: () => code }
  })
