import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

type Echo = GrpcClient.Client<typeof EchoService>
type Middleware = ReadonlyArray<GrpcClientMiddleware.GrpcClientMiddleware>

const connect = (address: string, middleware?: Middleware, options?: GrpcClient.CallOptions) =>
  Effect.flatMap(
    GrpcChannel.make({ address }),
    (channel) =>
      Effect.provideService(
        GrpcClient.make(EchoService, { ...options, middleware }),
        GrpcChannel.GrpcChannel,
        channel
      )
  )

/** Serves these handlers to a client with this middleware. */
const serve = Effect.fnUntraced(function*(middleware: Middleware, handlers: Partial<EchoServer.Handlers> = {}) {
  const server = yield* EchoServer.make(handlers)
  return { ...server, echo: yield* connect(server.target, middleware) }
})

const numbers = Stream.map(Stream.range(1, 3), (n) => ({ n }))

const kinds: ReadonlyArray<readonly [string, string, (echo: Echo) => Effect.Effect<unknown, unknown>]> = [
  ["unary", "Say", (echo) => Effect.map(echo.say({ text: "a" }), ({ text }) => text)],
  [
    "a server stream",
    "Count",
    (echo) => Effect.map(Stream.runCollect(echo.count({ to: 3 })), (all) => all.map(({ n }) => n))
  ],
  ["a client stream", "Sum", (echo) => Effect.map(echo.sum(numbers), ({ total }) => total)],
  [
    "a bidirectional stream",
    "Chat",
    (echo) => Effect.map(Stream.runCollect(echo.chat(Stream.make({ text: "a" }))), (all) => all.map(({ text }) => text))
  ]
]
const results = ["a", [1, 2, 3], 6, ["a!"]]

