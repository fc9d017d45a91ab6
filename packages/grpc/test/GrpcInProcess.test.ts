import { assert, describe, it } from "@effect/vitest"
import type { StopReport } from "@lastcall/core/StopReport"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import { DuplicateMethodError } from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Health } from "../src/gen/grpc/health/v1/health_pb.ts"
import { Echo } from "./EchoServer.ts"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import { EchoServiceService } from "./gen-ts-proto/lastcall/test/v1/echo.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

type Client = GrpcClient.Client<typeof EchoService>

const on = <A, E>(make: Effect.Effect<A, E, GrpcChannel.GrpcChannel>, channel: GrpcChannel.GrpcChannel["Service"]) =>
  Effect.provideService(make, GrpcChannel.GrpcChannel, channel)

/** What tests of a program would use: handlers, and a client of them. */
const transports: ReadonlyArray<
  readonly [
    string,
    (handlers: Partial<EchoServer.Handlers>) => Effect.Effect<GrpcChannel.GrpcChannel["Service"], never, Scope.Scope>
  ]
> = [
  ["in process", (handlers) => Effect.provide(GrpcInProcess.make({ services: [Echo] }), EchoServer.layer(handlers))],
  [
    "on the wire",
    (handlers) =>
      Effect.orDie(Effect.flatMap(EchoServer.make(handlers), ({ target }) => GrpcChannel.make({ address: target })))
  ]
]

/** As little as may be: what hangs and says that it was interrupted. */
const hanging = () => {
  const reached = Latch.makeUnsafe(false)
  const interrupted = Latch.makeUnsafe(false)
  const hang = Effect.onInterrupt(Effect.andThen(reached.open, Effect.never), () => interrupted.open)
  const handlers: Partial<EchoServer.Handlers> = {
    say: () => hang,
    count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fromEffect(hang)),
    sum: () => hang,
    chat: () => Stream.concat(Stream.make({ text: "" }), Stream.fromEffect(hang))
  }
  return { handlers, reached, interrupted }
}

const kinds: ReadonlyArray<
  readonly [string, (echo: Client, options?: GrpcClient.CallOptions) => Effect.Effect<unknown, GrpcError.GrpcError>]
> = [
  ["unary", (echo, options) => echo.say({ text: "" }, options)],
  ["a server stream", (echo, options) => Stream.runDrain(echo.count({ to: 1 }, options))],
  ["a client stream", (echo, options) => echo.sum(Stream.never, options)],
  ["a bidirectional stream", (echo, options) => Stream.runDrain(echo.chat(Stream.never, options))]
]

