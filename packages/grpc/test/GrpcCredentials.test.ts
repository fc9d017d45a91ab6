import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as http2 from "node:http2"
import * as path from "node:path"
import * as tls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as FourKinds from "./FourKinds.ts"
import * as Sockets from "./Sockets.ts"

const authority = Certificates.authority("the authority")
const stranger = Certificates.authority("a stranger")
const serverIdentity = authority.issue("server")
const clientIdentity = authority.issue("client")

const oneWay = GrpcCredentials.tls(serverIdentity)
const mutual = GrpcCredentials.mtls({ ...serverIdentity, clientCa: authority.cert })

const channel = (identity?: Certificates.Identity) =>
  grpc.credentials.createSsl(
    Buffer.from(authority.cert),
    ...(identity === undefined ? [] : [Buffer.from(identity.key), Buffer.from(identity.cert)] as const)
  )

const local = (credentials: GrpcCredentials.GrpcCredentials) =>
  GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials })

const overUnixSocket = (credentials?: GrpcCredentials.GrpcCredentials) =>
  Effect.map(Sockets.directory, (directory) => GrpcListener.unix(path.join(directory, "api.sock"), { credentials }))

/** A client on a Unix socket has no host name that a certificate could prove. */
const byName: grpc.ChannelOptions = { "grpc.ssl_target_name_override": "localhost" }

const transports = [
  { name: "plaintext", listen: Effect.succeed(local(GrpcCredentials.insecure)), credentials: undefined, options: {} },
  { name: "TLS", listen: Effect.succeed(local(oneWay)), credentials: channel(), options: {} },
  { name: "mTLS", listen: Effect.succeed(local(mutual)), credentials: channel(clientIdentity), options: {} },
  { name: "a Unix socket", listen: overUnixSocket(), credentials: undefined, options: {} },
  { name: "TLS over a Unix socket", listen: overUnixSocket(oneWay), credentials: channel(), options: byName },
  {
    name: "mTLS over a Unix socket",
    listen: overUnixSocket(mutual),
    credentials: channel(clientIdentity),
    options: byName
  }
] as const

describe("every transport", () => {
  for (const { credentials, listen, name, options } of transports) {
    it.live(`scenario 72: ${name} serves all four kinds, and stops gracefully with an RPC in flight`, () =>
      Effect.gen(function*() {
        const gate = yield* EchoServer.makeGate
        const listener = yield* listen
        const { close, server, target } = yield* EchoServer.make({
          say: ({ text }) => text === "wait" ? Effect.as(gate.pass, { text }) : Effect.succeed({ text })
        }, { listen: listener })
        const client = yield* EchoClient.make(target, options, credentials)
        yield* FourKinds.expectServed(client)

        const rpc = yield* Effect.forkChild(EchoClient.say(client, "wait"))
        yield* gate.reached
        const closing = yield* Effect.forkChild(close)
        yield* EchoServer.until("nothing new is admitted", () => !server.isAdmitting())
        yield* gate.open
        assert.strictEqual(yield* Fiber.join(rpc), "wait")
        const report = yield* Fiber.join(closing)
        assert.strictEqual(report.outcome, "graceful")
        assert.deepInclude(report.counts, { admitted: 5, succeeded: 5 })
        assert.strictEqual(server.connections(), 0)
      }))
  }
})

/** The error of a server that cannot listen with these credentials. */
const refused = (credentials: GrpcCredentials.GrpcCredentials) =>
  Effect.flip(Effect.scoped(Effect.asVoid(GrpcServer.make("api", { services: [], listen: [local(credentials)] }))))

describe("credentials that cannot work", () => {
  const { cert, key } = serverIdentity
  const notACertificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
  const cases: ReadonlyArray<readonly [string, GrpcCredentials.GrpcCredentials, string?]> = [
    ["a key of another certificate", GrpcCredentials.tls({ key: clientIdentity.key, cert })],
    ["a key that cannot be read", GrpcCredentials.tls({ key: "no key", cert })],
    ["an empty key", GrpcCredentials.tls({ key: "", cert })],
    ["a key of spaces", GrpcCredentials.tls({ key: " \n", cert }), "key is empty"],
    [
      "a certificate that cannot be read",
      GrpcCredentials.tls({ key, cert: notACertificate }),
      "cert holds a certificate that cannot be read"
    ],
    ["an empty certificate", GrpcCredentials.tls({ key, cert: "" })],
    ["a chain with a part that cannot be read", GrpcCredentials.tls({ key, cert: cert + notACertificate })],
    ["an authority that cannot be read", GrpcCredentials.mtls({ key, cert, clientCa: notACertificate })],
    ["an authority that is no PEM", GrpcCredentials.mtls({ key, cert, clientCa: "no certificate" })],
    ["an empty authority", GrpcCredentials.mtls({ key, cert, clientCa: new Uint8Array(0) })]
  ]
  for (const [what, credentials, detail = ""] of cases) {
    it.live(`fail the server when it is made: ${what}`, () =>
      Effect.gen(function*() {
        const error = yield* refused(credentials)
        assert.strictEqual(error.reason, "InvalidCredentials")
        assert.include(error.message, detail)
      }))
  }

  it("of a channel: a key of spaces is none", () => {
    assert.throws(() => GrpcCredentials.clientContextOptions({ key: "\n", cert }), "key is empty")
  })

  it.live("may be given as bytes, and as a chain with words between", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({}, {
        listen: local(GrpcCredentials.tls({
          key: new TextEncoder().encode(key),
          cert: new TextEncoder().encode(`subject=server\n${cert}\nsubject=authority\n${authority.cert}`)
        }))
      })
      const client = yield* EchoClient.make(target, {}, channel())
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))
})

