/** A bare grpc-js client of `grpc.health.v1`. */
import * as grpc from "@grpc/grpc-js"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as EchoClient from "./EchoClient.ts"

interface Response {
  readonly status: number
}

type Callback<A> = (error: grpc.ServiceError | null, response?: A) => void

export interface HealthClient extends grpc.Client {
  check(request: { service: string }, callback: Callback<Response>): grpc.ClientUnaryCall
  list(request: object, callback: Callback<{ readonly statuses: Record<string, Response> }>): grpc.ClientUnaryCall
  watch(request: { service: string }): grpc.ClientReadableStream<Response>
}

const Client = grpc.makeClientConstructor(
  EchoClient.definitionOf(GrpcHealth.Health.descriptor),
  "grpc.health.v1.Health"
)

const name = ({ status }: Response): string => ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"][status]!

export const make = (target: string): Effect.Effect<HealthClient, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new Client(target, grpc.credentials.createInsecure(), {
        "grpc.use_local_subchannel_pool": 1
      }) as unknown as HealthClient
    ),
    (client) => Effect.sync(() => client.close())
  )

export const check = (client: HealthClient, service = ""): Effect.Effect<string, EchoClient.StatusError> =>
  Effect.callback((resume) => {
    client.check(
      { service },
      (error, response) =>
        resume(error === null ? Effect.succeed(name(response!)) : Effect.fail(EchoClient.toStatusError(error)))
    )
  })

/** A check over a connection of its own, as a poller does. */
export const poll = (target: string): Effect.Effect<string, EchoClient.StatusError> =>
  Effect.scoped(Effect.flatMap(make(target), (client) => check(client)))

export const list = (
  client: HealthClient
): Effect.Effect<{ readonly [service: string]: string }, EchoClient.StatusError> =>
  Effect.callback((resume) => {
    client.list({}, (error, response) =>
      resume(
        error === null
          ? Effect.succeed(
            Object.fromEntries(Object.entries(response!.statuses).map(([service, status]) => [service, name(status)]))
          )
          : Effect.fail(EchoClient.toStatusError(error))
      ))
  })

/** A watch that is open: what it has seen, and the code of its end. */
export interface Watching {
  readonly seen: ReadonlyArray<string>
  readonly end: Effect.Effect<number>
}

export const watch = (client: HealthClient, service = ""): Watching => {
  const seen: Array<string> = []
  const end = Deferred.makeUnsafe<number>()
  const call = client.watch({ service })
  call.on("data", (response: Response) => seen.push(name(response)))
  call.on("error", () => {})
  call.on("status", ({ code }: grpc.StatusObject) => Deferred.doneUnsafe(end, Effect.succeed(code)))
  return { seen, end: Deferred.await(end) }
}
