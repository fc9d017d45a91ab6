/** The options of an RPC, and how RPCs end: by four kinds, two servers and four transports. */
import { assert, describe } from "@effect/vitest"
import type * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import * as Kinds from "./matrix/Kinds.ts"
import * as Matrix from "./matrix/Matrix.ts"
import * as Script from "./matrix/Script.ts"

const { Backend, act, each, eachKind } = Matrix

const hex = (values: ReadonlyArray<Uint8Array>): ReadonlyArray<string> =>
  values.map((value) => Buffer.from(value).toString("hex"))

/** Values of a text key in the order in which they came; HTTP may have joined them. */
const texts = (metadata: GrpcMetadata.GrpcMetadata, key: string): ReadonlyArray<string> =>
  GrpcMetadata.getAll(metadata, key).flatMap((value) => value.split(", "))

/** What a call tells of its headers and trailers. */
const listening = () => {
  const told: Array<"headers" | "trailers" | "message"> = []
  let headers = GrpcMetadata.empty
  let trailers = GrpcMetadata.empty
  return {
    told,
    headers: () => headers,
    trailers: () => trailers,
    options: {
      onHeaders(received) {
        told.push("headers")
        headers = received
      },
      onTrailers(received) {
        told.push("trailers")
        trailers = received
      }
    } satisfies GrpcClient.CallOptions
  }
}

describe("a round trip", () => {
  each(eachKind("is answered", (kind, { transport }) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("answer")
      assert.deepStrictEqual(yield* kind.run(echo, { metadata }), kind.answer)
      const { attempts, commonName } = witness.seen(id)
      assert.deepStrictEqual([attempts, commonName], [1, transport.commonName])
    })))
})

describe("metadata", () => {
  const first = Buffer.from([0, 255, 10, 13])
  const second = Buffer.alloc(300, 0xab)

  each(eachKind("text and bytes, of one value and of several, go there and back", (kind) =>
    Effect.gen(function*() {
      const { echo } = yield* Backend
      const { headers, options, told, trailers } = listening()
      const { metadata } = act("answer", {
        "x-head": "one",
        "x-head-many": ["one", "two", "three"],
        "x-head-bin": [first, second],
        "X-Trail": "~ !\"#%&'()*+/:;<=>?@[]^_`{|}",
        "x-trail-many": ["1", "2"],
        "x-trail-bin": [second, first, new Uint8Array()]
      })
      const answer = yield* kind.run(echo, { metadata, ...options }, () => told.push("message"))
      assert.deepStrictEqual(answer, kind.answer)
      assert.deepStrictEqual(texts(headers(), "x-head"), ["one"])
      assert.deepStrictEqual(texts(headers(), "x-head-many"), ["one", "two", "three"])
      assert.deepStrictEqual(hex(GrpcMetadata.getAllBinary(headers(), "x-head-bin")), ["00ff0a0d", "ab".repeat(300)])
      assert.deepStrictEqual(GrpcMetadata.getAll(trailers(), "x-trail"), ["~ !\"#%&'()*+/:;<=>?@[]^_`{|}"])
      assert.deepStrictEqual(texts(trailers(), "x-trail-many"), ["1", "2"])
      assert.deepStrictEqual(hex(GrpcMetadata.getAllBinary(trailers(), "x-trail-bin")), [
        "ab".repeat(300),
        "00ff0a0d",
        ""
      ])
      // Headers once and first, trailers once; those of gRPC and HTTP are not among them.
      assert.strictEqual(told[0], "headers")
      assert.deepStrictEqual(told.filter((what) => what !== "message"), ["headers", "trailers"])
      const keys = [...headers().entries, ...trailers().entries].map(([key]) => key)
      assert.deepStrictEqual(keys.filter((key) => !key.startsWith("x-")), [])
    })))

  each((it) => {
    it.effect("of the client and of the RPC are both sent; both are told; the RPC's deadline comes before the client's", () =>
      Effect.gen(function*() {
        const { channel, witness } = yield* Backend
        let isTold = ""
        const { id, metadata } = act("answer", { "x-head": "rpc" })
        const echo = yield* Matrix.client(channel, {
          metadata: GrpcMetadata.make({ "x-head": "client" }),
          deadline: "1 hour",
          onHeaders: (headers) => isTold += `client ${texts(headers, "x-head").join()};`
        })
        yield* echo.say({ text: "" }, {
          metadata,
          deadline: "1 minute",
          onHeaders: (headers) => isTold += `rpc ${texts(headers, "x-head").join()};`
        })
        assert.strictEqual(isTold, "client client,rpc;rpc client,rpc;")
        isTold = ""
        assert.closeTo(witness.seen(id).deadline, Date.now() + 60_000, 10_000)
        const other = act("answer")
        yield* echo.say({ text: "" }, { metadata: other.metadata })
        assert.strictEqual(isTold, "client client;")
        assert.closeTo(witness.seen(other.id).deadline, Date.now() + 3_600_000, 10_000)
      }))
  })
})

