import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import type * as net from "node:net"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

const connect = (channel: GrpcChannel.Options, options?: GrpcClient.Options) =>
  Effect.flatMap(
    GrpcChannel.make(channel),
    (channel) => Effect.provideService(GrpcClient.make(EchoService, options), GrpcChannel.GrpcChannel, channel)
  )

describe("headers and trailers", () => {
  const telling = EchoServer.make({
    say: ({ text }) =>
      Effect.gen(function*() {
        yield* GrpcCall.addHeaders(GrpcMetadata.make({ "x-head": text }))
        yield* GrpcCall.addTrailers(GrpcMetadata.make({ "x-trail": text }))
        return text === "no" ? yield* Effect.fail(GrpcError.notFound("no")) : { text }
      }),
    sum: (requests) =>
      Effect.gen(function*() {
        yield* Stream.runDrain(requests)
        yield* GrpcCall.addTrailers(GrpcMetadata.make({ "x-trail": "sum" }))
        return { total: 1 }
      })
  })

  it.effect("answer gives them with the response, of one RPC each", () =>
    Effect.gen(function*() {
      const { target } = yield* telling
      const echo = yield* connect({ address: target })
      const say = (text: string) => GrpcClient.answer((options) => echo.say({ text }, options))
      const twice = Effect.zip(say("a"), say("b"), { concurrent: true })
      for (const [{ headers, response, trailers }, text] of (yield* twice).map((it, i) => [it, "ab"[i]!] as const)) {
        assert.strictEqual(response.text, text)
        assert.deepStrictEqual(headers.entries, [["x-head", text]])
        assert.deepStrictEqual(trailers.entries, [["x-trail", text]])
      }
      const sum = yield* GrpcClient.answer((options) => echo.sum(Stream.make({ n: 1 }), options))
      assert.deepStrictEqual([sum.response.total, GrpcMetadata.get(sum.trailers, "x-trail")], [1, "sum"])
      const error = yield* Effect.flip(say("no"))
      assert.strictEqual(GrpcMetadata.get(error.trailers!, "x-trail"), "no")
    }))

  it.effect("are told to the listeners of the client and to those of the RPC", () =>
    Effect.gen(function*() {
      const { target } = yield* telling
      const told: Array<string> = []
      const listener = (name: string) => ({
        onHeaders: () => void told.push(`${name} headers`),
        onTrailers: () => void told.push(`${name} trailers`)
      })
      const echo = yield* connect({ address: target }, listener("client"))
      yield* echo.say({ text: "a" }, listener("rpc"))
      assert.deepStrictEqual(told, ["client headers", "rpc headers", "client trailers", "rpc trailers"])
    }))

  it.effect("are told through middleware, of streams too", () =>
    Effect.gen(function*() {
      const { target } = yield* telling
      const echo = yield* connect({ address: target }, { middleware: [(call, next) => next(call)] })
      const { headers } = yield* GrpcClient.answer((options) => echo.say({ text: "a" }, options))
      assert.deepStrictEqual(headers.entries, [["x-head", "a"]])
      let isTold = false
      yield* Stream.runDrain(echo.count({ to: 1 }, { onTrailers: () => isTold = true }))
      assert.isTrue(isTold)
    }))
})

describe("an option that makes no sense", () => {
  it.effect("of a client: it cannot be made", () =>
    Effect.gen(function*() {
      for (const deadline of ["soon", Number.NaN] as ReadonlyArray<unknown> as ReadonlyArray<never>) {
        const exit = yield* Effect.exit(connect({ address: "127.0.0.1:1" }, { deadline }))
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, GrpcClient.GrpcClientOptionError)
        assert.strictEqual(defect.option, "deadline")
        assert.match(defect.message, /^client option deadline is .*: not a duration$/)
      }
    }))

  for (const middleware of [[], [GrpcClientMiddleware.tracing]]) {
    it.effect(`of an RPC, with ${middleware.length} middleware: it dies, and nothing is sent`, () =>
      Effect.gen(function*() {
        const { close, target } = yield* EchoServer.make()
        const echo = yield* connect({ address: target }, { middleware })
        const options = { deadline: "soon" as never }
        for (const rpc of [echo.say({ text: "" }, options), Stream.runDrain(echo.count({ to: 1 }, options))]) {
          const exit = yield* Effect.exit(rpc as Effect.Effect<unknown, GrpcError.GrpcError>)
          assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof GrpcClient.GrpcClientOptionError)
        }
        assert.strictEqual((yield* close).counts.admitted, 0)
      }))
  }
})

