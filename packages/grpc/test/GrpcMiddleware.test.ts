import { assert, describe, it, vi } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcLimits from "@lastcall/grpc/GrpcLimits"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as EchoClient from "./EchoClient.ts"
import { Echo } from "./EchoServer.ts"
import * as EchoServer from "./EchoServer.ts"

class User extends Context.Service<User, { readonly name: string }>()("test/User") {}
class Directory extends Context.Service<Directory, { readonly names: ReadonlySet<string> }>()("test/Directory") {}

const rest = {
  count: () => Stream.empty,
  sum: () => Effect.succeed({ total: 0 }),
  chat: () => Stream.empty
}

/** Serves an implementation, and gives a client that sends this metadata. */
const serve = Effect.fnUntraced(function*<E, const M extends ReadonlyArray<GrpcMiddleware.GrpcMiddleware>>(
  implementation: Layer.Layer<Echo, E>,
  middleware?: M
) {
  const server = yield* GrpcServer.make("api", {
    services: [Echo],
    listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
    middleware
  }).pipe(Effect.provide(implementation))
  const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
  const say = (text: string, headers: Record<string, string> = {}) =>
    Effect.callback<string, EchoClient.StatusError>((resume) => {
      ;(client as grpc.Client).makeUnaryRequest(
        "/lastcall.test.v1.EchoService/Say",
        EchoClient.definition["say"]!.requestSerialize,
        EchoClient.definition["say"]!.responseDeserialize,
        { text },
        grpc.Metadata.fromHttp2Headers(headers),
        (error, response) =>
          resume(
            error === null
              ? Effect.succeed((response as { text: string }).text)
              : Effect.fail(EchoClient.toStatusError(error))
          )
      )
    })
  return { server, client, say }
})

describe("middleware", () => {
  it.live("runs around handlers: the server's outside of the service's, the first outermost", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const traced = (name: string) =>
        GrpcMiddleware.make((rpc) =>
          Effect.gen(function*() {
            events.push(`> ${name}`)
            const result = yield* rpc
            events.push(`< ${name}`)
            return result
          })
        )
      const { say } = yield* serve(
        Echo.toLayer({ ...rest, say: ({ text }) => Effect.succeed({ text }) }, {
          middleware: [traced("c"), traced("d")]
        }),
        [traced("a"), traced("b")]
      )
      assert.strictEqual(yield* say("hello"), "hello")
      assert.deepStrictEqual(events, ["> a", "> b", "> c", "> d", "< d", "< c", "< b", "< a"])
    }))

  it.live("provides services to handlers of all kinds, made with what the layer has, and refuses without running them", () =>
    Effect.gen(function*() {
      let handled = 0
      const authenticated = GrpcMiddleware.provide(
        User,
        Effect.gen(function*() {
          const { names } = yield* Directory
          const name = GrpcMetadata.get(yield* GrpcCall.metadata, "x-user")
          return name !== undefined && names.has(name)
            ? { name }
            : yield* GrpcError.unauthenticated("who are you?")
        })
      )
      const implementation: Layer.Layer<Echo, never, Directory> = Echo.toLayer({
        ...rest,
        say: ({ text }) =>
          Effect.map(User, ({ name }) => {
            handled++
            return { text: `${text}, ${name}` }
          }),
        chat: () => Stream.fromEffect(Effect.map(User, ({ name }) => ({ text: name })))
      }, { middleware: [authenticated] })
      const { client, say } = yield* serve(
        Layer.provide(implementation, Layer.succeed(Directory, { names: new Set(["ada"]) }))
      )
      assert.strictEqual(yield* say("hello", { "x-user": "ada" }), "hello, ada")
      const refused = yield* Effect.flip(say("hello", { "x-user": "eve" }))
      assert.deepInclude({ ...refused }, { code: grpc.status.UNAUTHENTICATED, details: "who are you?" })
      const metadata = new grpc.Metadata()
      metadata.set("x-user", "ada")
      const chat = client.makeBidiStreamRequest(
        "/lastcall.test.v1.EchoService/Chat",
        EchoClient.definition["chat"]!.requestSerialize,
        EchoClient.definition["chat"]!.responseDeserialize,
        metadata
      ) as grpc.ClientDuplexStream<never, { text: string }>
      assert.deepStrictEqual((yield* EchoClient.gather(chat)).messages.map(({ text }) => text), ["ada"])
      assert.strictEqual(handled, 1)
    }))

  it("what a middleware provides or requires is in the types", () => {
    const asUser = GrpcMiddleware.provide(User, Effect.succeed({ name: "" }))
    const handlers = { ...rest, say: () => Effect.map(User, ({ name }) => ({ text: name })) }
    const without: Layer.Layer<Echo, never, User> = Echo.toLayer(handlers)
    const given: Layer.Layer<Echo> = Echo.toLayer(handlers, { middleware: [asUser] })
    // @ts-expect-error: nobody provides the user
    const missing: Layer.Layer<Echo> = Echo.toLayer(handlers)
    const needing = GrpcMiddleware.make<Directory>((rpc) => Effect.andThen(Directory, rpc))
    const server: Layer.Layer<never, GrpcListener.GrpcListenerError, Echo | Directory> = GrpcServer.layer("api", {
      services: [Echo],
      listen: [],
      middleware: [needing]
    })
    // @ts-expect-error: the middleware needs the directory
    const partly: Layer.Layer<never, GrpcListener.GrpcListenerError, Echo> = server
    assert.isDefined([without, given, missing, partly])
  })

  it.live("a middleware that dies is INTERNAL, and the server lives", () =>
    Effect.gen(function*() {
      const { say } = yield* serve(EchoServer.layer(), [
        GrpcMiddleware.make((rpc) =>
          Effect.flatMap(GrpcCall.metadata, (metadata) =>
            GrpcMetadata.get(metadata, "x-die") === undefined ? rpc : Effect.die(new Error("secret")))
        )
      ])
      const error = yield* Effect.flip(say("hello", { "x-die": "1" }))
      assert.deepInclude({ ...error }, { code: grpc.status.INTERNAL, details: "internal error" })
      assert.strictEqual(yield* say("hello"), "hello")
    }))
})

