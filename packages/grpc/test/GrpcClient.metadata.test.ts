/** Metadata of several sources: what HTTP knows once goes out once, and the nearest to the RPC says it. */
import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

const guide = join(import.meta.dirname, "../../../docs/clients.md")
const test = import.meta.filename

/** Two keys that HTTP knows once, and one that it does not. */
const keys = ["authorization", "from", "x-tag"] as const

const of = (name: string) => GrpcMetadata.make(Object.fromEntries(keys.map((key) => [key, name])))

/** Answers with what it was sent. */
const telling: Partial<EchoServer.Handlers> = {
  say: () =>
    Effect.map(GrpcCall.metadata, (metadata) => ({
      text: keys.map((key) => GrpcMetadata.getAll(metadata, key).join(", ")).join("; ")
    }))
}

const connect = (channel: GrpcChannel.GrpcChannel["Service"], options: GrpcClient.Options = {}) =>
  Effect.provideService(GrpcClient.make(EchoService, options), GrpcChannel.GrpcChannel, channel)

const transports = {
  "on the wire": Effect.flatMap(EchoServer.make(telling), ({ target }) => GrpcChannel.make({ address: target })),
  "in process": Effect.provide(GrpcInProcess.make({ services: [EchoServer.Echo] }), EchoServer.layer(telling))
}

const passing: GrpcClientMiddleware.GrpcClientMiddleware = (call, next) => next(call)
const adding = GrpcClientMiddleware.metadata(Effect.succeed(of("middleware")))

describe("a key that HTTP knows once is said by", () => {
  for (const [transport, opened] of Object.entries(transports)) {
    for (const middleware of [[], [passing]]) {
      const suffix = `${transport}, ${middleware.length === 0 ? "without" : "with"} middleware`
      it.effect(`the RPC in the place of its client; others by both, ${suffix}`, () =>
        Effect.gen(function*() {
          const echo = yield* connect(yield* opened, { metadata: of("client"), middleware })
          assert.strictEqual((yield* echo.say({ text: "" })).text, "client; client; client")
          const { text } = yield* echo.say({ text: "" }, { metadata: of("rpc") })
          assert.strictEqual(text, "rpc; rpc; client, rpc")
        }))
    }

    it.effect(`the RPC or its client in the place of middleware, ${transport}`, () =>
      Effect.gen(function*() {
        const channel = yield* opened
        const open = yield* connect(channel, { middleware: [adding] })
        assert.strictEqual((yield* open.say({ text: "" })).text, "middleware; middleware; middleware")
        const own = yield* open.say({ text: "" }, { metadata: of("rpc") })
        assert.strictEqual(own.text, "rpc; rpc; middleware, rpc")
        const named = yield* connect(channel, { metadata: of("client"), middleware: [adding] })
        assert.strictEqual((yield* named.say({ text: "" })).text, "client; client; middleware, client")
      }))
  }

  it.effect("the RPC or its client in the place of call credentials", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make(telling)
      const metadata = () => Effect.succeed(of("credentials"))
      const channel = yield* GrpcChannel.make({ address: target, callCredentials: { metadata, overPlaintext: true } })
      const open = yield* connect(channel)
      assert.strictEqual((yield* open.say({ text: "" })).text, "credentials; credentials; credentials")
      assert.strictEqual((yield* open.say({ text: "" }, { metadata: of("rpc") })).text, "rpc; rpc; rpc")
      const named = yield* connect(channel, { metadata: of("client") })
      assert.strictEqual((yield* named.say({ text: "" })).text, "client; client; client")
    }))
})

it.effect("an RPC that says a key of its client otherwise does not disturb the others on its connection", () =>
  Effect.gen(function*() {
    const gate = yield* EchoServer.makeGate
    const { server, target } = yield* EchoServer.make({
      say: ({ text }) => text === "slow" ? Effect.as(gate.pass, { text }) : Effect.succeed({ text })
    })
    const echo = yield* connect(yield* GrpcChannel.make({ address: target }), { metadata: of("client") })
    const slow = yield* Effect.forkChild(echo.say({ text: "slow" }))
    yield* gate.reached
    assert.strictEqual((yield* echo.say({ text: "quick" }, { metadata: of("rpc") })).text, "quick")
    yield* gate.open
    assert.strictEqual((yield* Fiber.join(slow)).text, "slow")
    assert.strictEqual(server.connections(), 1)
  }))

// As in docs/clients.md, word for word
const keep = (fetchToken: Effect.Effect<string, GrpcError.GrpcError>) =>
  Effect.cachedWithTTL(fetchToken, (exit) => Exit.isSuccess(exit) ? "5 minutes" : 0)

it("the token of the guide is kept as in this test", () => {
  const [first, second] = [guide, test].map((path) => /^const keep = .*\n.*$/m.exec(readFileSync(path, "utf8"))?.[0])
  assert.isDefined(first)
  assert.strictEqual(first, second)
})

it.effect("a token is kept while it is good, and that it could not be fetched is not", () =>
  Effect.gen(function*() {
    const { target } = yield* EchoServer.make(telling)
    let fetched = 0
    const token = yield* keep(Effect.suspend(() =>
      ++fetched === 1
        ? Effect.fail(GrpcError.unavailable("the issuer is restarted"))
        : Effect.succeed(`token ${fetched}`)
    ))
    const metadata = () => Effect.map(token, (authorization) => GrpcMetadata.make({ authorization }))
    const channel = yield* GrpcChannel.make({ address: target, callCredentials: { metadata, overPlaintext: true } })
    const echo = yield* connect(channel)
    assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "UNAUTHENTICATED")
    assert.strictEqual((yield* echo.say({ text: "" })).text, "token 2; ; ")
    assert.strictEqual((yield* echo.say({ text: "" })).text, "token 2; ; ")
    yield* TestClock.adjust("5 minutes")
    assert.strictEqual((yield* echo.say({ text: "" })).text, "token 3; ; ")
  }))
