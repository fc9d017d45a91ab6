import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcCallModule from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoServiceService } from "./gen-ts-proto/lastcall/test/v1/echo.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

type Echo = GrpcClient.Client<typeof EchoService>

const connect = (address: string, options?: GrpcClient.CallOptions) =>
  Effect.flatMap(
    GrpcChannel.make({ address }),
    (channel) => Effect.provideService(GrpcClient.make(EchoService, options), GrpcChannel.GrpcChannel, channel)
  )

/** A server of the test service by grpc-js alone. */
const bare = (handlers: grpc.UntypedServiceImplementation): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: grpc.Server; readonly port: number }>((resume) => {
        const server = new grpc.Server()
        server.addService(EchoClient.definition, handlers)
        server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, port) =>
          resume(Effect.succeed({ server, port })))
      }),
      ({ server }) =>
        Effect.sync(() =>
          server.forceShutdown()
        )
    ),
    ({ port }) => `127.0.0.1:${port}`
  )

/** The test service as grpc-js's users write it. */
const bareHandlers: grpc.UntypedServiceImplementation = {
  say: (call: grpc.ServerUnaryCall<{ text: string }, object>, callback: grpc.sendUnaryData<object>) =>
    callback(null, { text: call.request.text }),
  count(call: grpc.ServerWritableStream<{ to: number }, object>) {
    for (let n = 1; n <= call.request.to; n++) call.write({ n })
    call.end()
  },
  sum(call: grpc.ServerReadableStream<{ n: number }, object>, callback: grpc.sendUnaryData<object>) {
    let total = 0
    call.on("data", ({ n }: { n: number }) => total += n)
    call.on("end", () => callback(null, { total }))
  },
  chat(call: grpc.ServerDuplexStream<{ text: string }, object>) {
    call.on("data", ({ text }: { text: string }) => call.write({ text: `${text}!` }))
    call.on("end", () => call.end())
  }
}

const upTo = (to: number): ReadonlyArray<number> => Array.from({ length: to }, (_, i) => i + 1)

const expectServed = (echo: Echo) =>
  Effect.gen(function*() {
    assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
    const counted = yield* Stream.runCollect(echo.count({ to: 100 }))
    assert.deepStrictEqual(counted.map(({ n }) => n), upTo(100))
    assert.deepStrictEqual(yield* Stream.runCollect(echo.count({ to: 0 })), [])
    const summed = yield* echo.sum(Stream.map(Stream.range(1, 100), (n) => ({ n })))
    assert.strictEqual(summed.total, 5050)
    const chatted = yield* Stream.runCollect(echo.chat(Stream.map(Stream.range(1, 50), (n) => ({ text: `${n}` }))))
    assert.deepStrictEqual(chatted.map(({ text }) => text), upTo(50).map((n) => `${n}!`))
  })

describe("the four kinds", () => {
  it.effect("are served by a server of ours", () =>
    Effect.gen(function*() {
      const { close, target } = yield* EchoServer.make()
      yield* expectServed(yield* connect(target))
      assert.deepInclude((yield* close).counts, { admitted: 5, succeeded: 5 })
    }))

  it.effect("are served by a bare grpc-js server", () =>
    Effect.gen(function*() {
      yield* expectServed(yield* connect(yield* bare(bareHandlers)))
    }))

  it.effect("are those of a grpc-js ServiceDefinition too", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const channel = yield* GrpcChannel.make({ address: target })
      const echo = yield* Effect.provideService(
        GrpcClient.make(EchoServiceService),
        GrpcChannel.GrpcChannel,
        channel
      )
      assert.deepStrictEqual(yield* echo.say({ text: "hello" }), { text: "hello" })
      const counted = yield* Stream.runCollect(echo.count({ to: 3, padding: 0 }))
      assert.deepStrictEqual(counted.map(({ n }) => n), [1, 2, 3])
      assert.deepStrictEqual(yield* echo.sum(Stream.make({ n: 1 }, { n: 2 })), { total: 3 })
      assert.deepStrictEqual(yield* Stream.runCollect(echo.chat(Stream.make({ text: "a" }))), [{ text: "a!" }])
    }))

  it.effect("bidirectional: a response can be had before the next request is made", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const echo = yield* connect(target)
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
})

