/** A bare grpc-js server of the test service, for what a server of ours does not do. */
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as EchoClient from "./EchoClient.ts"

export type Say = grpc.handleUnaryCall<{ readonly text: string }, { readonly text: string }>

/** Serves the unary method; the target to dial. */
export const make = (say: Say): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: grpc.Server; readonly port: number }>((resume) => {
        const server = new grpc.Server()
        const unserved = () => {
          throw new Error("not served")
        }
        server.addService(EchoClient.definition, { say, count: unserved, sum: unserved, chat: unserved })
        server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) =>
          resume(error === null ? Effect.succeed({ server, port }) : Effect.die(error)))
      }),
      ({ server }) =>
        Effect.sync(() =>
          server.forceShutdown()
        )
    ),
    ({ port }) => `127.0.0.1:${port}`
  )

/** Answers with an error that tells the client when to try again, or not to. */
export const pushback = (code: grpc.status, pushbackMillis: string): Partial<grpc.StatusObject> => {
  const metadata = new grpc.Metadata()
  metadata.set("grpc-retry-pushback-ms", pushbackMillis)
  return { code, details: "pushed back", metadata }
}