// The same tests for both, so that what is seen in process is what the wire does.
for (const [transport, open] of transports) {
  const serve = Effect.fnUntraced(function*(handlers: Partial<EchoServer.Handlers>) {
    const channel = yield* open(handlers)
    return { channel, echo: yield* on(GrpcClient.make(EchoService), channel) }
  })

  describe(transport, () => {
    it.effect("the four kinds", () =>
      Effect.gen(function*() {
        const { channel, echo } = yield* serve({})
        assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
        const counted = yield* Stream.runCollect(echo.count({ to: 100, padding: 3 }))
        assert.deepStrictEqual(counted.map(({ n }) => n), Array.from({ length: 100 }, (_, i) => i + 1))
        assert.strictEqual(counted[0]!.padding.length, 3)
        assert.deepStrictEqual(yield* Stream.runCollect(echo.count({ to: 0 })), [])
        assert.strictEqual((yield* echo.sum(Stream.map(Stream.range(1, 100), (n) => ({ n })))).total, 5050)
        assert.strictEqual((yield* echo.sum(Stream.empty)).total, 0)
        const chatted = yield* Stream.runCollect(echo.chat(Stream.map(Stream.range(1, 50), (n) => ({ text: `${n}` }))))
        assert.deepStrictEqual(chatted.map(({ text }) => text), Array.from({ length: 50 }, (_, i) => `${i + 1}!`))
        assert.deepStrictEqual(yield* Stream.runCollect(echo.chat(Stream.empty)), [])
        const tsEcho = yield* on(GrpcClient.make(EchoServiceService), channel)
        assert.deepStrictEqual(yield* tsEcho.say({ text: "hello" }), { text: "hello" })
      }))

    it.effect("messages are read from the bytes that were written", () =>
      Effect.gen(function*() {
        let request: unknown
        const { echo } = yield* serve({
          say: (received) => {
            request = received
            return Effect.succeed({ text: "a", unknown: 1 } as { text: string })
          }
        })
        const sent = { text: "b", unknown: 2 }
        const response = yield* echo.say(sent)
        assert.notStrictEqual(request, sent)
        assert.deepInclude(request, { $typeName: "lastcall.test.v1.SayRequest", text: "b" })
        assert.notProperty(request, "unknown")
        assert.deepInclude(response, { $typeName: "lastcall.test.v1.SayResponse", text: "a" })
        assert.notProperty(response, "unknown")
      }))

    it.effect("a message that cannot be written, or is too large", () =>
      Effect.gen(function*() {
        const { echo } = yield* serve({
          say: ({ text }) =>
            Effect.succeed(text === "large" ? { text: "x".repeat(4_194_305) } : 5 as unknown as { text: string })
        })
        const codes = [
          yield* Effect.flip(echo.say({ text: 5 as unknown as string })),
          yield* Effect.flip(echo.say({ text: "" })),
          yield* Effect.flip(echo.say({ text: "large" })),
          yield* Effect.flip(echo.say({ text: "x".repeat(4_194_305) })),
          yield* Effect.flip(Stream.runDrain(echo.count({ to: 1, padding: 4_194_305 })))
        ].map(({ code }) => code)
        assert.deepStrictEqual(codes, [
          "INTERNAL",
          "INTERNAL",
          "RESOURCE_EXHAUSTED",
          "RESOURCE_EXHAUSTED",
          "RESOURCE_EXHAUSTED"
        ])
      }))

    it.effect("a bidirectional stream: a response can be had before the next request is made", () =>
      Effect.gen(function*() {
        const { echo } = yield* serve({})
        const answered = Latch.makeUnsafe(false)
        const requests = Stream.concat(
          Stream.make({ text: "1" }),
          Stream.fromEffect(Effect.as(answered.await, { text: "2" }))
        )
        const texts = yield* echo.chat(requests).pipe(
          Stream.tap(({ text }) => text === "1!" ? answered.open : Effect.void),
          Stream.runCollect
        )
        assert.deepStrictEqual(texts.map(({ text }) => text), ["1!", "2!"])
      }))

    it.effect("errors: code, message, details and trailers, after the responses before them", () =>
      Effect.gen(function*() {
        const error = GrpcError.invalidArgument("the näme is empty").pipe(
          GrpcError.withDetails([GrpcError.detail(GrpcErrorDetails.ErrorInfoSchema, { reason: "EMPTY" })]),
          GrpcError.withTrailers(GrpcMetadata.make({ "x-hint": "say a name", "x-bin": new Uint8Array([1, 2]) }))
        )
        const { echo } = yield* serve({
          say: () => Effect.fail(error),
          count: () => Stream.concat(Stream.make({ n: 1 }, { n: 2 }), Stream.fail(error)),
          sum: () => Effect.fail(error),
          chat: () => Stream.fail(error)
        })
        const received: Array<number> = []
        const errors = [
          yield* Effect.flip(echo.say({ text: "" })),
          yield* Effect.flip(Stream.runForEach(echo.count({ to: 1 }), ({ n }) => Effect.sync(() => received.push(n)))),
          yield* Effect.flip(echo.sum(Stream.never)),
          yield* Effect.flip(Stream.runDrain(echo.chat(Stream.never)))
        ]
        assert.deepStrictEqual(received, [1, 2])
        for (const error of errors) {
          assert.instanceOf(error, GrpcError.GrpcError)
          assert.deepStrictEqual([error.code, error.message], ["INVALID_ARGUMENT", "the näme is empty"])
          assert.deepStrictEqual(
            GrpcError.detailsOf(error, GrpcErrorDetails.ErrorInfoSchema).map(({ reason }) => reason),
            ["EMPTY"]
          )
          assert.strictEqual(GrpcMetadata.get(error.trailers!, "x-hint"), "say a name")
          assert.deepStrictEqual(Array.from(GrpcMetadata.getBinary(error.trailers!, "x-bin")!), [1, 2])
        }
      }))

    it.effect("what must not leave the process: the client gets INTERNAL or UNKNOWN", () =>
      Effect.gen(function*() {
        const { echo } = yield* serve({
          say: () => Effect.die(new Error("secret")),
          count: () => Stream.fail("secret" as never)
        })
        const died = yield* Effect.flip(echo.say({ text: "" }))
        assert.deepStrictEqual([died.code, died.message], ["INTERNAL", "internal error"])
        const failed = yield* Effect.flip(Stream.runDrain(echo.count({ to: 1 })))
        assert.deepStrictEqual([failed.code, failed.message], ["UNKNOWN", "unknown error"])
        assert.isUndefined(died.cause)
      }))

    it.effect("metadata, headers, trailers", () =>
      Effect.gen(function*() {
        let seen: GrpcMetadata.GrpcMetadata = GrpcMetadata.empty
        const { echo } = yield* serve({
          say: ({ text }) =>
            Effect.gen(function*() {
              seen = yield* GrpcCall.metadata
              yield* GrpcCall.addHeaders(GrpcMetadata.make({ "x-head": ["h", "i"] }))
              yield* GrpcCall.addTrailers(GrpcMetadata.make({ "x-trail-bin": new Uint8Array([7]) }))
              return { text }
            })
        })
        const metadata = GrpcMetadata.make({
          "X-Tag": ["a", "b"],
          "x-key-bin": [new Uint8Array([0, 255]), new Uint8Array([1])],
          cookie: ["a=1", "b=2"],
          "set-cookie": ["a=1", "b=2"]
        })
        const { headers, response, trailers } = yield* GrpcClient.answer((options) =>
          echo.say({ text: "t" }, { ...options, metadata })
        )
        assert.strictEqual(response.text, "t")
        assert.deepStrictEqual(GrpcMetadata.getAll(seen, "x-tag"), ["a, b"])
        assert.deepStrictEqual(GrpcMetadata.getAll(seen, "cookie"), ["a=1; b=2"])
        assert.deepStrictEqual(GrpcMetadata.getAll(seen, "set-cookie"), ["a=1", "b=2"])
        assert.deepStrictEqual(GrpcMetadata.getAllBinary(seen, "x-key-bin").map((bytes) => Array.from(bytes)), [
          [0, 255],
          [1]
        ])
        assert.deepStrictEqual(headers.entries, [["x-head", "h, i"]])
        assert.deepStrictEqual(trailers.entries.map(([key]) => key), ["x-trail-bin"])
        assert.deepStrictEqual(Array.from(GrpcMetadata.getBinary(trailers, "x-trail-bin")!), [7])
      }))

    it.effect("headers can be had before there is a response", () =>
      Effect.gen(function*() {
        const told = Latch.makeUnsafe(false)
        const { echo } = yield* serve({
          say: ({ text }) => Effect.andThen(GrpcCall.sendHeaders, Effect.as(told.await, { text }))
        })
        yield* echo.say({ text: "" }, { onHeaders: () => told.openUnsafe() })
      }))

    for (const [name, run] of kinds) {
      it.effect(`an interruption of ${name} interrupts the handler`, () =>
        Effect.gen(function*() {
          const { handlers, interrupted, reached } = hanging()
          const { channel, echo } = yield* serve(handlers)
          const rpc = yield* Effect.forkChild(run(echo))
          yield* reached.await
          yield* Fiber.interrupt(rpc)
          yield* interrupted.await
          yield* EchoServer.until("nothing is in flight", () => channel.inFlight().length === 0)
        }))

      it.effect(`a deadline of ${name} ends both sides`, () =>
        Effect.gen(function*() {
          const { handlers, interrupted, reached } = hanging()
          const { echo } = yield* serve(handlers)
          const error = yield* Effect.flip(run(echo, { deadline: 100 }))
          assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
          // On a busy machine it may be over before the handler has begun.
          if (reached.isOpen()) yield* interrupted.await
        }))
    }

    it.effect("the handler knows the deadline, and the RPCs that it makes have no later one", () =>
      Effect.gen(function*() {
        const behind = yield* serve({
          say: () => Effect.map(GrpcCall.GrpcCall, ({ deadline }) => ({ text: String(deadline) }))
        })
        const { echo } = yield* serve({ say: ({ text }) => behind.echo.say({ text }, { deadline: "1 hour" }) })
        const { text } = yield* echo.say({ text: "" }, { deadline: "1 minute" })
        assert.closeTo(Number(text), Date.now() + 60_000, 10_000)
        assert.strictEqual((yield* behind.echo.say({ text: "" })).text, "Infinity")
      }))

    it.effect("requests that fail cancel the RPC, which fails as they did", () =>
      Effect.gen(function*() {
        const { handlers, interrupted, reached } = hanging()
        const { echo } = yield* serve(handlers)
        const failing = Stream.fromEffect(Effect.andThen(reached.await, Effect.fail("no more" as const)))
        assert.strictEqual(yield* Effect.flip(echo.sum(failing)), "no more")
        yield* interrupted.await
        assert.strictEqual(yield* Effect.flip(Stream.runDrain(echo.chat(failing))), "no more")
      }))

    it.effect("a handler that answers early interrupts the requests, finalizers included", () =>
      Effect.gen(function*() {
        const { echo } = yield* serve({
          sum: (requests) => Effect.as(Stream.runHead(requests), { total: 7 }),
          chat: (requests) => Stream.map(Stream.take(requests, 1), ({ text }) => ({ text }))
        })
        let released = 0
        const endless = <A>(first: A) =>
          Stream.ensuring(Stream.concat(Stream.make(first), Stream.never), Effect.sync(() => void released++))
        assert.strictEqual((yield* echo.sum(endless({ n: 1 }))).total, 7)
        assert.strictEqual((yield* Stream.runCollect(echo.chat(endless({ text: "" })))).length, 1)
        assert.strictEqual(released, 2)
      }))

    it.effect.each<readonly [string, number, number, number]>([
      ["large", 400, 16 * 1024, 200],
      // The wire holds thousands of them.
      ["small", 10_000, 32, transport === "in process" ? 1_000 : 9_000]
    ])(
      "backpressure: %s responses are not made faster than they are taken",
      ([, to, padding, most]) =>
        Effect.gen(function*() {
          let made = 0
          const { echo } = yield* serve({
            count: ({ padding, to }) =>
              Stream.range(1, to).pipe(
                Stream.rechunk(1),
                Stream.map((n) => {
                  made = n
                  return { n, padding: new Uint8Array(padding) }
                })
              )
          })
          const taken = Latch.makeUnsafe(false)
          const counting = yield* echo.count({ to, padding }).pipe(
            Stream.tap(({ n }) => n === 1 ? taken.await : Effect.void),
            Stream.runCount,
            Effect.forkChild
          )
          yield* settled("the handler makes no more", () => made)
          assert.isBelow(made, most)
          yield* taken.open
          assert.strictEqual(yield* Fiber.join(counting), to)
        })
    )

    it.effect("the end of a stream is seen also where the program's fiber yields between looking for it and waiting", () =>
      Effect.gen(function*() {
        const { echo } = yield* serve({
          count: ({ to }) =>
            Stream.concat(Stream.make({ n: 1 }), Stream.fromEffectDrain(Effect.repeat(EventLoop.turn, { times: to })))
        })
        for (let turns = 0; turns < 50; turns++) {
          // The fewest operations with which a fiber still gets on.
          const count = Effect.provideService(
            Stream.runCount(echo.count({ to: turns })),
            Scheduler.MaxOpsBeforeYield,
            3
          )
          assert.strictEqual(yield* count, 1)
        }
      }))

    it.effect("backpressure: requests are not made faster than they are read", () =>
      Effect.gen(function*() {
        const gate = yield* EchoServer.makeGate
        const { echo } = yield* serve({
          chat: (requests) => Stream.unwrap(Effect.as(gate.pass, Stream.map(requests, () => ({ text: "" }))))
        })
        const text = "x".repeat(16 * 1024)
        let made = 0
        const chatting = yield* echo.chat(
          Stream.range(1, 400).pipe(
            Stream.rechunk(1),
            Stream.map((n) => {
              made = n
              return { text }
            })
          )
        ).pipe(Stream.runCount, Effect.forkChild)
        yield* gate.reached
        yield* settled("the client makes no more", () => made)
        assert.isBelow(made, 200)
        yield* gate.open
        assert.strictEqual(yield* Fiber.join(chatting), 400)
      }))

    it.effect("a method that is not served is UNIMPLEMENTED", () =>
      Effect.gen(function*() {
        const { channel } = yield* serve({})
        const health = yield* on(GrpcClient.make(Health), channel)
        assert.strictEqual((yield* Effect.flip(health.check({}))).code, "UNIMPLEMENTED")
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(health.watch({})))).code, "UNIMPLEMENTED")
      }))
  })
}