describe("a deadline", () => {
  each(eachKind("is told to the server; without one it has none", (kind) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("answer")
      const before = Date.now()
      yield* kind.run(echo, { metadata, deadline: "90 seconds" })
      // It travels as what is left.
      assert.isAtLeast(witness.seen(id).deadline, before + 80_000)
      assert.isAtMost(witness.seen(id).deadline, Date.now() + 90_100)
      const none = act("answer")
      yield* kind.run(echo, { metadata: none.metadata })
      assert.strictEqual(witness.seen(none.id).deadline, Number.POSITIVE_INFINITY)
    })))

  each(eachKind("that is over fails the RPC, and ends it on the server", (kind) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("hang")
      const error = yield* Effect.flip(kind.runOpen(echo, { metadata, deadline: "30 millis" }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
      // What this connection carried before has come when this is answered.
      yield* echo.say({ text: "" })
      yield* EchoServer.until("the server has ended it", () => witness.seen(id).running === 0)
      const { attempts, cancelled } = witness.seen(id)
      assert.strictEqual(cancelled, attempts)
    })))
})

describe("wait for ready", () => {
  each(eachKind("changes nothing where there is a server", (kind) =>
    Effect.gen(function*() {
      const { echo } = yield* Backend
      for (const waitForReady of [true, false]) {
        assert.deepStrictEqual(yield* kind.run(echo, { waitForReady, deadline: "10 seconds" }), kind.answer)
      }
    })))
})

describe("an error", () => {
  for (const when of ["fail", "fail late"] as const) {
    each(eachKind(
      `has code, message, details and trailers${when === "fail" ? "" : "; messages before it were received"}`,
      (kind) =>
        Effect.gen(function*() {
          const { echo } = yield* Backend
          const { options, trailers } = listening()
          const received: Array<unknown> = []
          const { metadata } = act(when)
          const error = yield* Effect.flip(
            kind.runOpen(echo, { metadata, ...options }, (message) => received.push(message))
          )
          assert.instanceOf(error, GrpcError.GrpcError)
          const { code, details, message } = error
          assert.deepStrictEqual([code, message], [Script.failure.name, Script.failure.message])
          assert.deepStrictEqual(
            details?.map(({ typeUrl, value }) => [typeUrl, Buffer.from(value).toString("hex")]),
            [[Script.failure.detail.typeUrl, Script.failure.detail.value.toString("hex")]]
          )
          const [info] = GrpcError.detailsOf(error, GrpcErrorDetails.ErrorInfoSchema)
          assert.deepStrictEqual([info?.reason, info?.domain], [Script.failure.reason, Script.failure.domain])
          for (const metadata of [error.trailers!, trailers()]) {
            assert.sameMembers(metadata.entries.map(([key]) => key).filter((key, i, all) => all.indexOf(key) === i), [
              "x-hint",
              "x-hint-bin"
            ])
            assert.deepStrictEqual(texts(metadata, "x-hint"), Script.failure.trailers["x-hint"])
            assert.deepStrictEqual(
              hex(GrpcMetadata.getAllBinary(metadata, "x-hint-bin")),
              hex(Script.failure.trailers["x-hint-bin"])
            )
          }
          assert.strictEqual(received.length, when === "fail late" && kind.isResponseStream ? 2 : 0)
        })
    ))
  }

  each((it) => {
    it.effect("is not lost if onTrailers wakes up the reader of the responses", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        const { metadata } = act("fail late")
        const isOver = Latch.makeUnsafe(false)
        const responses = echo.count({ to: 1 }, { metadata, onTrailers: () => isOver.openUnsafe() })
        const error = yield* Effect.flip(Stream.runForEach(responses, () => isOver.await))
        assert.strictEqual(error.code, Script.failure.name)
      }))
  }, ({ transport }) => transport.name === "TCP")

  each(
    eachKind(
      "of every code has its name and its message, without details and trailers",
      (kind) =>
        Effect.gen(function*() {
          const { echo } = yield* Backend
          for (const [number, name] of Script.codes) {
            const { metadata } = act("status", { [Script.codeKey]: String(number) })
            const { code, details, message, trailers } = yield* Effect.flip(kind.run(echo, { metadata }))
            assert.deepStrictEqual([code, message, details, trailers], [
              name,
              Script.statusMessage,
              undefined,
              undefined
            ])
          }
        })
    )
  )
})

