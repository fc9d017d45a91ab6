import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcLimits from "@lastcall/grpc/GrpcLimits"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

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

  for (
    const limits of [
      { maxInFlight: 0 },
      { maxReceiveBytes: -1 },
      { maxSendBytes: 1.5 },
      { maxConcurrentStreams: Number.NaN },
      { keepaliveTime: 0 },
      { maxConnectionAge: Number.NaN }
    ] as ReadonlyArray<GrpcLimits.GrpcLimits>
  ) {
    it.live(`${JSON.stringify(Object.entries(limits)[0]!.map(String))} is refused`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(serve(limits))
        const defect = Exit.isFailure(exit) && exit.cause.reasons.find((reason) => reason._tag === "Die")?.defect
        assert.instanceOf(defect, GrpcLimits.GrpcLimitsError)
      }))
  }
})