describe("waitForReady", () => {
  /** Nobody listens there any more. */
  const nowhere = Effect.flatMap(EchoServer.make(), ({ close, target }) => Effect.as(close, target))

  const ways: ReadonlyArray<readonly [string, GrpcClient.Options]> = [
    ["without middleware", {}],
    ["with middleware", { middleware: [(call, next) => next(call)] }]
  ]
  for (const [name, options] of ways) {
    it.live(`of a method holds for RPCs that do not say it themselves, ${name}`, () =>
      Effect.gen(function*() {
        const methods = { "lastcall.test.v1.EchoService": { waitForReady: true } }
        const address = yield* nowhere
        const echo = yield* connect({ address, methods }, options)
        const code = (own: GrpcClient.CallOptions) =>
          Effect.map(Effect.flip(echo.say({ text: "" }, own)), ({ code }) => code)
        assert.strictEqual(yield* code({ deadline: "200 millis" }), "DEADLINE_EXCEEDED")
        assert.strictEqual(yield* code({ waitForReady: true, deadline: "200 millis" }), "DEADLINE_EXCEEDED")
        assert.strictEqual(yield* code({ waitForReady: false }), "UNAVAILABLE")
        const count = echo.count({ to: 1 }, { deadline: "200 millis" })
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(count))).code, "DEADLINE_EXCEEDED")
        const impatient = yield* connect({ address, methods }, { ...options, waitForReady: false })
        assert.strictEqual((yield* Effect.flip(impatient.say({ text: "" }))).code, "UNAVAILABLE")
        const unsaid = yield* connect({ address }, options)
        assert.strictEqual((yield* Effect.flip(unsaid.say({ text: "" }))).code, "UNAVAILABLE")
      }))
  }

  it.live("may be said by middleware", () =>
    Effect.gen(function*() {
      const patient: GrpcClientMiddleware.GrpcClientMiddleware = (call, next) => next({ ...call, waitForReady: true })
      const echo = yield* connect({ address: yield* nowhere }, { middleware: [patient] })
      const error = yield* Effect.flip(echo.say({ text: "" }, { deadline: "200 millis" }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
    }))
})

describe("compress", () => {
  /** An HTTP/2 server that tells whether the request messages came compressed, and answers nothing else. */
  const flags = Effect.acquireRelease(
    Effect.callback<{ readonly server: http2.Http2Server; readonly address: string; readonly seen: Array<number> }>(
      (resume) => {
        const seen: Array<number> = []
        const server = http2.createServer()
        server.on("stream", (stream) => {
          const chunks: Array<Buffer> = []
          stream.on("data", (chunk: Buffer) => chunks.push(chunk))
          stream.on("error", () => {})
          stream.on("end", () => {
            // Each message has a flag, its length, and its bytes.
            const bytes = Buffer.concat(chunks)
            for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt32BE(at + 1)) seen.push(bytes[at]!)
            stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true })
            stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
            stream.end(Buffer.alloc(5))
          })
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as net.AddressInfo
          resume(Effect.succeed({ server, address: `127.0.0.1:${port}`, seen }))
        })
      }
    ),
    ({ server }) => Effect.sync(() => server.close())
  )

  it.effect("false: the requests of the RPC are not compressed, although the channel's are", () =>
    Effect.gen(function*() {
      const { address, seen } = yield* flags
      const text = "x".repeat(1_000)
      const echo = yield* connect({ address, compression: "gzip" })
      yield* echo.say({ text })
      yield* echo.say({ text }, { compress: false })
      yield* echo.sum(Stream.make({ n: 1 }, { n: 2 }))
      yield* echo.sum(Stream.make({ n: 1 }, { n: 2 }), { compress: false })
      assert.deepStrictEqual(seen, [1, 0, 1, 1, 0, 0])
      const never = yield* connect({ address, compression: "gzip" }, {
        compress: false,
        middleware: [(call, next) => next(call)]
      })
      yield* never.say({ text }, { deadline: "1 minute" })
      yield* Stream.runDrain(never.count({ to: 1 }))
      assert.deepStrictEqual(seen.slice(6), [0, 0])
    }))
})
