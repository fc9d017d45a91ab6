import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import { GrpcChannel } from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EventLoop from "../../grpc/test/EventLoop.ts"
import { definition, Echo } from "./Echo.ts"

const EchoLive = Echo.toLayer({
  say: (request) =>
    Effect.gen(function*() {
      if (request === "fail") {
        return yield* GrpcError.notFound("kein Text, 100 % sicher: ÄÖÜ").pipe(
          GrpcError.withTrailers(GrpcMetadata.make({ "x-why": "because" }))
        )
      }
      if (request === "metadata") return String(GrpcMetadata.get((yield* GrpcCall.GrpcCall).metadata, "x-who"))
      if (request === "die") return yield* Effect.die("dead")
      return request.toUpperCase()
    }),
  spell: (request) => request === "never" ? Stream.never : Stream.fromIterable(request),
  join: (requests) => Stream.runFold(requests, () => "", (all, request) => all + request),
  chat: (requests) => Stream.map(requests, (request) => `${request}!`)
})

const Test = InMemoryGrpc.layer("api", { services: [Echo] }).pipe(Layer.provide(EchoLive))

const withClient = <A, E, R>(
  test: (echo: GrpcClient.Client<typeof definition>) => Effect.Effect<A, E, R>
) => Effect.scoped(Effect.flatMap(GrpcClient.make(definition), test)).pipe(Effect.provide(Test))

/** A server of its own scope. */
const serve = (address: InMemoryGrpc.Address, live = EchoLive) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const server = yield* GrpcServer.make(address.name, { services: [Echo], listen: [address.listener] }).pipe(
      Effect.provide(live),
      Scope.provide(scope)
    )
    return { server, close: Scope.close(scope, Exit.void) }
  })

const client = (channel: GrpcChannel["Service"]) =>
  Effect.provideService(GrpcClient.make(definition), GrpcChannel, channel)

describe("a client and a server in memory", () => {
  it.effect("make RPCs of all four kinds", () =>
    withClient((echo) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* echo.say("hello"), "HELLO")
        assert.deepStrictEqual(yield* Stream.runCollect(echo.spell("abc")), ["a", "b", "c"])
        assert.strictEqual(yield* echo.join(Stream.make("x", "y", "z")), "xyz")
        assert.deepStrictEqual(yield* Stream.runCollect(echo.chat(Stream.make("1", "2"))), ["1!", "2!"])
        assert.strictEqual(yield* echo.say(""), "")
        assert.deepStrictEqual(yield* Stream.runCollect(echo.spell("")), [])
      })
    ))

  it.effect("many RPCs at the same time, and large messages in both directions", () =>
    withClient((echo) =>
      Effect.gen(function*() {
        const large = "x".repeat(2_000_000)
        const answers = yield* Effect.forEach(
          [large, ...Array.from({ length: 50 }, (_, n) => `n${n}`)],
          (request) => echo.say(request),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(answers[0]!.length, large.length)
        assert.strictEqual(answers[50], "N49")
        assert.strictEqual(
          (yield* echo.join(Stream.fromIterable(Array.from({ length: 500 }, () => "ab")))).length,
          1_000
        )
      })
    ))

  it.effect("an error has its code, message and metadata", () =>
    withClient((echo) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(echo.say("fail"))
        assert.strictEqual(error.code, "NOT_FOUND")
        assert.strictEqual(error.message, "kein Text, 100 % sicher: ÄÖÜ")
        assert.strictEqual(GrpcMetadata.get(error.trailers!, "x-why"), "because")
        assert.strictEqual((yield* Effect.flip(echo.say("x".repeat(5_000_000)))).code, "RESOURCE_EXHAUSTED")
      })
    ))

  it.effect("metadata is sent", () =>
    withClient((echo) =>
      Effect.gen(function*() {
        const metadata = GrpcMetadata.make({ "x-who": "me" })
        assert.strictEqual(yield* echo.say("metadata", { metadata }), "me")
      })
    ))

  it.live("a deadline passes on the machine's clock", () =>
    withClient((echo) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Stream.runDrain(echo.spell("never", { deadline: 20 })))
        assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
      })
    ))

  it.effect("interrupting an RPC interrupts its handler", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const live = Echo.toLayer({
        say: () =>
          Effect.onInterrupt(
            Effect.andThen(Deferred.succeed(begun, undefined), Effect.never),
            () => Deferred.succeed(interrupted, undefined)
          ),
        spell: () => Stream.never,
        join: () => Effect.never,
        chat: (requests) => requests
      })
      const address = InMemoryGrpc.address("api")
      const { server } = yield* serve(address, live)
      const echo = yield* client(yield* InMemoryGrpc.channel(address))
      const rpc = yield* Effect.forkChild(echo.say("x"))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(rpc)
      yield* Deferred.await(interrupted)
      assert.strictEqual((yield* server.stop).counts.failed, 1)
    }))

  it.effect("grpc-js's own surface works on the channel", () =>
    Effect.gen(function*() {
      const { client } = yield* GrpcChannel
      const { path, requestSerialize, responseDeserialize } = definition.say
      const answer = yield* Effect.callback<string, grpc.ServiceError>((resume) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, "raw", (error, value) =>
          resume(error === null ? Effect.succeed(value!) : Effect.fail(error)))
      })
      assert.strictEqual(answer, "RAW")
    }).pipe(Effect.provide(Test)))

  it.effect("two builds of one layer have a server each", () =>
    Effect.gen(function*() {
      const say = withClient((echo) => echo.say("x"))
      assert.deepStrictEqual(yield* Effect.all([say, say], { concurrency: 2 }), ["X", "X"])
    }))
})

