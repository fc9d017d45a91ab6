import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as InteropServer from "@lastcall/example-interop-server/InteropServer"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Certificates from "../../../packages/grpc/test/Certificates.ts"
import { caseNames, interopCases } from "../src/InteropCases.ts"
import * as NodeClient from "../src/NodeClient.ts"

class Client extends Context.Service<Client, grpc.Client>()("interop/Client") {}

/** The server, and a client of it. */
const layer = (
  server: GrpcCredentials.GrpcCredentials,
  client: grpc.ChannelCredentials
): Layer.Layer<Client, GrpcListener.GrpcListenerError> =>
  Layer.effect(
    Client,
    Effect.gen(function*() {
      const port = Deferred.makeUnsafe<number>()
      yield* Layer.build(InteropServer.layer({
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials: server })],
        onListening: ({ addresses }) => {
          const address = addresses()[0]!
          return Deferred.succeed(port, address._tag === "Tcp" ? address.port : 0)
        }
      }))
      return yield* NodeClient.make(`localhost:${yield* Deferred.await(port)}`, client)
    })
  )

const authority = Certificates.authority("interop")
const ca = Buffer.from(authority.cert)
const server = authority.issue("server")
const client = authority.issue("client")

const transports: ReadonlyArray<
  readonly [name: string, server: GrpcCredentials.GrpcCredentials, client: grpc.ChannelCredentials]
> = [
  ["plaintext", GrpcCredentials.insecure, grpc.credentials.createInsecure()],
  ["TLS", GrpcCredentials.tls(server), grpc.credentials.createSsl(ca)],
  [
    "mTLS",
    GrpcCredentials.mtls({ ...server, clientCa: authority.cert }),
    grpc.credentials.createSsl(ca, Buffer.from(client.key), Buffer.from(client.cert))
  ]
]

describe("the official interoperability cases", () => {
  it("are fourteen", () => {
    assert.strictEqual(caseNames.length, 14)
  })

  for (const [name, server, client] of transports) {
    it.layer(layer(server, client), { excludeTestServices: true })(`over ${name}`, (it) => {
      for (const name of caseNames) {
        it.effect(name, () => Effect.flatMap(Client, (client) => interopCases[name](client)))
      }
    })
  }
})