describe("durations that make no sense", () => {
  const paths = { key: "/no/tls.key", cert: "/no/tls.crt" }
  const source = { ...serverIdentity, clientCa: authority.cert }
  for (
    const [duration, reason] of [
      [Number.NaN, "not a duration"],
      [{ minutes: Number.NaN }, "not a duration"],
      ["1 minut" as never, "not a duration"],
      [0, "must be longer than 0"],
      [-5, "must be longer than 0"],
      ["-Infinity", "must be longer than 0"]
    ] as const
  ) {
    it(`${duration} is refused for a handshake, and between readings of files`, () => {
      for (
        const [option, make] of [
          ["handshakeTimeout", () => GrpcCredentials.tls(source, { handshakeTimeout: duration })],
          ["handshakeTimeout", () => GrpcCredentials.mtls(source, { handshakeTimeout: duration })],
          ["every", () => GrpcCredentials.files({ ...paths, every: duration })]
        ] as const
      ) {
        assert.throws(
          make,
          GrpcCredentials.GrpcCredentialsError,
          `${option} is ${Formatter.format(duration)}: ${reason}`
        )
      }
    })
  }

  it("what is long is not", () => {
    GrpcCredentials.tls(source, { handshakeTimeout: "Infinity" })
    GrpcCredentials.files({ ...paths, every: "Infinity" })
    GrpcCredentials.files({ ...paths, every: undefined })
  })
})

/** Tells who called. */
const whoIsThere = {
  say: () => Effect.map(GrpcCall, (call) => ({ text: String(call.peerCertificate?.subject.CN) }))
}

describe("TLS", () => {
  it.live("does not serve a client that speaks plaintext", () =>
    Effect.gen(function*() {
      const { close, target } = yield* EchoServer.make({}, { listen: local(oneWay) })
      const client = yield* EchoClient.make(target)
      assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "hello"))).code, grpc.status.UNAVAILABLE)
      client.close()
      assert.strictEqual((yield* close).counts.admitted, 0)
    }))

  it.live("shows the handler no certificate of a client that has none to show", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make(whoIsThere, { listen: local(oneWay) })
      const client = yield* EchoClient.make(target, {}, channel(clientIdentity))
      assert.strictEqual(yield* EchoClient.say(client, "who am I?"), "undefined")
    }))
})

describe("mTLS", () => {
  for (
    const [what, credentials] of [
      ["no certificate", channel()],
      ["a certificate of another authority", channel(stranger.issue("client"))]
    ] as const
  ) {
    it.live(`refuses a client with ${what}`, () =>
      Effect.gen(function*() {
        const { close, server, target } = yield* EchoServer.make({}, { listen: local(mutual) })
        const client = yield* EchoClient.make(target, {}, credentials)
        assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "hello"))).code, grpc.status.UNAVAILABLE)
        client.close()
        yield* EchoServer.until("the refused connection is gone", () => server.connections() === 0)
        const report = yield* close
        assert.strictEqual(report.counts.admitted, 0)
        assert.strictEqual(report.outcome, "graceful")
      }))
  }

  it.live("shows the handler the certificate of its client, also over a Unix socket", () =>
    Effect.gen(function*() {
      for (const listen of [Effect.succeed(local(mutual)), overUnixSocket(mutual)]) {
        const { target } = yield* EchoServer.make(whoIsThere, { listen: yield* listen })
        for (const name of ["alice", "bob"]) {
          const client = yield* EchoClient.make(target, byName, channel(authority.issue(name)))
          assert.strictEqual(yield* EchoClient.say(client, "who am I?"), name)
        }
      }
    }))

  it.live("trusts each of several authorities", () =>
    Effect.gen(function*() {
      const credentials = GrpcCredentials.mtls({ ...serverIdentity, clientCa: authority.cert + stranger.cert })
      const { target } = yield* EchoServer.make(whoIsThere, { listen: local(credentials) })
      for (const issuer of [authority, stranger]) {
        const client = yield* EchoClient.make(target, {}, channel(issuer.issue("client")))
        assert.strictEqual(yield* EchoClient.say(client, "who am I?"), "client")
      }
    }))
})

const clientHello = Buffer.from("16030100ff010000fb0303", "hex")

