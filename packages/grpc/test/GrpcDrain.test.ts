import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

const shuttingDown = { code: grpc.status.UNAVAILABLE, details: "server is shutting down" }

/** A server whose service has these policies: `say` and `count` never end, and say whether they were told. */
const make = Effect.fnUntraced(function*(drain: GrpcService.DrainPolicies<typeof EchoService>) {
  const told: Array<string> = []
  const interrupted: Array<string> = []
  const over = Deferred.makeUnsafe<void>()
  class Echo extends GrpcService.Service<Echo>()(EchoService, { drain }) {}
  const listening = (method: string) =>
    Effect.forkChild(Effect.andThen(GrpcDrain.awaitDraining, Effect.sync(() => void told.push(method))))
  const layer: Layer.Layer<Echo> = Echo.toLayer({
    say: ({ text }) =>
      Effect.andThen(listening("say"), Effect.as(Deferred.await(over), { text })).pipe(
        Effect.onInterrupt(() => Effect.sync(() => void interrupted.push("say")))
      ),
    count: () =>
      Stream.concat(
        Stream.make({ n: 1 }),
        Stream.fromEffect(Effect.andThen(listening("count"), Effect.as(Deferred.await(over), { n: 2 })))
      ),
    sum: () => Effect.succeed({ total: 0 }),
    chat: () => Stream.empty
  })
  const server = yield* GrpcServer.make("api", {
    services: [Echo],
    listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
  }).pipe(Effect.provide(layer))
  const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
  let seen = 0
  const say = yield* Effect.forkChild(Effect.result(EchoClient.say(client, "hello")))
  const count = yield* Effect.forkChild(EchoClient.gather(client.count({ to: 1 }), () => seen++))
  yield* EchoServer.until("both are in flight", () => server.inFlight().length === 2 && seen === 1)
  const stopping = yield* Effect.forkChild(server.stop)
  yield* EchoServer.until("the drain has begun", () => !server.isAdmitting())
  return { told, interrupted, over: Deferred.succeed(over, undefined), say, count, stopping }
})

describe("the drain policy of a method", () => {
  it.live("notify, the default: RPCs run on, and their handlers are told", () =>
    Effect.gen(function*() {
      const { count, over, say, stopping, told } = yield* make({})
      yield* EchoServer.until("both handlers were told", () => told.length === 2)
      yield* over
      assert.strictEqual((yield* Fiber.join(say))._tag, "Success")
      assert.deepStrictEqual((yield* Fiber.join(count)).messages.map(({ n }) => n), [1, 2])
      const report = yield* Fiber.join(stopping)
      assert.deepInclude(report.counts, { admitted: 2, succeeded: 2 })
      assert.strictEqual(report.notified, 2)
    }))

  it.live("finish: RPCs run on, and their handlers are not told", () =>
    Effect.gen(function*() {
      const { count, over, say, stopping, told } = yield* make({ say: "finish", count: "finish" })
      yield* over
      assert.strictEqual((yield* Fiber.join(say))._tag, "Success")
      assert.deepStrictEqual((yield* Fiber.join(count)).messages.map(({ n }) => n), [1, 2])
      assert.deepInclude((yield* Fiber.join(stopping)).counts, { admitted: 2, succeeded: 2 })
      assert.deepStrictEqual(told, [])
    }))

  it.live("end: a response stream ends OK", () =>
    Effect.gen(function*() {
      const { count, over, stopping } = yield* make({ count: "end" })
      const { messages, status } = yield* Fiber.join(count)
      assert.deepStrictEqual(messages.map(({ n }) => n), [1])
      assert.strictEqual(status.code, grpc.status.OK)
      yield* over
      assert.deepInclude((yield* Fiber.join(stopping)).counts, { admitted: 2, succeeded: 2 })
    }))

  it.live("end with a last message: a response stream ends OK after it", () =>
    Effect.gen(function*() {
      const { count, over, stopping } = yield* make({ count: { end: () => ({ n: 99 }) } })
      const { messages, status } = yield* Fiber.join(count)
      assert.deepStrictEqual(messages.map(({ n }) => n), [1, 99])
      assert.strictEqual(status.code, grpc.status.OK)
      yield* over
      yield* Fiber.join(stopping)
    }))

  it.live("cut: the handler is interrupted at once, and the client gets UNAVAILABLE", () =>
    Effect.gen(function*() {
      const { count, interrupted, say, stopping } = yield* make({ say: "cut", count: "cut" })
      const result = yield* Fiber.join(say)
      assert.strictEqual(result._tag, "Failure")
      assert.deepInclude(result._tag === "Failure" ? { ...result.failure } : {}, shuttingDown)
      assert.deepStrictEqual((yield* Fiber.join(count)).status, shuttingDown)
      const report = yield* Fiber.join(stopping)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 2, interrupted: 2, failed: 0 })
      assert.deepStrictEqual(interrupted, ["say"])
    }))

  it("the policies that end a stream do not compile for a single response", () => {
    // @ts-expect-error: say has one response
    const policies: GrpcService.DrainPolicies<typeof EchoService> = { say: "end" }
    // @ts-expect-error: n is a number
    const last: GrpcService.DrainPolicies<typeof EchoService> = { count: { end: () => ({ n: "last" }) } }
    assert.isDefined([policies, last])
  })
})

