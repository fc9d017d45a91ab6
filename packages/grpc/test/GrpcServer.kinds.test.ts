import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

describe("the four kinds", () => {
  it.live("unary: an Effect of one request", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("server stream: a Stream of responses, in order and complete", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      const { messages, status } = yield* EchoClient.gather(client.count({ to: 10_000 }))
      assert.deepStrictEqual(status, { code: grpc.status.OK, details: "OK" })
      assert.deepStrictEqual(messages.map(({ n }) => n), Array.from({ length: 10_000 }, (_, i) => i + 1))
    }))

  it.live("server stream: a lone message is sent at once", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({ count: () => Stream.concat(Stream.make({ n: 1 }), Stream.never) })
      const client = yield* EchoClient.make(server.target)
      let seen = 0
      yield* Effect.forkChild(EchoClient.gather(client.count({ to: 1 }), () => seen++))
      yield* EchoServer.until("the message came", () => seen === 1)
    }))

  it.live("client stream: a Stream of requests", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      const { call, total } = EchoClient.sum(client)
      for (let n = 1; n <= 10_000; n++) call.write({ n })
      call.end()
      assert.strictEqual(yield* total, 50_005_000)
    }))

  it.live("bidirectional: each answer before the next request", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      const call = client.chat()
      call.write({ text: "0" })
      const { messages, status } = yield* EchoClient.gather(
        call,
        (_, i) => i < 99 ? call.write({ text: String(i + 1) }) : call.end()
      )
      assert.strictEqual(status.code, grpc.status.OK)
      assert.deepStrictEqual(messages.map(({ text }) => text), Array.from({ length: 100 }, (_, i) => `${i}!`))
    }))
})

describe("backpressure", () => {
  it.live("a client that does not read stops the response stream, and starts it again", () =>
    Effect.gen(function*() {
      const total = 20_000
      let produced = 0
      const server = yield* EchoServer.make({
        count: () =>
          Stream.range(1, total).pipe(
            Stream.rechunk(100),
            Stream.map((n) => {
              produced++
              return { n, padding: new Uint8Array(1_000) }
            })
          )
      })
      const session = yield* EchoClient.session(server.port)
      const call = session.request({
        ":method": "POST",
        ":path": EchoClient.countPath,
        "content-type": "application/grpc",
        te: "trailers"
      })
      let trailers: { readonly [header: string]: unknown } = {}
      let bytes = 0
      call.on("trailers", (headers) => {
        trailers = headers
      })
      call.end(EchoClient.emptyMessage)
      yield* EchoServer.until("the stream has begun", () => produced > 0)
      yield* settled(() => produced)
      assert.isBelow(produced, 1_000)
      call.on("data", (chunk: Buffer) => {
        bytes += chunk.length
      })
      yield* EchoServer.until("the stream has ended", () => trailers["grpc-status"] !== undefined)
      assert.strictEqual(trailers["grpc-status"], "0")
      assert.strictEqual(produced, total)
      assert.isAbove(bytes, total * 1_000)
    }))

  it.live("a handler that does not pull stops the request stream, and starts it again", () =>
    Effect.gen(function*() {
      const total = 20_000
      let read = 0
      const definition = {
        sum: {
          ...EchoClient.definition["sum"]!,
          path: EchoClient.definition["sum"]!.path,
          requestDeserialize: (bytes: Buffer): number => {
            read++
            return bytes.length
          },
          responseSerialize: (value: { total: number }) => EchoClient.definition["sum"]!.responseSerialize(value),
          requestStream: true,
          responseStream: false
        }
      } as const
      class Sum extends GrpcService.Service<Sum>()(definition) {}
      const gate = yield* EchoServer.makeGate
      const server = yield* GrpcServer.make("api", {
        services: [Sum],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
      }).pipe(Effect.provide(Sum.toLayer({
        sum: (requests) =>
          Effect.andThen(
            gate.pass,
            Stream.runFold(requests, () => 0, (count) => count + 1).pipe(Effect.map((total) => ({ total })))
          )
      })))
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const { call, total: counted } = EchoClient.sum(client)
      for (let n = 1; n <= total; n++) call.write({ n })
      call.end()
      yield* gate.reached
      yield* EchoServer.until("requests came", () => read > 0)
      yield* settled(() => read)
      assert.isBelow(read, 100)
      yield* gate.open
      assert.strictEqual(yield* counted, total)
      assert.strictEqual(read, total)
    }))
})