describe("middleware", () => {
  for (const [index, [name, method, run]] of kinds.entries()) {
    it.effect(`of ${name}: that of all clients outside, the first outermost; what it adds is sent, what it was is seen`, () =>
      Effect.gen(function*() {
        const events: Array<string> = []
        const calls: Array<GrpcClientMiddleware.Call> = []
        const traced = (name: string): GrpcClientMiddleware.GrpcClientMiddleware => (call, next) =>
          Effect.suspend(() => {
            events.push(`> ${name}`)
            calls.push(call)
            const added = GrpcMetadata.append(call.metadata, "x-way", name)
            return Effect.onExit(next({ ...call, metadata: added }), () => Effect.sync(() => events.push(`< ${name}`)))
          })
        let sent: ReadonlyArray<string> = []
        const told = Effect.map(GrpcCall.metadata, (metadata) => {
          sent = GrpcMetadata.getAll(metadata, "x-way")
        })
        const { close, target } = yield* EchoServer.make({
          say: (request) => Effect.andThen(told, EchoServer.defaults.say(request)),
          count: (request) => Stream.concat(Stream.fromEffectDrain(told), EchoServer.defaults.count(request)),
          sum: (requests) => Effect.andThen(told, EchoServer.defaults.sum(requests)),
          chat: (requests) => Stream.concat(Stream.fromEffectDrain(told), EchoServer.defaults.chat(requests))
        })
        const echo = yield* connect(target, [traced("c"), traced("d")]).pipe(
          Effect.provide(GrpcClientMiddleware.layer([traced("b")])),
          Effect.provide(GrpcClientMiddleware.layer([traced("a")]))
        )
        assert.deepStrictEqual(yield* run(echo), results[index])
        assert.deepStrictEqual(events, ["> a", "> b", "> c", "> d", "< d", "< c", "< b", "< a"])
        assert.deepStrictEqual(sent.join(", "), "a, b, c, d")
        const [call] = calls
        assert.deepInclude({ ...call }, {
          path: `/lastcall.test.v1.EchoService/${method}`,
          service: "lastcall.test.v1.EchoService",
          method,
          target,
          deadline: undefined,
          waitForReady: undefined,
          requestStream: index > 1,
          responseStream: index % 2 === 1
        })
        assert.isAbove(call!.sentBytes(), 0)
        assert.isAbove(call!.receivedBytes(), 0)
        assert.deepInclude((yield* close).counts, { admitted: 1, succeeded: 1 })
      }))

    it.effect(`of ${name}: may refuse it, and nothing is sent`, () =>
      Effect.gen(function*() {
        const { close, echo } = yield* serve([() => Effect.fail(GrpcError.permissionDenied("not today"))])
        const error = yield* Effect.flip(run(echo))
        assert.instanceOf(error, GrpcError.GrpcError)
        assert.strictEqual(error.code, "PERMISSION_DENIED")
        assert.strictEqual((yield* close).counts.admitted, 0)
      }))

    it.effect(`of ${name}: may send it again`, () =>
      Effect.gen(function*() {
        let tries = 0
        const flaky = Effect.suspend(() => ++tries < 3 ? Effect.fail(GrpcError.aborted("again")) : Effect.void)
        const { close, echo } = yield* serve(
          [(call, next) => Effect.retry(next(call), Schedule.recurs(5))],
          {
            say: (request) => Effect.andThen(flaky, EchoServer.defaults.say(request)),
            count: (request) => Stream.concat(Stream.fromEffectDrain(flaky), EchoServer.defaults.count(request)),
            sum: (requests) => Effect.andThen(flaky, EchoServer.defaults.sum(requests)),
            chat: (requests) => Stream.concat(Stream.fromEffectDrain(flaky), EchoServer.defaults.chat(requests))
          }
        )
        assert.deepStrictEqual(yield* run(echo), results[index])
        assert.deepInclude((yield* close).counts, { admitted: 3, failed: 2, succeeded: 1 })
      }))

    it.effect(`of ${name}: what it throws kills the RPC, and not the client`, () =>
      Effect.gen(function*() {
        let isBroken = true
        const { echo } = yield* serve([(call, next) => {
          if (isBroken) throw new Error("a mistake")
          return next(call)
        }])
        const exit = yield* Effect.exit(run(echo))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        isBroken = false
        assert.deepStrictEqual(yield* run(echo), results[index])
      }))

    it.effect(`of ${name}: an interruption reaches it, the handler, and is waited for`, () =>
      Effect.gen(function*() {
        const reached = Latch.makeUnsafe(false)
        const interrupted = Latch.makeUnsafe(false)
        const hang = Effect.onInterrupt(Effect.andThen(reached.open, Effect.never), () => interrupted.open)
        let code = ""
        const { echo } = yield* serve([(call, next) =>
          Effect.onExit(next(call), (exit) =>
            Effect.andThen(
              interrupted.await,
              Effect.sync(() => {
                code = GrpcClientMiddleware.codeOf(exit)
              })
            ))], {
          say: () => hang,
          count: () => Stream.fromEffect(hang),
          sum: () => hang,
          chat: () => Stream.fromEffect(hang)
        })
        const rpc = yield* Effect.forkChild(run(echo))
        yield* reached.await
        yield* Fiber.interrupt(rpc)
        assert.strictEqual(code, "CANCELLED")
      }))
  }

  it.effect("of streams: responses are handed over as they come, and not faster than they are taken", () =>
    Effect.gen(function*() {
      let made = 0
      const { echo } = yield* serve([(call, next) => next(call)], {
        count: ({ to }) =>
          Stream.range(1, to).pipe(
            Stream.rechunk(1),
            Stream.map((n) => {
              made = n
              return { n, padding: new Uint8Array(16 * 1024) }
            })
          )
      })
      const taken = Latch.makeUnsafe(false)
      const counting = yield* echo.count({ to: 400 }).pipe(
        Stream.tap(({ n }) => n === 1 ? taken.await : Effect.void),
        Stream.runCount,
        Effect.forkChild
      )
      let before = -1
      let turns = 0
      yield* EchoServer.until("the server makes no more", () => {
        turns = made === before && made > 0 ? turns + 1 : 0
        before = made
        return turns > 50
      })
      assert.isBelow(made, 200)
      yield* taken.open
      assert.strictEqual(yield* Fiber.join(counting), 400)
    }))

  it.effect("of streams: one that is left early ends as CANCELLED, and the handler is interrupted", () =>
    Effect.gen(function*() {
      const interrupted = Latch.makeUnsafe(false)
      const codes: Array<string> = []
      const { echo } = yield* serve([
        (call, next) =>
          Effect.onExit(next(call), (exit) => Effect.sync(() => codes.push(GrpcClientMiddleware.codeOf(exit))))
      ], {
        count: () =>
          Stream.concat(
            Stream.make({ n: 1 }),
            Stream.fromEffect(Effect.onInterrupt(Effect.never, () => interrupted.open))
          )
      })
      const first = yield* Stream.runCollect(Stream.take(echo.count({ to: 1 }), 1))
      assert.deepStrictEqual(first.map(({ n }) => n), [1])
      assert.deepStrictEqual(codes, ["CANCELLED"])
      yield* interrupted.await
    }))

  it.effect("of streams: one whose responses were read is not sent again, and fails as it did", () =>
    Effect.gen(function*() {
      const { close, echo } = yield* serve([(call, next) => Effect.retry(next(call), Schedule.recurs(3))], {
        count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fail(GrpcError.aborted("half-way")))
      })
      const received: Array<number> = []
      const error = yield* Effect.flip(
        Stream.runForEach(echo.count({ to: 1 }), ({ n }) => Effect.sync(() => received.push(n)))
      )
      assert.deepStrictEqual([error.code, error.message], ["ABORTED", "half-way"])
      assert.deepStrictEqual(received, [1])
      assert.strictEqual((yield* close).counts.admitted, 1)
    }))

  it.effect("of streams: it may end one, by a failure of its own or as if it were complete", () =>
    Effect.gen(function*() {
      const interrupted: Array<string> = []
      const handlers: Partial<EchoServer.Handlers> = {
        count: () =>
          Stream.concat(
            Stream.make({ n: 1 }),
            Stream.fromEffect(Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push("handler"))))
          )
      }
      const over = Latch.makeUnsafe(false)
      const cutting = yield* serve(
        [(call, next) =>
          Effect.raceFirst(next(call), Effect.andThen(over.await, Effect.fail(GrpcError.dataLoss("enough"))))],
        handlers
      )
      const error = yield* Effect.flip(Stream.runForEach(cutting.echo.count({ to: 1 }), () => over.open))
      assert.strictEqual(error.code, "DATA_LOSS")
      const ending = yield* serve(
        [(call, next) => Effect.catch(next(call), () => Effect.void as Effect.Effect<never>)],
        { count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fail(GrpcError.aborted(""))) }
      )
      assert.strictEqual(yield* Stream.runCount(ending.echo.count({ to: 1 })), 1)
      yield* EchoServer.until("the handler was interrupted", () => interrupted.length === 1)
    }))

  it.effect("requests that fail pass through it as they are", () =>
    Effect.gen(function*() {
      const codes: Array<string> = []
      const { echo } = yield* serve([(call, next) =>
        Effect.onExit(next(call), (exit) => Effect.sync(() => codes.push(GrpcClientMiddleware.codeOf(exit))))])
      const failing = Stream.concat(Stream.make({ n: 1 }), Stream.fail("no more" as const))
      assert.strictEqual(yield* Effect.flip(echo.sum(failing)), "no more")
      const chat = echo.chat(Stream.concat(Stream.make({ text: "" }), Stream.fail("no more" as const)))
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(chat)), "no more")
      assert.deepStrictEqual(codes, ["CANCELLED", "CANCELLED"])
    }))
})