describe("the status of an RPC by its exit", () => {
  const now = 1_000_000
  const interrupted = Exit.interrupt(1)
  const cases: ReadonlyArray<readonly [string, string, Exit.Exit<unknown, unknown>, number, boolean?]> = [
    ["that succeeded", "OK", Exit.succeed(1), now - 1],
    ["that failed after its deadline", "NOT_FOUND", Exit.fail(GrpcError.notFound("")), now - 1],
    ["that was interrupted after its deadline", "DEADLINE_EXCEEDED", interrupted, now - 1],
    ["that was interrupted a millisecond before its deadline", "DEADLINE_EXCEEDED", interrupted, now + 1],
    ["that was interrupted before its deadline", "CANCELLED", interrupted, now + 2],
    ["that was interrupted without a deadline", "CANCELLED", interrupted, Number.POSITIVE_INFINITY],
    ["that was interrupted by a stop", "UNAVAILABLE", interrupted, now + 2, true]
  ]
  for (const [what, code, exit, deadline, isStopping = false] of cases) {
    it(`${what} is ${code}`, () => {
      const clock = vi.spyOn(Date, "now").mockReturnValue(now)
      try {
        const call = { deadline, isStopping: () => isStopping } as GrpcCall.GrpcCall["Service"]
        assert.strictEqual(GrpcMiddleware.codeOf(exit, call), code)
      } finally {
        clock.mockRestore()
      }
    })
  }
})

describe("middleware that only observes", () => {
  const nothing = GrpcMiddleware.make((rpc) => rpc)
  const { metrics, tracing } = GrpcMiddleware

  it("runs outside of the RPC's Effect as far as it stands outermost", () => {
    const composed = GrpcMiddleware.compose([tracing, metrics, nothing, tracing], Context.empty())
    assert.lengthOf(composed.observers, 2)
    assert.isDefined(composed.wrap)
    assert.isUndefined(GrpcMiddleware.compose([tracing], Context.empty()).wrap)
    assert.lengthOf(GrpcMiddleware.compose([nothing, tracing], Context.empty()).observers, 0)
  })
})