describe("a TLS handshake and the stop", () => {
  for (
    const [what, bytes] of [["no ClientHello", Buffer.alloc(0)], [
      "the beginning of a ClientHello",
      clientHello
    ]] as const
  ) {
    it.live(`scenario 29: a peer that sends ${what} does not hold the stop, and its socket is destroyed`, () =>
      Effect.gen(function*() {
        const { close, port, server } = yield* EchoServer.make({}, { listen: local(oneWay) })
        const peer = yield* Sockets.connect({ port })
        peer.write(bytes)
        yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
        const report = yield* close
        assert.strictEqual(report.outcome, "graceful")
        assert.strictEqual(server.connections(), 0)
        yield* EchoServer.until("the peer sees the end", () => peer.destroyed)
      }))
  }

  it.live("scenario 29: a peer that sends no ClientHello does not outlive a force without time for it", () =>
    Effect.gen(function*() {
      const { close, port, server } = yield* EchoServer.make({}, {
        listen: local(oneWay),
        stop: { grace: 0, forceTimeout: 0 }
      })
      const peer = yield* Sockets.connect({ port })
      yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
      assert.strictEqual((yield* close).outcome, "forced")
      yield* EchoServer.until("the peer sees the end", () => peer.destroyed)
      assert.strictEqual(server.connections(), 0)
    }))

  for (
    const [what, bytes] of [["no preface", Buffer.alloc(0)], ["half a preface", Buffer.from("PRI * HTTP/")]] as const
  ) {
    it.live(`scenario 30: a peer that ends its handshake and sends ${what} does not hold the stop`, () =>
      Effect.gen(function*() {
        const { close, port, server } = yield* EchoServer.make({}, { listen: local(oneWay) })
        const socket = yield* Sockets.connect({ port })
        const secured = tls.connect({ socket, ca: authority.cert, ALPNProtocols: ["h2"], servername: "localhost" })
        secured.on("error", () => {})
        let sent = 0
        secured.on("data", (chunk: Buffer) => {
          sent += chunk.length
        })
        secured.write(bytes)
        yield* EchoServer.until("the server speaks HTTP/2", () => sent > 0)
        const report = yield* close
        assert.strictEqual(report.outcome, "graceful")
        assert.strictEqual(server.connections(), 0)
        yield* EchoServer.until("the peer sees the end", () => secured.destroyed)
      }))
  }

  it.live("a handshake that ends after the drain began gets its GOAWAY: nothing of it was processed", () =>
    Effect.gen(function*() {
      const { close, port, server } = yield* EchoServer.make({}, { listen: local(oneWay) })
      const socket = yield* Sockets.connect({ port })
      yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())

      const secured = tls.connect({ socket, ca: authority.cert, ALPNProtocols: ["h2"], host: "localhost" })
      const session = http2.connect("https://localhost", { createConnection: () => secured })
      session.on("error", () => {})
      const goaways: Array<ReadonlyArray<number>> = []
      session.on("goaway", (code, lastStream) => goaways.push([code, lastStream]))
      const request = session.request({
        ":method": "POST",
        ":path": EchoClient.countPath,
        "content-type": "application/grpc"
      })
      let answered = false
      request.on("response", () => {
        answered = true
      })
      request.on("error", () => {})
      yield* EchoServer.until("the request is over", () => request.closed)

      assert.deepStrictEqual(goaways, [[http2.constants.NGHTTP2_NO_ERROR, 0]])
      assert.isFalse(answered)
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(report.counts.admitted, 0)
      assert.strictEqual(server.connections(), 0)
    }))

  it.live("a client whose handshake ends after the drain began is told to go elsewhere: UNAVAILABLE, or a successor", () =>
    Effect.gen(function*() {
      for (const successor of [false, true]) {
        const { close, port, server } = yield* EchoServer.make({}, { listen: local(oneWay) })
        const network = yield* Sockets.frozenNetwork(port)
        const client = yield* EchoClient.make(`127.0.0.1:${network.port}`, {}, channel())
        const rpc = yield* Effect.forkChild(Effect.result(EchoClient.say(client, "hello")))
        yield* EchoServer.until("the client is accepted", () => server.connections() === 1)
        const closing = yield* Effect.forkChild(close)
        yield* EchoServer.until("the server drains", () => !server.isAdmitting())
        if (successor) {
          yield* EchoServer.make({ say: () => Effect.succeed({ text: "successor" }) }, {
            listen: GrpcListener.tcp({ port, host: "127.0.0.1", credentials: oneWay })
          })
        }
        network.thaw()
        const result = yield* Fiber.join(rpc)
        if (successor) assert.strictEqual(Result.getOrThrow(result), "successor")
        else assert.strictEqual(Result.getFailure(result).pipe(Option.getOrThrow).code, grpc.status.UNAVAILABLE)
        const report = yield* Fiber.join(closing)
        assert.strictEqual(report.outcome, "graceful")
        assert.strictEqual(report.counts.admitted, 0)
      }
    }))
})
