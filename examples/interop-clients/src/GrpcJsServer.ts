/** A bare grpc-js server in this process. */
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { type Transport, transports } from "./Endpoint.ts"
import * as GrpcJsService from "./GrpcJsService.ts"
import { endpoint, type Files, type PeerServer } from "./PeerServer.ts"

const credentials = (transport: Transport, { ca, server }: Files): grpc.ServerCredentials => {
  if (transport === "plaintext") return grpc.ServerCredentials.createInsecure()
  const pair = { private_key: readFileSync(server.key), cert_chain: readFileSync(server.cert) }
  return transport === "TLS"
    ? grpc.ServerCredentials.createSsl(null, [pair])
    : grpc.ServerCredentials.createSsl(readFileSync(ca), [pair], true)
}

/** Its port. */
const serve = (credentials: grpc.ServerCredentials): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: grpc.Server; readonly port: number }>((resume) => {
      const server = new grpc.Server()
      GrpcJsService.addTo(server)
      server.bindAsync("127.0.0.1:0", credentials, (error, port) =>
        resume(error === null ? Effect.succeed({ server, port }) : Effect.die(error)))
    }),
    ({ server }) =>
      Effect.sync(() =>
        server.forceShutdown()
      )
  ).pipe(Effect.map(({ port }) => port))

export const grpcJsServer: PeerServer = {
  name: "grpc-js",
  start: (_, files) =>
    Effect.forEach(
      transports,
      (transport) => Effect.map(serve(credentials(transport, files)), (port) => endpoint(transport, port, files))
    )
}