describe("backpressure", () => {
  it.effect("a consumer that does not take responses stops the server's stream, and gets all of them when it does", () =>
    Effect.gen(function*() {
      let made = 0
      const { target } = yield* EchoServer.make({
        count: ({ padding, to }) =>
          Stream.range(1, to).pipe(
            Stream.rechunk(1),
            Stream.map((n) => {
              made = n
              return { n, padding: new Uint8Array(padding) }
            })
          )
      })
      const echo = yield* connect(target)
      const taken = Latch.makeUnsafe(false)
      const counting = yield* echo.count({ to: 600, padding: 16 * 1024 }).pipe(
        Stream.tap(({ n }) => n === 1 ? taken.await : Effect.void),
        Stream.runCollect,
        Effect.forkChild
      )
      // It stops somewhere: in the end it makes none during 50 turns of the event loop.
      let before = -1
      let turns = 0
      yield* EchoServer.until("the server makes no more", () => {
        turns = made === before && made > 0 ? turns + 1 : 0
        before = made
        return turns > 50
      })
      assert.isBelow(made, 500)
      yield* taken.open
      assert.deepStrictEqual((yield* Fiber.join(counting)).map(({ n }) => n), upTo(600))
    }))

  it.effect("a server that does not read requests stops the client's stream, and gets all of them when it does", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { target } = yield* EchoServer.make({
        chat: (requests) => Stream.unwrap(Effect.as(gate.pass, Stream.map(requests, ({ text }) => ({ text })))),
        sum: (requests) =>
          Effect.andThen(
            gate.pass,
            Effect.map(Stream.runCount(requests), (total) => ({ total }))
          )
      })
      const echo = yield* connect(target)
      const text = "x".repeat(16 * 1024)
      let made = 0
      const chatting = yield* echo.chat(
        Stream.range(1, 600).pipe(
          Stream.rechunk(1),
          Stream.map((n) => {
            made = n
            return { text }
          })
        )
      ).pipe(Stream.runCount, Effect.forkChild)
      yield* gate.reached
      let before = -1
      let turns = 0
      yield* EchoServer.until("the client makes no more", () => {
        turns = made === before && made > 0 ? turns + 1 : 0
        before = made
        return turns > 50
      })
      assert.isBelow(made, 500)
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(chatting), 600)
      assert.strictEqual((yield* echo.sum(Stream.map(Stream.range(1, 500), (n) => ({ n })))).total, 500)
    }))
})