/** Waits until a number has not changed for 50 turns of the event loop. */
const settled = (what: string, count: () => number): Effect.Effect<void> => {
  let before = -1
  let turns = 0
  return EchoServer.until(what, () => {
    turns = count() === before && before > 0 ? turns + 1 : 0
    before = count()
    return turns > 50
  })
}

describe("an in-process channel", () => {
  it.effect("is for the layers of a program in the place of GrpcChannel.layer, without sockets and with virtual time", () =>
    Effect.gen(function*() {
      class EchoClient extends Context.Service<EchoClient, Client>()("test/EchoClient") {
        static readonly layer = Layer.effect(EchoClient, GrpcClient.make(EchoService))
      }
      const sockets = () => process.getActiveResourcesInfo().filter((name) => /TCP|PIPE/i.test(name)).length
      const before = sockets()
      const program = Effect.flatMap(EchoClient, (echo) =>
        Effect.map(echo.say({ text: "hello" }), ({ text }) => {
          assert.isAtMost(sockets(), before)
          return text
        }))
      const answering = yield* Effect.forkChild(Effect.provide(
        program,
        EchoClient.layer.pipe(
          Layer.provide(GrpcInProcess.layer({ services: [Echo] })),
          Layer.provide(EchoServer.layer({ say: ({ text }) => Effect.delay(Effect.succeed({ text }), "1 hour") }))
        )
      ))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* Fiber.join(answering), "hello")
    }))

  it.effect("runs the middleware of a server, outside of that of its services", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const traced = (name: string) =>
        GrpcMiddleware.make((rpc) => Effect.andThen(Effect.sync(() => events.push(name)), rpc))
      const channel = yield* GrpcInProcess.make({ services: [Echo], middleware: [traced("server")] }).pipe(
        Effect.provide(Echo.toLayer(EchoServer.defaults, { middleware: [traced("service")] }))
      )
      const echo = yield* on(GrpcClient.make(EchoService), channel)
      yield* echo.say({ text: "" })
      assert.deepStrictEqual(events, ["server", "service"])
    }))

  it.effect("has services without a method in common", () =>
    Effect.gen(function*() {
      class Again extends GrpcService.Service<Again>()(EchoService, { id: "test/Again" }) {}
      const exit = yield* GrpcInProcess.make({ services: [Echo, Again] }).pipe(
        Effect.provide([EchoServer.layer(), Again.toLayer(EchoServer.defaults)]),
        Effect.exit
      )
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof DuplicateMethodError)
    }))

  const stoppable = Effect.fnUntraced(function*(handlers: Partial<EchoServer.Handlers>) {
    const scope = yield* Scope.make()
    const channel = yield* GrpcInProcess.make({ services: [Echo], name: "memory", stop: { grace: "10 seconds" } }).pipe(
      Effect.provide(EchoServer.layer(handlers)),
      Scope.provide(scope)
    )
    const echo = yield* on(GrpcClient.make(EchoService), channel)
    const close: Effect.Effect<StopReport> = Effect.andThen(Scope.close(scope, Exit.void), channel.stop)
    return { channel, close, echo }
  })

  it.effect("stops like any channel: what is in flight may end, what comes later is refused, handlers are told", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { channel, close, echo } = yield* stoppable({
        say: ({ text }) => Effect.andThen(gate.pass, Effect.as(GrpcDrain.awaitDraining, { text }))
      })
      const rpc = yield* Effect.forkChild(echo.say({ text: "in time" }))
      yield* gate.reached
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () => channel.phase() !== "Serving")
      const refused = yield* Effect.flip(echo.say({ text: "late" }))
      assert.deepStrictEqual([refused.code, refused.message], ["UNAVAILABLE", "memory is stopping: no new RPCs"])
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(rpc)).text, "in time")
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, succeeded: 1, refused: 1 })
      assert.strictEqual(channel.state(), "SHUTDOWN")
      assert.strictEqual((yield* Effect.flip(channel.awaitReady)).code, "UNAVAILABLE")
    }))

  it.effect("cuts what is left after the grace period, and waits for the finalizers of handlers", () =>
    Effect.gen(function*() {
      const reached = Latch.makeUnsafe(false)
      let isReleased = false
      const { close, echo } = yield* stoppable({
        say: () =>
          Effect.onInterrupt(
            Effect.andThen(reached.open, Effect.never),
            () => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => void (isReleased = true)))
          )
      })
      const rpc = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" })))
      yield* reached.await
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(rpc)).code, "CANCELLED")
      assert.isFalse(isReleased)
      let turns = 0
      yield* EchoServer.until("it had the time to end", () => ++turns > 20)
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepInclude((yield* Fiber.join(closing)).counts, { admitted: 1, interrupted: 1 })
      assert.isTrue(isReleased)
    }))
})