describe("the middleware that comes with the package", () => {
  it.live("concurrencyLimit refuses what is over it, and lets the next in when one has ended", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { say } = yield* serve(
        EchoServer.layer({ say: ({ text }) => Effect.as(text === "wait" ? gate.pass : Effect.void, { text }) }),
        [GrpcMiddleware.concurrencyLimit(1)]
      )
      const first = yield* Effect.forkChild(say("wait"))
      yield* gate.reached
      assert.strictEqual((yield* Effect.flip(say("second"))).code, grpc.status.RESOURCE_EXHAUSTED)
      yield* gate.open
      yield* Fiber.join(first)
      assert.strictEqual(yield* say("third"), "third")
    }))

  for (const limit of [0, -1, Number.NaN]) {
    it(`concurrencyLimit refuses ${limit} when it is made`, () => {
      assert.throws(
        () => GrpcMiddleware.concurrencyLimit(limit),
        GrpcLimits.GrpcLimitsError,
        `limit concurrencyLimit is ${limit}: must be above 0`
      )
    })
  }

  it.live("baggage is what the client sent", () =>
    Effect.gen(function*() {
      const { say } = yield* serve(
        EchoServer.layer({ say: () => Effect.map(GrpcMiddleware.baggage, (baggage) => ({ text: String(baggage) })) })
      )
      assert.strictEqual(yield* say("", { baggage: "user=ada,tier=1" }), "user=ada,tier=1")
      assert.strictEqual(yield* say(""), "undefined")
    }))

  it.effect("durations are told in milliseconds by accessLog, in seconds by metrics", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ fiber }) => {
        const { durationMillis, "rpc.method": method } = fiber.getRef(References.CurrentLogAnnotations)
        if (method !== undefined) logged.push([method, durationMillis])
      })
      const reached = yield* Deferred.make<void>()
      const { say, server } = yield* serve(
        EchoServer.layer({
          say: ({ text }) =>
            Effect.as(Effect.andThen(Deferred.succeed(reached, undefined), Effect.sleep("5 seconds")), { text })
        }),
        [GrpcMiddleware.metrics, GrpcMiddleware.accessLog]
      ).pipe(Effect.provide(Logger.layer([logger])))
      yield* TestClock.adjust("1 hour")
      const rpc = yield* Effect.forkChild(say("hello"))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(rpc)
      yield* server.stop
      const method = "lastcall.test.v1.EchoService/Say"
      assert.deepStrictEqual(logged, [[method, 5_000]])
      const attributes = { "grpc.method": method, "grpc.status": "OK" }
      const duration = yield* Metric.value(Metric.withAttributes(GrpcMiddleware.callDuration, attributes))
      assert.strictEqual(duration.sum, 5)
      const started = Metric.withAttributes(GrpcMiddleware.callStarted, { "grpc.method": method })
      assert.strictEqual((yield* Metric.value(started)).count, 1)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.live("tracing that is disabled is silent", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(String(message))
      })
      const { say } = yield* serve(EchoServer.layer(), [GrpcMiddleware.tracing]).pipe(
        Effect.provideService(References.TracerEnabled, false),
        Effect.provide(Logger.layer([logger]))
      )
      assert.strictEqual(yield* say("hello"), "hello")
      assert.notInclude(lines.join(), "span")
    }))

  it.live("the spans of tracing have links of their own", () =>
    Effect.gen(function*() {
      const link = (spanId: string): Tracer.SpanLink => ({
        span: Tracer.externalSpan({ traceId: "1", spanId }),
        attributes: {}
      })
      const links: Array<number> = []
      const { say } = yield* serve(
        EchoServer.layer({
          say: ({ text }) =>
            Effect.map(Effect.orDie(Effect.currentSpan), (span) => {
              span.addLinks([link("3")])
              links.push(span.links.length)
              return { text }
            })
        }),
        [GrpcMiddleware.tracing]
      ).pipe(Effect.provideService(References.TracerSpanLinks, [link("2")]))
      yield* say("")
      yield* say("")
      assert.deepStrictEqual(links, [2, 2])
    }))

  it.effect("timeout interrupts the handler and answers DEADLINE_EXCEEDED", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      let interrupted = false
      const { say } = yield* serve(
        EchoServer.layer({
          say: () =>
            Effect.onInterrupt(
              Effect.andThen(Deferred.succeed(reached, undefined), Effect.never),
              () => Effect.sync(() => void (interrupted = true))
            )
        }),
        [GrpcMiddleware.timeout("3 seconds")]
      )
      const rpc = yield* Effect.forkChild(Effect.flip(say("hello")))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(rpc)
      assert.deepInclude({ ...error }, { code: grpc.status.DEADLINE_EXCEEDED, details: "the server gives an RPC 3s" })
      assert.isTrue(interrupted)
    }))

  for (const duration of [Number.NaN, 0, -1, "3 secs" as never]) {
    it(`timeout refuses ${duration} when it is made`, () => {
      assert.throws(
        () => GrpcMiddleware.timeout(duration),
        GrpcLimits.GrpcLimitsError,
        `limit timeout is ${Formatter.format(duration)}: `
      )
    })
  }

  it.live("timeout may be for ever", () =>
    Effect.gen(function*() {
      const { say } = yield* serve(
        Echo.toLayer({ ...rest, say: ({ text }) => Effect.as(Effect.sleep("5 millis"), { text }) }),
        [GrpcMiddleware.timeout("Infinity")]
      )
      assert.strictEqual(yield* say("hello"), "hello")
    }))

  it.live("accessLog tells each RPC with its status, duration and sizes", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const sizes: Array<unknown> = []
      const logger = Logger.make(({ logLevel, fiber, message }) => {
        lines.push(`${logLevel} ${String(message)}`)
        sizes.push(fiber.getRef(References.CurrentLogAnnotations)["sentBytes"])
      })
      const { say } = yield* serve(
        EchoServer.layer({
          say: ({ text }) =>
            text === "die"
              ? Effect.die("no")
              : text === "no"
              ? Effect.fail(GrpcError.notFound(""))
              : Effect.succeed({ text })
        }),
        [GrpcMiddleware.accessLog]
      ).pipe(Effect.provide(Logger.layer([logger])))
      yield* say("hello")
      yield* Effect.flip(say("no"))
      yield* Effect.flip(say("die"))
      assert.includeMembers(lines, [
        "Info /lastcall.test.v1.EchoService/Say OK",
        "Info /lastcall.test.v1.EchoService/Say NOT_FOUND",
        "Warn /lastcall.test.v1.EchoService/Say INTERNAL"
      ])
      assert.include(sizes, 7)
    }))

  it.live("tracing makes a server span whose parent is the client's traceparent", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const { say } = yield* serve(
        EchoServer.layer({
          say: ({ text }) => text === "no" ? Effect.fail(GrpcError.notFound("")) : Effect.succeed({ text })
        }),
        [GrpcMiddleware.tracing]
      ).pipe(Effect.provideService(Tracer.Tracer, tracer))
      yield* say("hello", {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate: "vendor=1",
        baggage: "user=ada"
      })
      yield* Effect.flip(say("no", { traceparent: "garbage" }))
      const [first, second] = spans.filter(({ kind }) => kind === "server")
      assert.strictEqual(first!.name, "lastcall.test.v1.EchoService/Say")
      assert.strictEqual(first!.traceId, "0af7651916cd43dd8448eb211c80319c")
      assert.strictEqual(Option.getOrThrow(first!.parent).spanId, "b7ad6b7169203331")
      assert.deepInclude(Object.fromEntries(first!.attributes), {
        "rpc.system": "grpc",
        "rpc.service": "lastcall.test.v1.EchoService",
        "rpc.method": "Say",
        "rpc.grpc.status_code": 0,
        "w3c.tracestate": "vendor=1",
        "w3c.baggage": "user=ada"
      })
      assert.match(String(first!.attributes.get("network.peer.address")), /^127\.0\.0\.1/)
      for (const name of ["w3c.tracestate", "w3c.baggage"]) assert.isFalse(second!.attributes.has(name))
      assert.isTrue(Option.isNone(second!.parent))
      assert.strictEqual(second!.attributes.get("rpc.grpc.status_code"), grpc.status.NOT_FOUND)
      assert.strictEqual(second!.status._tag, "Ended")
    }))

  const malformed = [
    undefined,
    "",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    "000-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x"
  ]
  for (const header of malformed) {
    it(`no parent comes of traceparent ${JSON.stringify(header)}`, () => {
      assert.isTrue(Option.isNone(GrpcMiddleware.parseTraceparent(header)))
    })
  }

  const sampled: ReadonlyArray<readonly [header: string, spanId: string, isSampled: boolean]> = [
    ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "b7ad6b7169203331", true],
    ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "b7ad6b7169203331", false],
    ["00-0af7651916cd43dd8448eb211c80319c-07ad6b7169203331-03", "07ad6b7169203331", true],
    ["00-0af7651916cd43dd8448eb211c80319c-07ad6b7169203331-fe", "07ad6b7169203331", false],
    ["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later", "b7ad6b7169203331", true]
  ]
  for (const [header, spanId, isSampled] of sampled) {
    it(`traceparent ${header} is a parent that is ${isSampled ? "" : "not "}sampled`, () => {
      const parent = Option.getOrThrow(GrpcMiddleware.parseTraceparent(header))
      const traceId = "0af7651916cd43dd8448eb211c80319c"
      assert.deepInclude({ ...parent }, { traceId, spanId, sampled: isSampled })
    })
  }

  it.live("metrics are those of gRFC A66", () =>
    Effect.gen(function*() {
      const value = <I, S>(metric: Metric.Metric<I, S>, attributes: Record<string, string>) =>
        Metric.value(Metric.withAttributes(metric, attributes))
      const { say, server } = yield* serve(EchoServer.layer(), [GrpcMiddleware.metrics])
      yield* say("hello")
      yield* say("hello")
      yield* server.stop
      const method = { "grpc.method": "lastcall.test.v1.EchoService/Say" }
      const ok = { ...method, "grpc.status": "OK" }
      assert.deepInclude(yield* value(GrpcMiddleware.callStarted, method), { count: 2, incremental: true })
      assert.strictEqual((yield* value(GrpcMiddleware.callDuration, ok)).count, 2)
      assert.strictEqual((yield* value(GrpcMiddleware.callReceived, ok)).sum, 2 * 7)
      assert.strictEqual((yield* value(GrpcMiddleware.callSent, ok)).count, 2)
      assert.strictEqual((yield* value(GrpcMiddleware.callSent, ok)).sum, 2 * 7)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.live("metrics and tracing see a response that cannot be sent, in whatever order they stand with others", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const nothing = GrpcMiddleware.make((rpc) => rpc)
      const orders = [
        [GrpcMiddleware.tracing, GrpcMiddleware.metrics],
        [GrpcMiddleware.metrics, nothing, GrpcMiddleware.tracing],
        [nothing, GrpcMiddleware.tracing, GrpcMiddleware.metrics]
      ]
      for (const middleware of orders) {
        const registry = new Map()
        const { say } = yield* serve(EchoServer.layer({ say: () => Effect.succeed(null as never) }), middleware)
          .pipe(Effect.provideService(Metric.MetricRegistry, registry), Effect.provideService(Tracer.Tracer, tracer))
        yield* Effect.flip(say("hello"))
        const ended = { "grpc.method": "lastcall.test.v1.EchoService/Say", "grpc.status": "INTERNAL" }
        const duration = yield* Metric.value(Metric.withAttributes(GrpcMiddleware.callDuration, ended)).pipe(
          Effect.provideService(Metric.MetricRegistry, registry)
        )
        assert.strictEqual(duration.count, 1)
      }
      const codes = spans.filter(({ kind }) => kind === "server").map((span) =>
        span.attributes.get("rpc.grpc.status_code")
      )
      assert.deepStrictEqual(codes, orders.map(() => grpc.status.INTERNAL))
    }))

  it.live("tracing makes the span that Effect.makeSpan would make, whatever rules spans", () =>
    Effect.gen(function*() {
      const linked: Tracer.SpanLink = { span: Tracer.externalSpan({ traceId: "1", spanId: "2" }), attributes: {} }
      type Rules = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
      const rules: ReadonlyArray<readonly [string, Rules]> = [
        ["nothing", (self) => self],
        ["no tracing", Effect.provideService(References.TracerEnabled, false)],
        ["no times", Effect.provideService(References.TracerTimingEnabled, false)],
        ["attributes", Effect.provideService(References.TracerSpanAnnotations, { region: "north" })],
        ["links", Effect.provideService(References.TracerSpanLinks, [linked])],
        ["a level below the least", Effect.provideService(Tracer.MinimumTraceLevel, "Error")],
        [
          "a level above the least",
          (self) =>
            self.pipe(
              Effect.provideService(Tracer.MinimumTraceLevel, "Error"),
              Effect.provideService(Tracer.CurrentTraceLevel, "Fatal")
            )
        ]
      ]
      const told: Array<unknown> = []
      const parents = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", "garbage"]
      for (const [rule, ruled] of rules) {
        for (const header of [`${parents[0]}1`, `${parents[0]}0`, parents[1]!]) {
          const spans: Array<{ readonly span: Tracer.Span; readonly root: boolean }> = []
          const tracer = Tracer.make({
            span(options) {
              const span = new Tracer.NativeSpan(options)
              spans.push({ span, root: options.root })
              return span
            }
          })
          const traced: Rules = (self) => ruled(Effect.provideService(self, Tracer.Tracer, tracer))
          const seen = (kind: Tracer.SpanKind) =>
            spans.filter(({ span }) => span.kind === kind).map(({ root, span }) => ({
              rule,
              root,
              parent: Option.getOrUndefined(span.parent)?.spanId,
              sampled: span.sampled,
              hasTimes: span.status.startTime !== 0n && (span.status._tag === "Ended" && span.status.endTime !== 0n),
              links: span.links,
              region: span.attributes.get("region")
            }))
          const parent = Option.getOrUndefined(GrpcMiddleware.parseTraceparent(header))
          yield* traced(
            Effect.withSpan(Effect.void, "x", {
              kind: "producer",
              ...(parent === undefined ? { root: true } : { parent })
            })
          )
          const { say } = yield* traced(serve(EchoServer.layer(), [GrpcMiddleware.tracing]))
          yield* say("hello", { traceparent: header })
          assert.deepStrictEqual(seen("server"), seen("producer"))
          told.push(...seen("server"))
        }
      }
      // none where there is no tracing
      assert.strictEqual(told.length, 3 * (rules.length - 1))
    }))

  it.live("the span of an RPC is the parent of what its handler does", () =>
    Effect.gen(function*() {
      let parent: string | undefined
      const { say } = yield* serve(
        EchoServer.layer({
          say: ({ text }) =>
            Effect.map(Effect.currentSpan, (span) => {
              parent = span.name
              return { text }
            }).pipe(Effect.orDie)
        }),
        [GrpcMiddleware.tracing]
      )
      yield* say("hello")
      assert.strictEqual(parent, "lastcall.test.v1.EchoService/Say")
    }))

  const nothing = GrpcMiddleware.make((rpc) => rpc)
  for (
    const [where, middleware] of [
      ["outermost", [GrpcMiddleware.tracing]],
      ["beneath another middleware", [nothing, GrpcMiddleware.tracing]]
    ] as const
  ) {
    it.live(`a tracer that throws when a span ends is logged, and its RPC is answered: ${where}`, () =>
      Effect.gen(function*() {
        const tracer = Tracer.make({
          span(options) {
            const span = new Tracer.NativeSpan(options)
            if (options.kind === "server") {
              span.end = () => {
                throw new Error("the exporter is broken")
              }
            }
            return span
          }
        })
        const lines: Array<string> = []
        const logger = Logger.make(({ message }) => {
          lines.push(String(message))
        })
        const { say } = yield* serve(EchoServer.layer(), middleware).pipe(
          Effect.provideService(Tracer.Tracer, tracer),
          Effect.provide(Logger.layer([logger]))
        )
        assert.strictEqual(yield* say("hello"), "hello")
        assert.isTrue(
          lines.some((line) => line.includes("the span of /lastcall.test.v1.EchoService/Say could not be ended"))
        )
      }))
  }

  for (const broken of ["span", "attribute"] as const) {
    it.live(`a tracer that throws when a span begins is logged, and its RPC is served without one: ${broken}`, () =>
      Effect.gen(function*() {
        const fail = (): never => {
          throw new Error("the tracer is broken")
        }
        const tracer = Tracer.make({
          span(options) {
            if (options.kind !== "server") return new Tracer.NativeSpan(options)
            if (broken === "span") return fail()
            return Object.assign(new Tracer.NativeSpan(options), { attribute: fail })
          }
        })
        const lines: Array<string> = []
        const logger = Logger.make(({ cause, message }) => {
          lines.push(`${String(message)} ${Cause.pretty(cause)}`)
        })
        let parent: unknown
        const handlers = EchoServer.layer({
          say: ({ text }) =>
            Effect.map(Effect.option(Effect.currentSpan), (span) => {
              parent = span
              return { text }
            })
        })
        const { say } = yield* serve(handlers, [GrpcMiddleware.tracing]).pipe(
          Effect.provideService(Tracer.Tracer, tracer),
          Effect.provide(Logger.layer([logger]))
        )
        assert.strictEqual(yield* say("hello"), "hello")
        assert.deepStrictEqual(parent, Option.none())
        assert.include(lines.join(), "the span of /lastcall.test.v1.EchoService/Say could not be made")
        assert.include(lines.join(), "the tracer is broken")
      }))
  }
})