describe("interruption", () => {
  /** A server whose handlers hang, and say when they were interrupted. */
  const hanging = Effect.gen(function*() {
    const reached = Latch.makeUnsafe(false)
    const interrupted = Latch.makeUnsafe(false)
    const hang = Effect.onInterrupt(Effect.andThen(reached.open, Effect.never), () => interrupted.open)
    const { target } = yield* EchoServer.make({
      say: () => hang,
      count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fromEffect(hang)),
      sum: () => hang,
      chat: () => Stream.concat(Stream.make({ text: "" }), Stream.fromEffect(hang))
    })
    return { reached, interrupted, echo: yield* connect(target) }
  })

  const kinds: ReadonlyArray<readonly [string, (echo: Echo) => Effect.Effect<unknown, unknown>]> = [
    ["a unary RPC", (echo) => echo.say({ text: "" })],
    ["a server stream", (echo) => Stream.runDrain(echo.count({ to: 1 }))],
    ["a client stream", (echo) => echo.sum(Stream.never)],
    ["a bidirectional stream", (echo) => Stream.runDrain(echo.chat(Stream.never))]
  ]
  for (const [name, run] of kinds) {
    it.effect(`of ${name} interrupts the handler`, () =>
      Effect.gen(function*() {
        const { echo, interrupted, reached } = yield* hanging
        const rpc = yield* Effect.forkChild(run(echo))
        yield* reached.await
        assert.isFalse(interrupted.isOpen())
        yield* Fiber.interrupt(rpc)
        yield* interrupted.await
      }))
  }

  it.effect("of a stream that was left early interrupts the handler", () =>
    Effect.gen(function*() {
      const { echo, interrupted } = yield* hanging
      const first = yield* Stream.runCollect(Stream.take(echo.count({ to: 1 }), 1))
      assert.deepStrictEqual(first.map(({ n }) => n), [1])
      yield* interrupted.await
    }))

  it.effect("by Effect.timeout interrupts the handler", () =>
    Effect.gen(function*() {
      const { echo, interrupted, reached } = yield* hanging
      const rpc = yield* Effect.forkChild(Effect.timeoutOption(echo.say({ text: "" }), "1 minute"))
      yield* reached.await
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "None")
      yield* interrupted.await
    }))

  it.effect("requests that fail cancel the RPC, which fails as they did", () =>
    Effect.gen(function*() {
      const { echo, interrupted, reached } = yield* hanging
      const failing = Stream.fromEffect(Effect.andThen(reached.await, Effect.fail("no more" as const)))
      assert.strictEqual(yield* Effect.flip(echo.sum(failing)), "no more")
      yield* interrupted.await
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(echo.chat(failing))), "no more")
    }))

  it.effect("a server that answers early interrupts the requests, finalizers included", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({
        sum: () => Effect.succeed({ total: 7 }),
        chat: () => Stream.make({ text: "enough" })
      })
      const echo = yield* connect(target)
      let released = 0
      const requests = Stream.ensuring(Stream.never, Effect.sync(() => void released++))
      assert.strictEqual((yield* echo.sum(requests)).total, 7)
      assert.strictEqual(released, 1)
      assert.strictEqual((yield* Stream.runCollect(echo.chat(requests))).length, 1)
      assert.strictEqual(released, 2)
    }))
})

describe("errors", () => {
  it.effect("have the code, message, details and trailers of the server, of all four kinds", () =>
    Effect.gen(function*() {
      const error = GrpcError.invalidArgument("the näme is empty").pipe(
        GrpcError.withDetails([GrpcError.detail(GrpcErrorDetails.ErrorInfoSchema, { reason: "EMPTY" })]),
        GrpcError.withTrailers(GrpcMetadata.make({ "x-hint": "say a name", "x-bin": new Uint8Array([1, 2]) }))
      )
      const { target } = yield* EchoServer.make({
        say: () => Effect.fail(error),
        count: () => Stream.concat(Stream.make({ n: 1 }, { n: 2 }), Stream.fail(error)),
        sum: () => Effect.fail(error),
        chat: () => Stream.fail(error)
      })
      const echo = yield* connect(target)
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
        assert.strictEqual(error.code, "INVALID_ARGUMENT")
        assert.strictEqual(error.message, "the näme is empty")
        assert.deepStrictEqual(
          GrpcError.detailsOf(error, GrpcErrorDetails.ErrorInfoSchema).map(({ reason }) => reason),
          ["EMPTY"]
        )
        assert.deepStrictEqual(error.trailers?.entries.map(([key]) => key), ["x-hint", "x-bin"])
        assert.strictEqual(GrpcMetadata.get(error.trailers!, "x-hint"), "say a name")
      }
    }))

  it.effect("without details and trailers have none, and details that cannot be read do not hide the error", () =>
    Effect.gen(function*() {
      const garbage = new grpc.Metadata()
      garbage.set("grpc-status-details-bin", Buffer.from([255, 255]))
      const target = yield* bare({
        ...bareHandlers,
        say: (call: grpc.ServerUnaryCall<{ text: string }, object>, callback: grpc.sendUnaryData<object>) =>
          callback({ code: 5, details: "no", ...(call.request.text === "" ? {} : { metadata: garbage }) })
      })
      const echo = yield* connect(target)
      for (const text of ["", "garbage"]) {
        const error = yield* Effect.flip(echo.say({ text }))
        assert.deepStrictEqual(
          [error.code, error.message, error.details, error.trailers],
          ["NOT_FOUND", "no", undefined, undefined]
        )
      }
    }))

  it.effect("a request that cannot be written fails its RPC, whose server sees no request", () =>
    Effect.gen(function*() {
      const { close, target } = yield* EchoServer.make()
      const echo = yield* connect(target)
      const wrong = { to: "many" as unknown as number }
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(echo.count(wrong)))).code, "INTERNAL")
      assert.strictEqual((yield* echo.say({ text: "next" })).text, "next")
      assert.strictEqual((yield* close).counts.succeeded, 1)
    }))

  it.effect("a server that is not there is UNAVAILABLE", () =>
    Effect.gen(function*() {
      const { close, target } = yield* EchoServer.make()
      yield* close
      const echo = yield* connect(target)
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "UNAVAILABLE")
    }))
})