describe("messages", () => {
  const mebibyte = 1024 * 1024
  const text = "0123456789abcdef".repeat(mebibyte / 16)
  const digest = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex")

  each((it) => {
    it.effect("of a mebibyte go there and back", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        const expected = digest(Buffer.from(text, "latin1"))
        assert.strictEqual(digest((yield* echo.say({ text })).text), expected)
        const chatted = yield* Stream.runCollect(echo.chat(Stream.make({ text }, { text: "" }, { text })))
        const sizes = chatted.map(({ text }) => text.length)
        assert.deepStrictEqual(sizes, [mebibyte + 1, 1, mebibyte + 1])
        assert.strictEqual(digest(chatted[2]!.text.slice(0, -1)), expected)
        const counted = yield* Stream.runCollect(echo.count({ to: 3, padding: mebibyte }))
        assert.deepStrictEqual(counted.map(({ n, padding }) => [n, padding.byteLength]), [
          [1, mebibyte],
          [2, mebibyte],
          [3, mebibyte]
        ])
        assert.isTrue(counted.every(({ padding }) => Buffer.from(padding).equals(Buffer.alloc(mebibyte))))
      }))

    it.effect("above 4 MiB are RESOURCE_EXHAUSTED by default", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        const received: Array<number> = []
        const error = yield* Effect.flip(
          Stream.runForEach(
            echo.count({ to: 2, padding: 4 * mebibyte }),
            ({ n }) => Effect.sync(() => received.push(n))
          )
        )
        assert.deepStrictEqual([error.code, received], ["RESOURCE_EXHAUSTED", []])
        const requests = yield* Effect.flip(echo.say({ text: text.repeat(4) }))
        assert.strictEqual(requests.code, "RESOURCE_EXHAUSTED")
      }))

    it.effect("by the thousand come all and in order", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        const n = 1_000
        const counted = yield* Stream.runCollect(echo.count({ to: n }))
        assert.deepStrictEqual(counted.map(({ n }) => n), Array.from({ length: n }, (_, i) => i + 1))
        assert.strictEqual((yield* echo.sum(Stream.map(Stream.range(1, n), (n) => ({ n })))).total, n * (n + 1) / 2)
        const chatted = yield* Stream.runCollect(echo.chat(Stream.map(Stream.range(1, n), (n) => ({ text: `${n}` }))))
        assert.deepStrictEqual(chatted.map(({ text }) => text), Array.from({ length: n }, (_, i) => `${i + 1}!`))
      }))

    it.effect("that are empty, and streams without any", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        assert.strictEqual((yield* echo.say({})).text, "")
        assert.deepStrictEqual(yield* Stream.runCollect(echo.count({ to: 0 })), [])
        assert.strictEqual((yield* echo.sum(Stream.empty)).total, 0)
        assert.strictEqual((yield* echo.sum(Stream.make({}, {}))).total, 0)
        assert.deepStrictEqual(yield* Stream.runCollect(echo.chat(Stream.empty)), [])
        assert.deepStrictEqual((yield* Stream.runCollect(echo.chat(Stream.make({})))).map(({ text }) => text), ["!"])
      }))

    it.effect("one at a time: each response is there before the next request is made", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        let received = 0
        let made = 0
        const turn = Latch.makeUnsafe(true)
        const requests = Stream.range(1, 20).pipe(
          Stream.rechunk(1),
          Stream.mapEffect((n) =>
            Effect.andThen(
              turn.await,
              Effect.sync(() => {
                turn.closeUnsafe()
                assert.strictEqual(received, made)
                made++
                return { text: `${n}` }
              })
            )
          )
        )
        yield* Stream.runForEach(echo.chat(requests), ({ text }) => {
          received++
          assert.strictEqual(text, `${received}!`)
          return turn.open
        })
        assert.deepStrictEqual([made, received], [20, 20])
      }))
  })
})