describe("the middleware that comes with the package", () => {
  it.effect("deadline is for RPCs that have none", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({
        say: () => Effect.map(GrpcCall.GrpcCall, ({ deadline }) => ({ text: String(deadline) })),
        count: () => Stream.fromEffect(Effect.map(GrpcCall.GrpcCall, ({ deadline }) => ({ n: deadline - Date.now() })))
      })
      const left = ({ text }: { readonly text: string }) => Number(text) - Date.now()
      const echo = yield* connect(target, [GrpcClientMiddleware.deadline("1 minute")])
      assert.closeTo(left(yield* echo.say({ text: "" })), 60_000, 10_000)
      assert.closeTo(left(yield* echo.say({ text: "" }, { deadline: "1 hour" })), 3_600_000, 10_000)
      assert.strictEqual(left(yield* echo.say({ text: "" }, { deadline: Duration.infinity })), Number.POSITIVE_INFINITY)
      const [count] = yield* Stream.runCollect(echo.count({ to: 1 }))
      assert.closeTo(count!.n, 60_000, 10_000)
      const limited = yield* connect(target, [GrpcClientMiddleware.deadline("1 minute")], { deadline: "2 minutes" })
      assert.closeTo(left(yield* limited.say({ text: "" })), 120_000, 10_000)
      assert.throws(() => GrpcClientMiddleware.deadline("soon" as never), GrpcClient.GrpcClientOptionError)
    }))

  it.effect("deadline is over in time, for a stream as well", () =>
    Effect.gen(function*() {
      const { echo } = yield* serve([GrpcClientMiddleware.deadline(20)], {
        say: () => Effect.never,
        count: () => Stream.never
      })
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "DEADLINE_EXCEEDED")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(echo.count({ to: 1 })))).code, "DEADLINE_EXCEEDED")
    }))

  it.effect("metadata is made for each RPC; where that fails nothing is sent", () =>
    Effect.gen(function*() {
      let made = 0
      const { close, target } = yield* EchoServer.make({
        say: () =>
          Effect.map(GrpcCall.metadata, (metadata) => ({ text: GrpcMetadata.getAll(metadata, "x-token").join() }))
      })
      const echo = yield* connect(target, [
        GrpcClientMiddleware.metadata(Effect.sync(() => GrpcMetadata.make({ "x-token": String(++made) })))
      ])
      assert.strictEqual((yield* echo.say({ text: "" })).text, "1")
      const own = GrpcMetadata.make({ "x-token": "own" })
      assert.strictEqual((yield* echo.say({ text: "" }, { metadata: own })).text.replace(" ", ""), "2,own")
      const refused = yield* connect(target, [
        GrpcClientMiddleware.metadata(Effect.fail(GrpcError.unauthenticated("no token")))
      ])
      const error = yield* Effect.flip(refused.say({ text: "" }))
      assert.deepStrictEqual([error.code, error.message], ["UNAUTHENTICATED", "no token"])
      assert.strictEqual((yield* close).counts.admitted, 2)
    }))

  it.effect("accessLog tells each RPC with its status, duration and sizes", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        const annotations = fiber.getRef(References.CurrentLogAnnotations)
        lines.push(`${logLevel} ${String(message)} ${annotations["sentBytes"]} ${annotations["receivedBytes"]}`)
      })
      const { echo } = yield* serve([GrpcClientMiddleware.accessLog], {
        say: ({ text }) => text === "no" ? Effect.fail(GrpcError.unavailable("")) : Effect.succeed({ text })
      })
      yield* Effect.gen(function*() {
        yield* echo.say({ text: "hello" })
        yield* Effect.flip(echo.say({ text: "no" }))
        yield* Stream.runDrain(echo.count({ to: 3 }))
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, [
        "Info /lastcall.test.v1.EchoService/Say OK 7 7",
        "Warn /lastcall.test.v1.EchoService/Say UNAVAILABLE 4 0",
        "Info /lastcall.test.v1.EchoService/Count OK 2 6"
      ])
    }))

  it.effect("metrics count RPCs and measure them, of streams too", () =>
    Effect.gen(function*() {
      const { echo, target } = yield* serve([GrpcClientMiddleware.metrics], {
        say: ({ text }) => text === "no" ? Effect.fail(GrpcError.notFound("")) : Effect.succeed({ text })
      })
      const value = <I, S>(metric: Metric.Metric<I, S>, method: string, status?: string) =>
        Metric.value(Metric.withAttributes(metric, {
          "grpc.method": `lastcall.test.v1.EchoService/${method}`,
          "grpc.target": target,
          ...(status === undefined ? {} : { "grpc.status": status })
        }))
      yield* Effect.gen(function*() {
        yield* echo.say({ text: "hello" })
        yield* echo.say({ text: "hello" })
        yield* Effect.flip(echo.say({ text: "no" }))
        yield* Stream.runDrain(echo.count({ to: 3 }))
        assert.strictEqual((yield* value(GrpcClientMiddleware.callStarted, "Say")).count, 3)
        assert.strictEqual((yield* value(GrpcClientMiddleware.callDuration, "Say", "OK")).count, 2)
        assert.strictEqual((yield* value(GrpcClientMiddleware.callDuration, "Say", "NOT_FOUND")).count, 1)
        assert.strictEqual((yield* value(GrpcClientMiddleware.callSent, "Say", "OK")).sum, 2 * 7)
        assert.strictEqual((yield* value(GrpcClientMiddleware.callReceived, "Count", "OK")).sum, 6)
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
    }))
})