/** Waits until a number has stood still for fifty turns of the event loop. */
const settled = (n: () => number): Effect.Effect<void> => {
  let last = n()
  let still = 0
  return EchoServer.until("the number stands still", () => {
    still = n() === last ? still + 1 : 0
    last = n()
    return still === 50
  })
}

describe("what a handler ends with", () => {
  const errors = [
    ["its GrpcError", Effect.fail(GrpcError.notFound("no such thing")), grpc.status.NOT_FOUND, "no such thing"],
    [
      "INTERNAL for a defect, without its text",
      Effect.die(new Error("secret")),
      grpc.status.INTERNAL,
      "internal error"
    ],
    ["CANCELLED if it interrupts itself", Effect.interrupt, grpc.status.CANCELLED, "the handler interrupted itself"],
    ["a message without lone surrogates", Effect.fail(GrpcError.aborted("a\ud800b")), grpc.status.ABORTED, "a\ufffdb"],
    [
      "a message that is not ASCII",
      Effect.fail(GrpcError.aborted("Grüße 👋 100 %")),
      grpc.status.ABORTED,
      "Grüße 👋 100 %"
    ],
    [
      "a message that is cut to what headers can bear",
      Effect.fail(GrpcError.aborted("x".repeat(100_000))),
      grpc.status.ABORTED,
      `${"x".repeat(2_048)}...`
    ]
  ] as const

  for (const [what, handler, code, details] of errors) {
    it.live(`the client gets ${what}`, () =>
      Effect.gen(function*() {
        const server = yield* EchoServer.make({ say: () => handler, count: () => Stream.fromEffect(handler) })
        const client = yield* EchoClient.make(server.target)
        const unary = yield* Effect.flip(EchoClient.say(client, "hello"))
        assert.deepInclude({ ...unary }, { code, details })
        const { status } = yield* EchoClient.gather(client.count({ to: 1 }))
        assert.deepStrictEqual(status, { code, details })
        assert.deepInclude((yield* server.close).counts, { admitted: 2, failed: 2 })
      }))
  }

  it.live("a handler that throws instead of returning an Effect is a defect", () =>
    Effect.gen(function*() {
      const thrown = (): never => {
        throw new Error("secret")
      }
      const server = yield* EchoServer.make({ say: thrown, chat: thrown })
      const client = yield* EchoClient.make(server.target)
      const error = yield* Effect.flip(EchoClient.say(client, "hello"))
      assert.deepInclude({ ...error }, { code: grpc.status.INTERNAL, details: "internal error" })
      const { status } = yield* EchoClient.gather(client.chat())
      assert.strictEqual(status.code, grpc.status.INTERNAL)
    }))

  it.live("a response that cannot be written is INTERNAL, unary or in a stream after some messages", () =>
    Effect.gen(function*() {
      const broken = { n: "not a number" } as never
      const server = yield* EchoServer.make({
        sum: () => Effect.succeed({ total: "not a number" } as never),
        count: () => Stream.make({ n: 1 }, broken)
      })
      const client = yield* EchoClient.make(server.target)
      assert.strictEqual((yield* Effect.flip(EchoClient.sum(client).total)).code, grpc.status.INTERNAL)
      const { messages, status } = yield* EchoClient.gather(client.count({ to: 2 }))
      assert.strictEqual(status.code, grpc.status.INTERNAL)
      assert.strictEqual(messages.length, 1)
    }))

  it.live("a request that cannot be read is INTERNAL, and no handler runs", () =>
    Effect.gen(function*() {
      let handled = 0
      const server = yield* EchoServer.make({
        say: () => Effect.sync(() => ({ text: String(handled++) })),
        sum: (requests) => Effect.as(Stream.runDrain(requests), { total: handled++ })
      })
      const client = yield* EchoClient.make(server.target)
      const garbage = Buffer.from([0xff, 0xff, 0xff])
      const unary = yield* Effect.callback<number>((resume) => {
        client.makeUnaryRequest(
          "/lastcall.test.v1.EchoService/Say",
          () => garbage,
          (bytes) => bytes,
          {},
          (error) => resume(Effect.succeed(error?.code ?? -1))
        )
      })
      assert.strictEqual(unary, grpc.status.INTERNAL)
      const streamed = yield* Effect.callback<number>((resume) => {
        const call = client.makeClientStreamRequest(
          "/lastcall.test.v1.EchoService/Sum",
          () => garbage,
          (bytes) => bytes,
          (error) => resume(Effect.succeed(error?.code ?? -1))
        )
        call.write({})
      })
      assert.strictEqual(streamed, grpc.status.INTERNAL)
      assert.strictEqual(handled, 1)
    }))

  it.live("a unary RPC without a request, or with two, is UNIMPLEMENTED", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make()
      const client = yield* EchoClient.make(server.target)
      for (const messages of [0, 2]) {
        const code = yield* Effect.callback<number>((resume) => {
          const call = client.makeClientStreamRequest(
            "/lastcall.test.v1.EchoService/Say",
            () => Buffer.alloc(0),
            (bytes) => bytes,
            (error) => resume(Effect.succeed(error?.code ?? -1))
          )
          for (let i = 0; i < messages; i++) call.write({})
          call.end()
        })
        assert.strictEqual(code, grpc.status.UNIMPLEMENTED)
      }
      assert.deepInclude((yield* server.close).counts, { admitted: 2, failed: 2 })
    }))
})