describe("a server that answers early", () => {
  each((it) => {
    it.effect("interrupts the requests", () =>
      Effect.gen(function*() {
        const { echo } = yield* Backend
        let released = 0
        const requests = Stream.ensuring(Stream.never, Effect.sync(() => void released++))
        assert.strictEqual((yield* echo.sum(requests, act("early"))).total, Script.early.total)
        assert.strictEqual(released, 1)
        const chatted = yield* Stream.runCollect(echo.chat(requests, act("early")))
        assert.deepStrictEqual(chatted.map(({ text }) => text), [Script.early.text])
        assert.strictEqual(released, 2)
      }))
  })
})

describe("a client that leaves early", () => {
  each(eachKind("by interruption ends the RPC on the server", (kind) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("hang")
      const rpc = yield* Effect.forkChild(kind.runOpen(echo, { metadata }))
      yield* EchoServer.until("it runs", () => witness.seen(id).running === 1)
      yield* Fiber.interrupt(rpc)
      yield* EchoServer.until("the server has ended it", () => witness.seen(id).running === 0)
      assert.strictEqual(witness.seen(id).cancelled, 1)
    })))

  each(eachKind("before the server knows leaves nothing running there", (kind) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("hang")
      for (let turns = 1; turns <= 12; turns++) {
        const rpc = yield* Effect.forkChild(kind.runOpen(echo, { metadata }), { startImmediately: true })
        for (let i = 0; i < turns; i++) yield* turns % 2 === 0 ? Effect.yieldNow : EventLoop.turn
        yield* Fiber.interrupt(rpc)
      }
      yield* echo.say({ text: "" })
      yield* EchoServer.until("the server has ended them", () => witness.seen(id).running === 0)
      const { attempts, cancelled } = witness.seen(id)
      assert.strictEqual(cancelled, attempts)
    })))

  each((it) => {
    for (const kind of Kinds.all) {
      // grpc-js 1.14 resets no stream in the turn of the event loop in which it was opened.
      it.effect(`${kind.name}: in the turn in which it began leaves nothing running there`, () =>
        Effect.gen(function*() {
          const { echo, witness } = yield* Backend
          yield* echo.say({})
          const { id, metadata } = act("hang")
          const rpc = yield* Effect.forkChild(kind.runOpen(echo, { metadata }), { startImmediately: true })
          yield* Fiber.interrupt(rpc)
          // What was sent before has come when this is answered.
          for (let i = 0; i < 20; i++) yield* Effect.andThen(EventLoop.turn, echo.say({}))
          assert.strictEqual(witness.seen(id).running, 0)
        }))
    }
  }, ({ transport }) => transport.name === "TCP")

  each((it) => {
    it.effect("by taking no more ends the RPC on the server", () =>
      Effect.gen(function*() {
        const { echo, witness } = yield* Backend
        const counting = act("hang")
        const counted = yield* Stream.runCollect(Stream.take(echo.count({ to: 1 }, counting), 1))
        assert.deepStrictEqual(counted.map(({ n }) => n), [0])
        const chatting = act("hang")
        yield* Stream.runDrain(Stream.take(echo.chat(Stream.never, chatting), 1))
        const endless = act("answer")
        const some = yield* Stream.runCollect(Stream.take(echo.count({ to: 1_000_000 }, endless), 3))
        assert.deepStrictEqual(some.map(({ n }) => n), [1, 2, 3])
        for (const { id } of [counting, chatting, endless]) {
          yield* EchoServer.until("the server has ended it", () => witness.seen(id).running === 0)
          assert.strictEqual(witness.seen(id).cancelled, 1)
        }
      }))
  })
})
