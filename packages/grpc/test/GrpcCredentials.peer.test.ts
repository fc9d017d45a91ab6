import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcPeer from "@lastcall/grpc/GrpcPeer"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import * as tls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"
import * as Sockets from "./Sockets.ts"

const authority = Certificates.authority("the authority")
const serverIdentity = authority.issue("server")
const keyPair = { ...serverIdentity, clientCa: authority.cert }

const svid = (id: string) => authority.issue("a workload", { uris: [id] })
const web = svid("spiffe://example.org/web")
const admin = svid("spiffe://example.org/admin")

const channel = (identity: Certificates.Identity) =>
  grpc.credentials.createSsl(Buffer.from(authority.cert), Buffer.from(identity.key), Buffer.from(identity.cert))

const local = (credentials: GrpcCredentials.GrpcCredentials) =>
  GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials })

/** A client on a Unix socket has no host name that a certificate could prove. */
const byName: grpc.ChannelOptions = { "grpc.ssl_target_name_override": "localhost" }

const whoIsThere = {
  say: () =>
    Effect.map(GrpcCall, ({ peerIdentity }) => ({
      text: peerIdentity === undefined ? "nobody" : `${peerIdentity.spiffeId}, ${peerIdentity.subject}`
    }))
}

describe("the peer's identity", () => {
  it.live("is there for handlers, over TCP and over a Unix socket", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const credentials = GrpcCredentials.mtls(keyPair)
      for (
        const listen of [local(credentials), GrpcListener.unix(path.join(directory, "api.sock"), { credentials })]
      ) {
        const { target } = yield* EchoServer.make(whoIsThere, { listen })
        for (const name of ["web", "admin"]) {
          const client = yield* EchoClient.make(target, byName, channel(svid(`spiffe://example.org/${name}`)))
          assert.strictEqual(yield* EchoClient.say(client, ""), `spiffe://example.org/${name}, CN=a workload`)
        }
        const other = yield* EchoClient.make(target, byName, channel(authority.issue("no workload")))
        assert.strictEqual(yield* EchoClient.say(other, ""), "undefined, CN=no workload")
      }
    }))

  it.live("is not there without mTLS", () =>
    Effect.gen(function*() {
      const plain = yield* EchoServer.make(whoIsThere)
      assert.strictEqual(yield* EchoClient.say(yield* EchoClient.make(plain.target), ""), "nobody")
      const oneWay = yield* EchoServer.make(whoIsThere, { listen: local(GrpcCredentials.tls(serverIdentity)) })
      const client = yield* EchoClient.make(oneWay.target, {}, channel(web))
      assert.strictEqual(yield* EchoClient.say(client, ""), "nobody")
    }))
})

describe("a policy for peers", () => {
  const policies = [
    ["these SPIFFE IDs", GrpcPeer.hasSpiffeId("spiffe://example.org/web")],
    ["a trust domain", GrpcPeer.inTrustDomain("example.org")],
    ["a predicate", (peer: GrpcPeer.GrpcPeer) => peer.uris.includes("spiffe://example.org/web")]
  ] as const
  for (const [what, allow] of policies) {
    it.live(`of ${what} lets in whom it allows, and disconnects others before a byte of HTTP/2 is read`, () =>
      Effect.gen(function*() {
        const logs = Logs.make()
        const { close, server, target } = yield* Effect.provide(
          EchoServer.make({}, { listen: local(GrpcCredentials.mtls(keyPair, { allow })) }),
          logs.layer
        )
        const allowed = yield* EchoClient.make(target, {}, channel(web))
        assert.strictEqual(yield* EchoClient.say(allowed, "hello"), "hello")

        const stranger = yield* EchoClient.make(target, {}, channel(svid("spiffe://example.com/web")))
        const error = yield* Effect.flip(EchoClient.say(stranger, "hello"))
        assert.strictEqual(error.code, grpc.status.UNAVAILABLE)
        stranger.close()
        yield* logs.awaitLine("spiffe://example.com/web is not let in")
        yield* EchoServer.until("its connection is gone", () => server.connections() === 1)

        assert.strictEqual(yield* EchoClient.say(allowed, "hello"), "hello")
        assert.deepInclude((yield* close).counts, { admitted: 2, refused: 0 })
      }))
  }

  it.live("stands before native services and unknown methods too", () =>
    Effect.gen(function*() {
      const native = GrpcService.native(EchoClient.definition, {})
      const credentials = GrpcCredentials.mtls(keyPair, { allow: GrpcPeer.hasSpiffeId("spiffe://example.org/web") })
      const server = yield* GrpcServer.make("api", { services: [native], listen: [local(credentials)] })
      const target = GrpcListener.target(server.addresses()[0]!)
      const codeOf = (identity: Certificates.Identity) =>
        Effect.gen(function*() {
          const client = yield* EchoClient.make(target, {}, channel(identity))
          return (yield* Effect.flip(EchoClient.say(client, "hello"))).code
        })
      assert.strictEqual(yield* codeOf(web), grpc.status.UNIMPLEMENTED)
      assert.strictEqual(yield* codeOf(admin), grpc.status.UNAVAILABLE)
    }))

  it.live("is asked once for each connection, not for each RPC", () =>
    Effect.gen(function*() {
      let asked = 0
      const allow = () => ++asked > 0
      const { target } = yield* EchoServer.make({}, { listen: local(GrpcCredentials.mtls(keyPair, { allow })) })
      for (const n of [1, 2]) {
        const client = yield* EchoClient.make(target, {}, channel(web))
        for (let i = 0; i < 3; i++) yield* EchoClient.say(client, "hello")
        assert.strictEqual(asked, n)
      }
    }))

  it.live("is asked for a session that is resumed too, with the identity of its first handshake", () =>
    Effect.gen(function*() {
      const asked: Array<string | undefined> = []
      const allow = ({ spiffeId }: GrpcPeer.GrpcPeer) => asked.push(spiffeId) === 1
      const { port } = yield* EchoServer.make({}, { listen: local(GrpcCredentials.mtls(keyPair, { allow })) })
      const connect = (options: tls.ConnectionOptions) =>
        tls.connect({ port, host: "127.0.0.1", ca: authority.cert, ALPNProtocols: ["h2"], ...web, ...options })
          .on("error", () => {}).resume()
      const session = yield* Effect.callback<Buffer>((resume) => {
        const socket = connect({})
        socket.once("session", (session) => {
          resume(Effect.succeed(session))
          socket.destroy()
        })
      })
      let isResumed = false
      const resumed = connect({ session })
      resumed.once("secureConnect", () => {
        isResumed = resumed.isSessionReused()
      })
      yield* EchoServer.until("the resumed one is disconnected", () => resumed.destroyed)
      assert.isTrue(isResumed)
      assert.deepStrictEqual(asked, ["spiffe://example.org/web", "spiffe://example.org/web"])
    }))

  it.live("that throws lets nobody in, and the server lives", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const allow = (peer: GrpcPeer.GrpcPeer): boolean => {
        if (peer.spiffeId === "spiffe://example.org/web") return true
        throw new Error("a mistake")
      }
      const { target } = yield* Effect.provide(
        EchoServer.make({}, { listen: local(GrpcCredentials.mtls(keyPair, { allow })) }),
        logs.layer
      )
      const refused = yield* EchoClient.make(target, {}, channel(admin))
      assert.strictEqual((yield* Effect.flip(EchoClient.say(refused, "hello"))).code, grpc.status.UNAVAILABLE)
      yield* logs.awaitLine("the policy threw")
      const client = yield* EchoClient.make(target, {}, channel(web))
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))
})
