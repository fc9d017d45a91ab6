import { assert, describe, it } from "@effect/vitest"
import { GrpcChannel } from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import * as MemorySocket from "@lastcall/testing/MemorySocket"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import { definition, Echo } from "./Echo.ts"

const EchoLive = Echo.toLayer({
  say: (request) => Effect.succeed(request),
  spell: (request) => Stream.fromIterable(request),
  join: (requests) => Stream.runFold(requests, () => "", (all, request) => all + request),
  chat: (requests) => requests
})

const clientOf = (address: InMemoryGrpc.Address) =>
  Effect.flatMap(
    InMemoryGrpc.channel(address),
    (channel) => Effect.provideService(GrpcClient.make(definition), GrpcChannel, channel)
  )

it.live("what a drain's GOAWAY refuses is served by the successor, whole and once", () =>
  Effect.gen(function*() {
    let refused = 0
    for (let turns = 0; turns < 8; turns++) {
      const address = InMemoryGrpc.address("api")
      const make = Effect.provide(GrpcServer.make("api", { services: [Echo], listen: [address.listener] }), EchoLive)
      const predecessor = yield* make
      const echo = yield* clientOf(address)
      assert.strictEqual(yield* echo.say("first"), "first")
      const successor = yield* make
      const stopping = yield* Effect.forkChild(predecessor.stop, { startImmediately: true })
      yield* VirtualTime.settle(turns)
      const join = (...parts: ReadonlyArray<string>) =>
        Stream.runFold(Stream.fromIterable(parts), () => "", (a, b) => a + b)
      const rpcs = yield* Effect.forkChild(
        Effect.all([
          echo.say("one"),
          Stream.runCollect(echo.spell("two")).pipe(Effect.map((letters) => letters.join(""))),
          echo.join(Stream.make("th", "re", "e")),
          Stream.runCollect(echo.chat(Stream.make("fo", "ur"))).pipe(Effect.flatMap((all) => join(...all)))
        ], { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      assert.deepStrictEqual(yield* Fiber.join(rpcs), ["one", "two", "three", "four"])
      const { counts } = yield* Fiber.join(stopping)
      const others = (yield* successor.stop).counts
      assert.strictEqual(counts.admitted + others.admitted, 5)
      assert.strictEqual(counts.succeeded + others.succeeded, 5)
      refused += others.admitted
    }
    assert.isAbove(refused, 0)
  }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None")))

/** An address of a bare HTTP/2 server, and the bodies that its streams have brought. */
const bare = (onStream: (stream: http2.ServerHttp2Stream, n: number) => void) =>
  Effect.gen(function*() {
    const server = http2.createServer()
    let streams = 0
    server.on("stream", (stream) => {
      stream.on("error", () => {})
      onStream(stream, streams++)
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
    const address: InMemoryGrpc.Address = {
      ...InMemoryGrpc.address("bare"),
      connect() {
        const [client, end] = MemorySocket.pair()
        server.emit("connection", end)
        return client
      }
    }
    return { address, streams: () => streams }
  })

const refuse = (stream: http2.ServerHttp2Stream): void => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)

describe("an RPC that is refused", () => {
  it.live("is made once more, and no more", () =>
    Effect.gen(function*() {
      const { address, streams } = yield* bare(refuse)
      const echo = yield* clientOf(address)
      const error = yield* Effect.flip(echo.say("hello"))
      assert.deepStrictEqual([error.code, error.message], ["UNAVAILABLE", "Stream refused by server"])
      assert.strictEqual(streams(), 2)
    }).pipe(Effect.scoped))

  // By hand: Node ends a stream that has answered before it resets it.
  it.live("is not made again when the server has answered", () =>
    Effect.gen(function*() {
      const { types } = Http2Frame
      let opened = 0
      const address: InMemoryGrpc.Address = {
        ...InMemoryGrpc.address("by hand"),
        connect() {
          const [client, server] = MemorySocket.pair()
          const read = Http2Frame.reader(({ streamId, type }) => {
            if (type !== types.headers) return
            opened++
            // `:status` 200 is number 8 of the static table
            server.write(Http2Frame.encode(types.headers, { flags: 4, streamId, payload: Buffer.from([0x88]) }))
            server.write(Http2Frame.encode(types.rstStream, { streamId, payload: Http2Frame.uint32(7) }))
          })
          server.write(Http2Frame.encode(types.settings))
          server.once("data", (first: Buffer) => {
            read(first.subarray(24))
            server.on("data", read)
          })
          return client
        }
      }
      const echo = yield* clientOf(address)
      const error = yield* Effect.flip(echo.say("hello"))
      assert.deepStrictEqual([error.code, error.message], ["UNAVAILABLE", "Stream refused by server"])
      assert.strictEqual(opened, 1)
    }).pipe(Effect.scoped))

  it.live("for another reason is not made again: a handler may have seen it", () =>
    Effect.gen(function*() {
      const { address, streams } = yield* bare((stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM))
      const echo = yield* clientOf(address)
      yield* Effect.flip(echo.say("hello"))
      assert.strictEqual(streams(), 1)
    }).pipe(Effect.scoped))

  it.live("is not made again when more than 1 MiB has been sent, which is not kept", () =>
    Effect.gen(function*() {
      const { address, streams } = yield* bare(refuse)
      const echo = yield* clientOf(address)
      const frameHeader = 5
      yield* Effect.flip(echo.say("x".repeat(1024 * 1024 - frameHeader + 1)))
      assert.strictEqual(streams(), 1)
      yield* Effect.flip(echo.say("x".repeat(1024 * 1024 - frameHeader)))
      assert.strictEqual(streams(), 3)
    }).pipe(Effect.scoped))

  it.live("and has been left is not made again", () =>
    Effect.gen(function*() {
      const { address, streams } = yield* bare((stream) => void setImmediate(refuse, stream))
      const echo = yield* clientOf(address)
      const rpc = yield* Effect.forkChild(echo.say("hello"), { startImmediately: true })
      while (streams() === 0) yield* VirtualTime.settle(1)
      yield* Fiber.interrupt(rpc)
      yield* VirtualTime.settle()
      assert.strictEqual(streams(), 1)
    }).pipe(Effect.scoped))
})
