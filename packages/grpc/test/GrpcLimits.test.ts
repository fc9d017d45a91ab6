import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcLimits from "@lastcall/grpc/GrpcLimits"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as tls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Peer from "./Peer.ts"

const serve = Effect.fnUntraced(function*(limits: GrpcLimits.GrpcLimits, handlers: Partial<EchoServer.Handlers> = {}) {
  const server = yield* GrpcServer.make("api", {
    services: [EchoServer.Echo, GrpcHealth.Health],
    listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
    limits
  }).pipe(Effect.provide([EchoServer.layer(handlers), GrpcHealth.layer()]))
  const address = server.addresses()[0]!
  return {
    server,
    port: address._tag === "Tcp" ? address.port : 0,
    client: yield* EchoClient.make(GrpcListener.target(address), { "grpc.max_receive_message_length": -1 })
  }
})

describe("limits", () => {
  it.live("a request that is too large is RESOURCE_EXHAUSTED, one that just fits is served", () =>
    Effect.gen(function*() {
      const { client } = yield* serve({ maxReceiveBytes: 1_003 })
      assert.strictEqual((yield* EchoClient.say(client, "x".repeat(1_000))).length, 1_000)
      const error = yield* Effect.flip(EchoClient.say(client, "x".repeat(1_001)))
      assert.strictEqual(error.code, grpc.status.RESOURCE_EXHAUSTED)
    }))

  it.live("without a setting a request has at most 4 MiB", () =>
    Effect.gen(function*() {
      const { client } = yield* serve({})
      const error = yield* Effect.flip(EchoClient.say(client, "x".repeat(4 * 1024 * 1024)))
      assert.strictEqual(error.code, grpc.status.RESOURCE_EXHAUSTED)
    }))

  it.live("a response that is too large is RESOURCE_EXHAUSTED, unary or in a stream, and counted as failed", () =>
    Effect.gen(function*() {
      const { client, server } = yield* serve({ maxSendBytes: 1_003 }, {
        count: () => Stream.make({ n: 1 }, { n: 2, padding: new Uint8Array(2_000) })
      })
      assert.strictEqual((yield* EchoClient.say(client, "x".repeat(1_000))).length, 1_000)
      const error = yield* Effect.flip(EchoClient.say(client, "x".repeat(1_001)))
      assert.deepInclude({ ...error }, {
        code: grpc.status.RESOURCE_EXHAUSTED,
        details: "the response message has 1004 bytes, and at most 1003 are sent"
      })
      const { messages, status } = yield* EchoClient.gather(client.count({ to: 2 }))
      assert.strictEqual(messages.length, 1)
      assert.strictEqual(status.code, grpc.status.RESOURCE_EXHAUSTED)
      assert.deepInclude((yield* server.stop).counts, { admitted: 3, succeeded: 1, failed: 2 })
    }))

  it.live("a response of a native service that is too large is RESOURCE_EXHAUSTED, unary or in a stream, and counted as failed", () =>
    Effect.gen(function*() {
      const native = GrpcService.native(EchoClient.definition, {
        say: ((call, callback) => callback(null, call.request)) as grpc.handleUnaryCall<object, object>,
        count: ((call) => {
          call.write({ n: 1 })
          call.write({ n: 2, padding: new Uint8Array(2_000) })
          call.write({ n: 3 })
          call.end()
        }) as grpc.handleServerStreamingCall<object, object>
      })
      const server = yield* GrpcServer.make("api", {
        services: [native],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        limits: { maxSendBytes: 1_003 }
      })
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      assert.strictEqual((yield* EchoClient.say(client, "x".repeat(1_000))).length, 1_000)
      const error = yield* Effect.flip(EchoClient.say(client, "x".repeat(1_001)))
      assert.strictEqual(error.code, grpc.status.RESOURCE_EXHAUSTED)
      const { messages, status } = yield* EchoClient.gather(client.count({ to: 3 }))
      assert.strictEqual(messages.length, 1)
      assert.strictEqual(status.code, grpc.status.RESOURCE_EXHAUSTED)
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      assert.deepInclude((yield* server.stop).counts, { admitted: 3, succeeded: 1, failed: 2 })
    }))

  it.live("without a setting, or with Infinity, a response of a native service is of any size", () =>
    Effect.gen(function*() {
      const native = GrpcService.native(EchoClient.definition, {
        say: ((_, callback) => callback(null, { text: "x".repeat(5 * 1024 * 1024) })) as grpc.handleUnaryCall<
          object,
          object
        >
      })
      for (const limits of [{}, { maxSendBytes: Number.POSITIVE_INFINITY }]) {
        const server = yield* GrpcServer.make("api", {
          services: [native],
          listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
          limits
        })
        const options = { "grpc.max_receive_message_length": -1 }
        const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!), options)
        assert.strictEqual((yield* EchoClient.say(client, "")).length, 5 * 1024 * 1024)
      }
    }))

  it.live("RPCs over the limit in flight are RESOURCE_EXHAUSTED, but health checks, and served again when one has ended", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { client, server } = yield* serve({ maxInFlight: 1 }, {
        say: ({ text }) => Effect.as(text === "wait" ? gate.pass : Effect.void, { text })
      })
      const first = yield* Effect.forkChild(EchoClient.say(client, "wait"))
      yield* gate.reached
      assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "second"))).code, grpc.status.RESOURCE_EXHAUSTED)
      const check = yield* Effect.callback<grpc.ServiceError | null>((resume) => {
        client.makeUnaryRequest(
          "/grpc.health.v1.Health/Check",
          () => Buffer.alloc(0),
          (bytes) => bytes,
          {},
          (error) => resume(Effect.succeed(error))
        )
      })
      assert.isNull(check)
      yield* gate.open
      yield* Fiber.join(first)
      yield* EchoServer.until("the first has ended", () => server.inFlight().length === 0)
      assert.strictEqual(yield* EchoClient.say(client, "third"), "third")
    }))

  it.live("health checks take no place of RPCs in flight", () =>
    Effect.gen(function*() {
      const { client, server } = yield* serve({ maxInFlight: 1 })
      for (let i = 0; i < 3; i++) {
        const watch = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", () =>
          Buffer.alloc(0), (bytes) =>
          bytes, {})
        yield* Effect.forkChild(EchoClient.gather(watch))
      }
      yield* EchoServer.until("three watch", () =>
        server.inFlight().length === 3)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      yield* server.escalate
    }))

  it.live("a connection has so many streams at a time: a client holds back what is more", () =>
    Effect.gen(function*() {
      const { client, server } = yield* serve({ maxConcurrentStreams: 2 }, { count: () => Stream.never })
      yield* EchoClient.say(client, "the settings of the server have arrived")
      for (let i = 0; i < 5; i++) yield* Effect.forkChild(EchoClient.gather(client.count({ to: 1 })))
      yield* EchoServer.until("two are in flight", () => server.inFlight().length === 2)
      for (let i = 0; i < 20; i++) yield* EchoServer.until("a turn passes", () => true)
      assert.strictEqual(server.inFlight().length, 2)
      yield* server.escalate
    }))

  it.live("a connection that is too old gets a GOAWAY, and its client goes on without an error", () =>
    Effect.gen(function*() {
      const { client, port } = yield* serve({ maxConnectionAge: "100 millis" })
      const session = yield* EchoClient.session(port)
      let goaways = 0
      session.on("goaway", () => goaways++)
      yield* EchoServer.until("the connection got its GOAWAY", () => goaways > 0)
      for (let i = 0; i < 100; i++) assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("a connection over the limit is closed at once, and there is room again when one has gone", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve({ maxConnections: 2 })
      const first = yield* Peer.make(port)
      const second = yield* Peer.make(port)
      yield* EchoServer.until("two are connected", () => server.connections() === 2)
      const third = yield* Peer.make(port)
      yield* EchoServer.until("the third is closed", () => third.isEnded())
      assert.isFalse(first.isEnded() || second.isEnded())
      first.socket.destroy()
      yield* EchoServer.until("the first has gone", () => server.connections() === 1)
      yield* Peer.make(port)
      yield* EchoServer.until("there is room again", () => server.connections() === 2)
    }))

  it.live("a peer address has so many connections", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve({ maxConnectionsPerPeer: 1 })
      const first = yield* Peer.make(port)
      yield* EchoServer.until("one is connected", () => server.connections() === 1)
      const second = yield* Peer.make(port)
      yield* EchoServer.until("the second is closed", () => second.isEnded())
      first.socket.destroy()
      yield* EchoServer.until("the first has gone", () => server.connections() === 0)
      yield* Peer.make(port)
      yield* EchoServer.until("there is room again", () => server.connections() === 1)
    }))

  it.effect("a connection that does not speak HTTP/2 in time is closed, one that does is kept", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve({ prefaceTimeout: "5 seconds" })
      const silent = yield* Peer.make(port)
      const half = yield* Peer.make(port, Peer.preface.subarray(0, 20))
      const speaking = yield* Peer.make(port, Peer.preface)
      yield* EchoServer.until("all are connected", () => server.connections() === 3 && speaking.received().length > 20)
      yield* TestClock.adjust("4999 millis")
      assert.isFalse(silent.isEnded() || half.isEnded())
      yield* TestClock.adjust("1 millis")
      yield* EchoServer.until("the silent ones are closed", () => silent.isEnded() && half.isEnded())
      assert.isFalse(speaking.isEnded())
      assert.strictEqual(server.connections(), 1)
      yield* server.escalate
    }))

  it.effect("a TLS connection that ends its handshake and says nothing is closed in time, one that speaks is kept", () =>
    Effect.gen(function*() {
      const authority = Certificates.authority("the authority")
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [
          GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials: GrpcCredentials.tls(authority.issue("server")) })
        ],
        limits: { prefaceTimeout: "5 seconds" }
      }).pipe(Effect.provide(EchoServer.layer()))
      const address = server.addresses()[0]!
      const port = address._tag === "Tcp" ? address.port : 0
      const silent = yield* Effect.acquireRelease(
        Effect.sync(() =>
          tls.connect({ port, host: "127.0.0.1", servername: "localhost", ca: authority.cert, ALPNProtocols: ["h2"] })
        ),
        (socket) => Effect.sync(() => socket.destroy())
      )
      silent.on("error", () => {})
      silent.resume()
      const client = yield* EchoClient.make(
        GrpcListener.target(address),
        { "grpc.ssl_target_name_override": "localhost" },
        grpc.credentials.createSsl(Buffer.from(authority.cert))
      )
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      yield* EchoServer.until("both are connected", () => server.connections() === 2 && silent.authorized)
      yield* TestClock.adjust("5 seconds")
      yield* EchoServer.until("the silent one is closed", () => silent.closed)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(server.connections(), 1)
      assert.strictEqual(yield* EchoClient.say(client, "again"), "again")
      client.close()
      yield* EchoServer.until("the client has gone", () => server.connections() === 0)
    }))

  it.live("a connection that is too old is cut after its grace, whatever runs on it", () =>
    Effect.gen(function*() {
      const { client, server } = yield* serve(
        { maxConnectionAge: "50 millis", maxConnectionAgeGrace: "50 millis" },
        { count: () => Stream.never }
      )
      const { status } = yield* EchoClient.gather(client.count({ to: 1 }))
      assert.notStrictEqual(status.code, grpc.status.OK)
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
    }))

  it.live("a connection without RPCs gets a GOAWAY when it has been idle for so long", () =>
    Effect.gen(function*() {
      const { client, port } = yield* serve({ maxConnectionIdle: "50 millis" })
      const session = yield* EchoClient.session(port)
      let goaways = 0
      session.on("goaway", () => goaways++)
      yield* EchoServer.until("the connection got its GOAWAY", () => goaways > 0)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("each may be Infinity", () =>
    Effect.gen(function*() {
      const none = Number.POSITIVE_INFINITY
      const { client } = yield* serve({
        maxConnections: none,
        maxConnectionsPerPeer: none,
        maxInFlight: none,
        maxReceiveBytes: none,
        maxSendBytes: none,
        maxConcurrentStreams: none,
        prefaceTimeout: "Infinity",
        maxConnectionAge: "Infinity",
        maxConnectionAgeGrace: "Infinity",
        maxConnectionIdle: "Infinity",
        keepaliveTime: "Infinity",
        keepaliveTimeout: "Infinity"
      })
      const large = 5 * 1024 * 1024
      assert.strictEqual((yield* EchoClient.say(client, "x".repeat(large))).length, large)
    }))

  it.live("a connection that is too old is closed although its peer does not close it", () =>
    Effect.gen(function*() {
      const { port, server } = yield* serve({ maxConnectionAge: "50 millis" })
      const peer = yield* Peer.make(port, Peer.preface)
      yield* EchoServer.until("the server has closed its half", () => peer.isEnded())
      yield* EchoServer.until("the connection is gone", () => server.connections() === 0)
    }))

  for (
    const [limit, limits] of [
      ["maxInFlight is 0: must be a whole number above 0, or Infinity", { maxInFlight: 0 }],
      ["maxReceiveBytes is -1: must be a whole number above 0, or Infinity", { maxReceiveBytes: -1 }],
      ["maxSendBytes is 1.5: must be a whole number above 0, or Infinity", { maxSendBytes: 1.5 }],
      ["maxConcurrentStreams is NaN: must be a whole number above 0, or Infinity", {
        maxConcurrentStreams: Number.NaN
      }],
      ["keepaliveTime is 0: must be longer than 0", { keepaliveTime: 0 }],
      ["maxConnectionAge is NaN: not a duration", { maxConnectionAge: Number.NaN }]
    ] as ReadonlyArray<readonly [string, GrpcLimits.GrpcLimits]>
  ) {
    it.live(`${limit} is refused`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(serve(limits))
        const defect = Exit.isFailure(exit) && exit.cause.reasons.find((reason) => reason._tag === "Die")?.defect
        assert.instanceOf(defect, GrpcLimits.GrpcLimitsError)
        assert.strictEqual(defect.message, `limit ${limit}`)
      }))
  }
})