describe("deadlines", () => {
  /** A server whose handler tells its deadline; `wait` makes it hang. */
  const telling = Effect.gen(function*() {
    const { target } = yield* EchoServer.make({
      say: ({ text }) =>
        text === "wait" ? Effect.never : Effect.map(GrpcCall, ({ deadline }) => ({ text: String(deadline) }))
    })
    return target
  })

  it.effect("of an RPC, of a client, and none", () =>
    Effect.gen(function*() {
      const target = yield* telling
      const echo = yield* connect(target)
      const within = (seconds: number, { text }: { readonly text: string }) => {
        assert.closeTo(Number(text), Date.now() + seconds * 1_000, 5_000)
      }
      assert.strictEqual((yield* echo.say({ text: "" })).text, "Infinity")
      within(60, yield* echo.say({ text: "" }, { deadline: "1 minute" }))
      const limited = yield* connect(target, { deadline: "2 minutes" })
      within(120, yield* limited.say({ text: "" }))
      within(60, yield* limited.say({ text: "" }, { deadline: "1 minute" }))
      const error = yield* Effect.flip(echo.say({ text: "wait" }, { deadline: 5 }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
    }))

  it.effect("in a handler: never later than that of the RPC being served", () =>
    Effect.gen(function*() {
      const behind = yield* connect(yield* telling)
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.gen(function*() {
            const options: GrpcClient.CallOptions = text === "" ? {} : { deadline: Number(text) }
            const own = yield* GrpcCall
            const reply = yield* behind.say({ text: "" }, options)
            return { text: `${own.deadline} ${reply.text}` }
          })
      })
      const echo = yield* connect(target)
      const ask = (own: string, options?: GrpcClient.CallOptions) =>
        Effect.map(echo.say({ text: own }, options), ({ text }) => text.split(" ").map(Number) as [number, number])

      const [served, passedOn] = yield* ask("", { deadline: "1 minute" })
      // It travels as what is left, in whole milliseconds.
      assert.closeTo(passedOn, served, 1_000)
      const [, notLonger] = yield* ask("3600000", { deadline: "1 minute" })
      assert.isBelow(notLonger, Date.now() + 61_000)
      const [longer, shorter] = yield* ask("60000", { deadline: "1 hour" })
      assert.isAbove(longer, Date.now() + 3_000_000)
      assert.isBelow(shorter, Date.now() + 61_000)
      assert.deepStrictEqual(yield* ask(""), [Infinity, Infinity])
    }))
})

describe("wait for ready", () => {
  it.effect("waits for a server that is not there yet", () =>
    Effect.gen(function*() {
      const first = yield* EchoServer.make()
      yield* first.close
      const channel = yield* GrpcChannel.make({ address: first.target })
      const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
      const rpc = yield* Effect.forkChild(echo.say({ text: "at last" }, { waitForReady: true, deadline: "8 seconds" }))
      yield* EchoServer.until("it could not connect", () =>
        channel.client.getChannel().getConnectivityState(false) === grpc.connectivityState.TRANSIENT_FAILURE)
      yield* EchoServer.make({}, { listen: GrpcListener.tcp({ port: first.port, host: "127.0.0.1" }) })
      assert.strictEqual((yield* Fiber.join(rpc)).text, "at last")
    }))
})

