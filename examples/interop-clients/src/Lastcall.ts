/** Lastcall's client, in this process. */
import { TestService, UnimplementedService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import type { GrpcCredentialsError } from "@lastcall/grpc/GrpcCredentials"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { type Endpoint, host } from "./Endpoint.ts"
import { CaseFailed, type InteropClient } from "./InteropClient.ts"
import { type Clients, lastcallCases } from "./LastcallCases.ts"

const credentials = ({ ca, cert, key, transport }: Endpoint): GrpcChannel.Credentials => {
  switch (transport) {
    case "plaintext":
      return GrpcChannel.insecure
    case "TLS":
      return GrpcChannel.tls({ ca: readFileSync(ca, "utf8") })
    case "mTLS":
      return GrpcChannel.mtls({
        ca: readFileSync(ca, "utf8"),
        key: readFileSync(key, "utf8"),
        cert: readFileSync(cert, "utf8")
      })
  }
}

const clients: Effect.Effect<Clients, never, GrpcChannel.GrpcChannel> = Effect.all({
  test: GrpcClient.make(TestService),
  unimplemented: GrpcClient.make(UnimplementedService)
})

/** Clients on a channel of their own. */
export const connect = (server: Endpoint): Effect.Effect<Clients, GrpcCredentialsError, Scope.Scope> =>
  Effect.flatMap(
    Layer.build(GrpcChannel.layer({ address: `${host}:${server.port}`, credentials: credentials(server) })),
    (context) => Effect.provideContext(clients, context)
  )

export const lastcall: InteropClient = {
  name: "Lastcall",
  prepare: () =>
    Effect.succeed({
      run: (name, server) =>
        connect(server).pipe(
          Effect.flatMap((clients) => lastcallCases[name](clients)),
          Effect.scoped,
          Effect.timeout("30 seconds"),
          // Each stop of a channel is logged otherwise.
          Effect.provideService(References.MinimumLogLevel, "Error"),
          Effect.catchCause((cause) => Effect.fail(new CaseFailed({ message: Cause.pretty(cause) })))
        )
    })
}