describe("tracing", () => {
  /** Tells what came as metadata, and makes an RPC of its own where it has a client. */
  const recorded = () => {
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span(options) {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return { spans, tracer }
  }
  const names = ["traceparent", "tracestate", "baggage"]
  const telling: Partial<EchoServer.Handlers> = {
    say: () =>
      Effect.map(GrpcCall.metadata, (metadata) => ({
        text: names.map((name) => GrpcMetadata.getAll(metadata, name).join("|")).join(" ")
      }))
  }

  it.effect("makes a client span below the current one, which the server gets as traceparent", () =>
    Effect.gen(function*() {
      const { spans, tracer } = recorded()
      const { echo, target } = yield* serve([GrpcClientMiddleware.tracing], {
        ...telling,
        count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fail(GrpcError.notFound("")))
      })
      yield* Effect.gen(function*() {
        const { text } = yield* echo.say({ text: "" })
        yield* Effect.flip(Stream.runDrain(echo.count({ to: 1 })))
        const [caller, say, count] = spans
        assert.strictEqual(text.trim(), `00-${say!.traceId}-${say!.spanId}-01`)
        assert.strictEqual(say!.name, "lastcall.test.v1.EchoService/Say")
        assert.strictEqual(say!.kind, "client")
        assert.strictEqual(Option.getOrThrow(say!.parent).spanId, caller!.spanId)
        assert.deepInclude(Object.fromEntries(say!.attributes), {
          "rpc.system": "grpc",
          "rpc.service": "lastcall.test.v1.EchoService",
          "rpc.method": "Say",
          "server.address": target,
          "rpc.grpc.status_code": 0
        })
        assert.strictEqual(count!.attributes.get("rpc.grpc.status_code"), 5)
        assert.strictEqual(count!.status._tag, "Ended")
      }).pipe(Effect.withSpan("caller"), Effect.provideService(Tracer.Tracer, tracer))
    }))

  const incoming = {
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate: "vendor=1",
    baggage: "user=ada"
  }
  const parent = Tracer.externalSpan({
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    sampled: true
  })
  const passedOn = Effect.fnUntraced(function*(
    inHandler: (echo: Echo) => Effect.Effect<{ readonly text: string }, GrpcError.GrpcError>
  ) {
    const behind = yield* serve([GrpcClientMiddleware.tracing], telling)
    const { target } = yield* EchoServer.make({ say: () => inHandler(behind.echo) })
    const front = yield* connect(target)
    const { text } = yield* front.say({ text: "" }, { metadata: GrpcMetadata.make(incoming) })
    return text.split(" ")
  })

  it.effect("in a handler of the same trace it passes tracestate and baggage on", () =>
    Effect.gen(function*() {
      const [traceparent, tracestate, baggage] = yield* passedOn((echo) =>
        Effect.withParentSpan(echo.say({ text: "" }), parent)
      )
      assert.match(traceparent!, /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)/)
      assert.deepStrictEqual([tracestate, baggage], ["vendor=1", "user=ada"])
    }))

  it.effect("in a handler of another trace it passes on baggage only", () =>
    Effect.gen(function*() {
      const [traceparent, tracestate, baggage] = yield* passedOn((echo) => echo.say({ text: "" }))
      assert.notInclude(traceparent!, "0af7651916cd43dd8448eb211c80319c")
      assert.deepStrictEqual([tracestate, baggage], ["", "user=ada"])
    }))

  it.effect("what the RPC has of its own is kept", () =>
    Effect.gen(function*() {
      const own = { traceparent: `00-${"1".repeat(32)}-${"2".repeat(16)}-00`, baggage: "user=eve" }
      const [traceparent, tracestate, baggage] = yield* passedOn((echo) =>
        Effect.withParentSpan(echo.say({ text: "" }, { metadata: GrpcMetadata.make(own) }), parent)
      )
      assert.deepStrictEqual([traceparent, tracestate, baggage], [own.traceparent, "", "user=eve"])
    }))
})