/** A drain that is told of by hand. */
const byHand = Effect.gen(function*() {
  const announced = yield* Latch.make(false)
  const draining = yield* Latch.make(false)
  return {
    announced,
    draining,
    drain: {
      isAnnounced: () => announced.isOpen(),
      awaitAnnounced: announced.await,
      isDraining: () => draining.isOpen(),
      awaitDraining: draining.await
    } satisfies GrpcDrain.GrpcDrain
  }
})

/** What a handler knows: what it can ask, and what it has been told of. */
const listen = Effect.gen(function*() {
  const drain = yield* GrpcDrain.GrpcDrain
  const told: Array<string> = []
  const hear = (what: string, effect: Effect.Effect<void>) =>
    Effect.forkChild(Effect.andThen(effect, Effect.sync(() => void told.push(what))), { startImmediately: true })
  yield* hear("announced", GrpcDrain.awaitAnnounced)
  yield* hear("draining", GrpcDrain.awaitDraining)
  return Effect.gen(function*() {
    yield* Effect.yieldNow
    return {
      told,
      announced: drain.isAnnounced(),
      draining: drain.isDraining(),
      isDraining: yield* GrpcDrain.isDraining
    }
  })
})

const nothing = { told: [], announced: false, draining: false, isDraining: false }

describe("what a handler knows", () => {
  it.effect("outside of a server: nothing begins", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* yield* listen, nothing)
    }))

  it.effect("of the announcement, and of the drain after it", () =>
    Effect.gen(function*() {
      const { announced, drain, draining } = yield* byHand
      yield* Effect.gen(function*() {
        const known = yield* listen
        assert.deepStrictEqual(yield* known, nothing)
        yield* announced.open
        assert.deepStrictEqual(yield* known, { ...nothing, told: ["announced"], announced: true })
        yield* draining.open
        assert.deepStrictEqual(yield* known, {
          told: ["announced", "draining"],
          announced: true,
          draining: true,
          isDraining: true
        })
      }).pipe(Effect.provideService(GrpcDrain.GrpcDrain, drain))
    }))

  it.effect("a last message comes after a drain that ends the stream, not after a stream that ends by itself", () =>
    Effect.gen(function*() {
      const { drain, draining } = yield* byHand
      yield* Effect.gen(function*() {
        const whole = Stream.make(1, 2).pipe(GrpcDrain.endWith(() => 99))
        assert.deepStrictEqual(yield* Stream.runCollect(whole), [1, 2])
        yield* draining.open
        assert.deepStrictEqual(yield* Stream.runCollect(GrpcDrain.endWith(Stream.never, () => 99)), [99])
      }).pipe(Effect.provideService(GrpcDrain.GrpcDrain, drain))
    }))

  it.effect("with the policy finish: nothing", () =>
    Effect.gen(function*() {
      const { announced, drain, draining } = yield* byHand
      yield* announced.open
      yield* draining.open
      const single = GrpcDrain.effect(Effect.flatten(listen), "finish")
      const many = GrpcDrain.stream(Stream.fromEffect(Effect.flatten(listen)), "finish")
      yield* Effect.gen(function*() {
        assert.deepStrictEqual(yield* single, nothing)
        assert.deepStrictEqual(yield* Stream.runCollect(many), [nothing])
      }).pipe(Effect.provideService(GrpcDrain.GrpcDrain, drain))
    }))

  it.effect("with the policy notify: all", () =>
    Effect.gen(function*() {
      const { drain, draining } = yield* byHand
      yield* draining.open
      const all = { ...nothing, told: ["draining"], draining: true, isDraining: true }
      const single = GrpcDrain.effect(Effect.flatten(listen), "notify")
      const many = GrpcDrain.stream(Stream.fromEffect(Effect.flatten(listen)), "notify")
      yield* Effect.gen(function*() {
        assert.deepStrictEqual(yield* single, all)
        assert.deepStrictEqual(yield* Stream.runCollect(many), [all])
      }).pipe(Effect.provideService(GrpcDrain.GrpcDrain, drain))
    }))
})