describe("the context of a handler", () => {
  class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {}

  it.live("what handlers need is captured from the layer, and GrpcCall and a Scope are the server's", () =>
    Effect.gen(function*() {
      const released: Array<string> = []
      const implementation = EchoServer.Echo.toLayer({
        say: Effect.fnUntraced(function*({ text }) {
          const prefix = yield* Prefix
          const { deadline, metadata, path, peer } = yield* GrpcCall.GrpcCall
          yield* Effect.addFinalizer(() => Effect.sync(() => void released.push(text)))
          assert.strictEqual(path, "/lastcall.test.v1.EchoService/Say")
          assert.match(peer, /^127\.0\.0\.1:\d+$/)
          assert.isAbove(deadline, Date.now())
          return { text: `${prefix}${text}${GrpcMetadata.get(metadata, "x-suffix")}` }
        }),
        count: () => Stream.empty,
        sum: () => Effect.succeed({ total: 0 }),
        chat: () => Stream.empty
      }).pipe(Layer.provide(Layer.succeed(Prefix, ">")))
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
      }).pipe(Effect.provide(implementation))
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const metadata = new grpc.Metadata()
      metadata.set("x-suffix", "<")
      const answer = yield* Effect.callback<string>((resume) => {
        ;(client as grpc.Client).makeUnaryRequest(
          "/lastcall.test.v1.EchoService/Say",
          EchoClient.definition["say"]!.requestSerialize,
          EchoClient.definition["say"]!.responseDeserialize,
          { text: "hello" },
          metadata,
          { deadline: Date.now() + 60_000 },
          (_, response) => resume(Effect.succeed((response as { text: string }).text))
        )
      })
      assert.strictEqual(answer, ">hello<")
      assert.deepStrictEqual(released, ["hello"])
    }))

  it.live("the functions of GrpcCall can be taken out of it, and empty headers are none: an error alone is its trailers", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        say: Effect.fnUntraced(function*() {
          const { addHeaders, addTrailers, isStopping, receivedBytes, sendHeaders, sentBytes } = yield* GrpcCall
            .GrpcCall
          assert.deepStrictEqual([isStopping(), receivedBytes(), sentBytes()], [false, 7, 0])
          assert.isTrue(addHeaders(GrpcMetadata.empty))
          assert.isTrue(addTrailers(GrpcMetadata.make({ "x-late": "1" })))
          assert.isFunction(sendHeaders)
          return yield* GrpcError.notFound("")
        })
      })
      const session = yield* EchoClient.session(server.port)
      const stream = session.request({
        ":method": "POST",
        ":path": "/lastcall.test.v1.EchoService/Say",
        "content-type": "application/grpc",
        te: "trailers"
      })
      const trailersOnly = yield* Effect.callback<boolean>((resume) => {
        stream.once("response", (headers) => resume(Effect.succeed("grpc-status" in headers)))
        stream.end(Buffer.from("\0\0\0\0\x07\x0a\x05hello", "latin1"))
      })
      assert.isTrue(trailersOnly)
      session.destroy()
    }))

  it.live("work that is started in a handler ends with it", () =>
    Effect.gen(function*() {
      let child: Fiber.Fiber<never> | undefined
      const server = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.map(Effect.forkChild(Effect.never, { startImmediately: true }), (fiber) => {
            child = fiber
            return { text }
          })
      })
      const client = yield* EchoClient.make(server.target)
      yield* EchoClient.say(client, "hello")
      assert.isTrue(Exit.hasInterrupts(child!.pollUnsafe()!))
    }))
})