describe("metadata", () => {
  const answering = EchoServer.make({
    say: ({ text }) =>
      Effect.gen(function*() {
        const { metadata } = yield* GrpcCall
        yield* GrpcCallModule.addHeaders(GrpcMetadata.make({ "x-head": GrpcMetadata.getAll(metadata, "x-tag") }))
        yield* GrpcCallModule.addTrailers(GrpcMetadata.make({ "x-trail-bin": new Uint8Array([7]) }))
        return text === "fail" ? yield* Effect.fail(GrpcError.notFound("no")) : { text }
      }),
    count: () =>
      Stream.concat(
        Stream.fromEffect(Effect.as(GrpcCallModule.addHeaders(GrpcMetadata.make({ "x-head": "h" })), { n: 1 })),
        Stream.fromEffect(Effect.as(GrpcCallModule.addTrailers(GrpcMetadata.make({ "x-trail": "t" })), { n: 2 }))
      )
  })

  it.effect("of client and RPC are sent; headers and trailers are told, of a failure too", () =>
    Effect.gen(function*() {
      const { target } = yield* answering
      const echo = yield* connect(target, { metadata: GrpcMetadata.make({ "x-tag": "client" }) })
      let headers = GrpcMetadata.empty
      let trailers = GrpcMetadata.empty
      const options: GrpcClient.CallOptions = {
        metadata: GrpcMetadata.make({ "x-tag": "rpc" }),
        onHeaders: (metadata) => headers = metadata,
        onTrailers: (metadata) => trailers = metadata
      }
      yield* echo.say({ text: "" }, options)
      assert.deepStrictEqual(GrpcMetadata.getAll(headers, "x-head").join(", "), "client, rpc")
      assert.deepStrictEqual(Array.from(GrpcMetadata.getBinary(trailers, "x-trail-bin")!), [7])
      trailers = GrpcMetadata.empty
      yield* Effect.flip(echo.say({ text: "fail" }, options))
      assert.deepStrictEqual(trailers.entries.map(([key]) => key), ["x-trail-bin"])

      const seen: Array<string | undefined> = []
      yield* Stream.runForEach(
        echo.count({ to: 2 }, options),
        () => Effect.sync(() => seen.push(GrpcMetadata.get(headers, "x-head")))
      )
      assert.deepStrictEqual(seen, ["h", "h"])
      assert.strictEqual(GrpcMetadata.get(trailers, "x-trail"), "t")
    }))

  it.effect("a listener that throws: the RPC dies, the channel does not", () =>
    Effect.gen(function*() {
      const { target } = yield* answering
      const echo = yield* connect(target)
      const onHeaders = () => {
        throw new Error("a mistake")
      }
      for (const options of [{ onHeaders }, { onTrailers: onHeaders }]) {
        const exit = yield* Effect.exit(echo.say({ text: "" }, options))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      assert.strictEqual((yield* echo.say({ text: "next" })).text, "next")
    }))

  it.effect("the W3C traceparent of the current span is sent, but not over the program's own", () =>
    Effect.gen(function*() {
      const traceparent = Deferred.makeUnsafe<ReadonlyArray<string>>()
      let sent: ReadonlyArray<string> = []
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.map(GrpcCallModule.metadata, (metadata) => {
            sent = GrpcMetadata.getAll(metadata, "traceparent")
            Deferred.doneUnsafe(traceparent, Effect.succeed(sent))
            return { text }
          })
      })
      const echo = yield* connect(target)
      const span = yield* Effect.useSpan(
        "caller",
        (span) => Effect.as(echo.say({ text: "" }).pipe(Effect.withParentSpan(span)), span)
      )
      assert.deepStrictEqual(yield* Deferred.await(traceparent), [`00-${span.traceId}-${span.spanId}-01`])
      const own = `00-${"1".repeat(32)}-${"2".repeat(16)}-00`
      yield* Effect.withSpan(echo.say({ text: "" }, { metadata: GrpcMetadata.make({ traceparent: own }) }), "caller")
      assert.deepStrictEqual(sent, [own])
      yield* echo.say({ text: "" })
      assert.deepStrictEqual(sent, [])
    }))
})