describe("an address in memory", () => {
  it.effect("where nobody listens an RPC is UNAVAILABLE, and one that waits is served later", () =>
    Effect.gen(function*() {
      const address = InMemoryGrpc.address("api")
      const channel = yield* InMemoryGrpc.channel(address)
      const echo = yield* client(channel)
      assert.isUndefined(address.connect())
      const error = yield* Effect.flip(echo.say("x"))
      assert.deepStrictEqual([error.code, error.message], ["UNAVAILABLE", "nobody listens at api"])
      const waiting = yield* Effect.forkChild(echo.say("late", { waitForReady: true }), { startImmediately: true })
      yield* serve(address)
      assert.strictEqual(yield* Fiber.join(waiting), "LATE")
    }))

  it.effect("after a stop the next server gets the next RPCs, on the same channel", () =>
    Effect.gen(function*() {
      const address = InMemoryGrpc.address("api")
      const echo = yield* client(yield* InMemoryGrpc.channel(address))
      const first = yield* serve(address)
      assert.strictEqual(yield* echo.say("one"), "ONE")
      const second = yield* serve(address)
      yield* first.close
      assert.strictEqual(yield* echo.say("two"), "TWO")
      assert.strictEqual((yield* first.server.stop).counts.admitted, 1)
      assert.strictEqual((yield* second.server.stop).counts.admitted, 1)
    }))

  it.effect("a channel that stops refuses RPCs and closes its connections", () =>
    Effect.gen(function*() {
      const address = InMemoryGrpc.address("api")
      const { server } = yield* serve(address)
      const channel = yield* InMemoryGrpc.channel(address, { name: "to api", stop: { grace: 0, forceTimeout: 0 } })
      const echo = yield* client(channel)
      const stream = yield* Effect.forkChild(Effect.flip(Stream.runDrain(echo.spell("never"))))
      yield* until(() => server.inFlight().length === 1)
      const report = yield* channel.stop
      assert.deepInclude(report, { name: "to api", outcome: "forced", forcedBy: "grace" })
      assert.include(["CANCELLED", "UNAVAILABLE"], (yield* Fiber.join(stream)).code)
      assert.strictEqual((yield* Effect.flip(echo.say("x"))).code, "UNAVAILABLE")
      yield* until(() => server.connections() === 0)
      assert.strictEqual(channel.state(), "SHUTDOWN")
    }))

  it.effect("a channel says whether it is connected", () =>
    Effect.gen(function*() {
      const address = InMemoryGrpc.address("api")
      const channel = yield* InMemoryGrpc.channel(address)
      assert.strictEqual(channel.state(), "IDLE")
      const ready = yield* Effect.forkChild(channel.awaitReady, { startImmediately: true })
      const first = yield* serve(address)
      yield* Fiber.join(ready)
      assert.strictEqual(channel.state(), "READY")
      yield* first.close
      yield* until(() => channel.state() === "IDLE")
      yield* channel.stop
      assert.deepStrictEqual(yield* Stream.runCollect(channel.states), ["SHUTDOWN"])
      assert.strictEqual((yield* Effect.flip(channel.awaitReady)).code, "UNAVAILABLE")
    }))
})

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() =>
    condition()
      ? Effect.void
      : Effect.andThen(
        EventLoop.turn,
        until(condition)
      )
  )