describe("deadlines", () => {
  it.live("a deadline that has passed interrupts the handler, after its client was told", () =>
    Effect.gen(function*() {
      const interrupted = yield* EchoServer.makeGate
      const server = yield* EchoServer.make({ say: () => Effect.onInterrupt(Effect.never, () => interrupted.pass) })
      const client = yield* EchoClient.make(server.target)
      const error = yield* Effect.flip(EchoClient.say(client, "hello", { deadline: Date.now() + 100 }))
      assert.strictEqual(error.code, grpc.status.DEADLINE_EXCEEDED)
      yield* interrupted.reached
      yield* interrupted.open
      assert.deepInclude((yield* server.close).counts, { admitted: 1, failed: 1 })
    }))

  for (const timeout of ["99999999S", "700H", "99999999H"]) {
    it.live(`a deadline that is longer than a timer of Node (${timeout}) has not passed at once`, () =>
      Effect.gen(function*() {
        let left = 0
        const handler = Effect.map(GrpcCall.GrpcCall, ({ deadline }) => {
          left = deadline - Date.now()
          return { n: 1 }
        })
        const service = EchoServer.Echo.toLayer({
          say: () => Effect.succeed({ text: "" }),
          count: () => Stream.fromEffect(Effect.delay(handler, "20 millis")),
          sum: () => Effect.succeed({ total: 0 }),
          chat: () => Stream.empty
        })
        const server = yield* GrpcServer.make("api", {
          services: [EchoServer.Echo],
          listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
        }).pipe(Effect.provide(service))
        const address = server.addresses()[0]!
        const session = yield* EchoClient.session(address._tag === "Tcp" ? address.port : 0)
        const stream = session.request({
          ":method": "POST",
          ":path": EchoClient.countPath,
          "content-type": "application/grpc",
          "grpc-timeout": timeout,
          te: "trailers"
        })
        const status = yield* Effect.callback<string>((resume) => {
          stream.on("response", (headers) => {
            if (headers["grpc-status"] !== undefined) resume(Effect.succeed(String(headers["grpc-status"])))
          })
          stream.on("trailers", (trailers) => resume(Effect.succeed(String(trailers["grpc-status"]))))
          stream.resume()
          stream.end(EchoClient.emptyMessage)
        })
        assert.strictEqual(status, "0")
        assert.isAbove(left, 24 * 24 * 3_600_000)
      }))
  }
})

describe("services", () => {
  it.live("two services with a method in common are a DuplicateMethodError", () =>
    Effect.gen(function*() {
      const native = GrpcService.native(EchoClient.definition, { say() {}, count() {}, sum() {}, chat() {} })
      const exit = yield* Effect.exit(
        GrpcServer.make("api", { services: [EchoServer.Echo, native], listen: [] }).pipe(
          Effect.provide(EchoServer.layer())
        )
      )
      assert.isTrue(Exit.isFailure(exit))
      const defect = Exit.isFailure(exit) && exit.cause.reasons.find((reason) => reason._tag === "Die")?.defect
      assert.instanceOf(defect, GrpcServer.DuplicateMethodError)
      assert.strictEqual(
        (defect as Error).message,
        "api: the method /lastcall.test.v1.EchoService/Say is served twice"
      )
    }))

  it.live("one service, declared twice, has different handlers on two servers", () =>
    Effect.gen(function*() {
      class Other extends GrpcService.Service<Other>()(EchoService, { id: "test/Other" }) {}
      const other = Other.toLayer({
        say: () => Effect.succeed({ text: "other" }),
        count: () => Stream.empty,
        sum: () => Effect.succeed({ total: 0 }),
        chat: () => Stream.empty
      })
      const scope = yield* Effect.scope
      const target = (server: GrpcServer.GrpcServer) => GrpcListener.target(server.addresses()[0]!)
      const listen = [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
      const [one, two] = yield* Effect.all([
        GrpcServer.make("one", { services: [EchoServer.Echo], listen }),
        GrpcServer.make("two", { services: [Other], listen })
      ]).pipe(Effect.provide([EchoServer.layer(), other]), Scope.provide(scope))
      assert.strictEqual(yield* EchoClient.say(yield* EchoClient.make(target(one)), "hello"), "hello")
      assert.strictEqual(yield* EchoClient.say(yield* EchoClient.make(target(two)), "hello"), "other")
    }))
})
