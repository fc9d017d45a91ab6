/** Whatever a handler does, its client gets one status, nothing else is said to it afterwards, and the server lives. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { EventEmitter } from "node:events"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

const { ABORTED, CANCELLED, INTERNAL, OK, UNKNOWN } = grpc.status

/** What does not type-check: handlers of programs in JavaScript. */
const untyped = (value: unknown): never => value as never

const circular: { self?: unknown } = {}
circular.self = circular

type Say = (request: { readonly text: string }) => ReturnType<EchoServer.Handlers["say"]>
type Count = EchoServer.Handlers["count"]

const unary: ReadonlyArray<readonly [what: string, say: Say, code: number]> = [
  ["dies with an error", () => Effect.die(new Error("secret")), INTERNAL],
  ["dies with undefined", () => Effect.die(undefined), INTERNAL],
  ["dies with null", () => Effect.die(null), INTERNAL],
  ["dies with a circular object", () => Effect.die(circular), INTERNAL],
  ["dies with something whose message throws", () =>
    Effect.die({
      get message() {
        throw new Error("no")
      }
    }), INTERNAL],
  ["throws", () => {
    throw new Error("secret")
  }, INTERNAL],
  ["throws undefined", () => {
    throw untyped(undefined)
  }, INTERNAL],
  ["returns nothing", () => untyped(undefined), INTERNAL],
  ["returns a promise", () => untyped(Promise.resolve({ text: "" })), INTERNAL],
  ["returns a Stream for one response", () => untyped(Stream.make({ text: "" })), INTERNAL],
  ["awaits a promise that rejects", () => untyped(Effect.promise(() => Promise.reject(new Error("secret")))), INTERNAL],
  ["fails with an error of another type", () => untyped(Effect.fail(new Error("secret"))), UNKNOWN],
  ["fails with undefined", () => untyped(Effect.fail(undefined)), UNKNOWN],
  [
    "fails with a code that does not exist",
    () => Effect.fail(new GrpcError.GrpcError({ code: untyped("NOPE"), message: "" })),
    UNKNOWN
  ],
  [
    "fails with a message that is no string",
    () => Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: untyped(5) })),
    ABORTED
  ],
  ["fails with a lone surrogate", () => Effect.fail(GrpcError.aborted("\ud800")), ABORTED],
  ["fails with line breaks and NUL in its message", () => Effect.fail(GrpcError.aborted("a\r\nb\0c")), ABORTED],
  ["fails with a megabyte", () => Effect.fail(GrpcError.aborted("ü".repeat(1_000_000))), ABORTED],
  [
    "fails with details that are none",
    () => Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: "", details: untyped([5]) })),
    INTERNAL
  ],
  ["succeeds with undefined", () => Effect.succeed(untyped(undefined)), INTERNAL],
  ["succeeds with a number", () => Effect.succeed(untyped(5)), INTERNAL],
  ["interrupts itself", () => Effect.interrupt, CANCELLED],
  [
    "fails, and its finalizer dies",
    () => Effect.ensuring(Effect.fail(GrpcError.aborted("first")), Effect.die("second")),
    INTERNAL
  ],
  [
    "succeeds, and its finalizer dies",
    () => Effect.ensuring(Effect.succeed({ text: "" }), Effect.die("second")),
    INTERNAL
  ],
  [
    "leaves a scoped finalizer that dies",
    () => Effect.scoped(Effect.as(Effect.addFinalizer(() => Effect.die("second")), { text: "" })),
    INTERNAL
  ],
  [
    "adds metadata that is forbidden",
    () => untyped(Effect.suspend(() => GrpcCall.addHeaders(GrpcMetadata.make({ "grpc-status": "0" })))),
    INTERNAL
  ],
  [
    "goes on to answer after its end",
    () =>
      untyped(Effect.gen(function*() {
        const call = yield* GrpcCall.GrpcCall
        setImmediate(() => {
          call.addTrailers(GrpcMetadata.make({ "x-late": "1" }))
          call.addHeaders(GrpcMetadata.make({ "x-late": "1" }))
          call.sendHeaders()
        })
        return { text: "" }
      })),
    OK
  ],
  ["leaves work behind that dies", () => Effect.as(Effect.forkDetach(Effect.die("later")), { text: "" }), OK]
]

const streamed: ReadonlyArray<readonly [what: string, count: Count, code: number, messages: number]> = [
  ["dies after a message", () => Stream.concat(Stream.make({ n: 1 }), Stream.die("secret")), INTERNAL, 1],
  [
    "fails after a message",
    () => Stream.concat(Stream.make({ n: 1 }), Stream.fail(GrpcError.aborted("no"))),
    ABORTED,
    1
  ],
  [
    "throws",
    () => {
      throw new Error("secret")
    },
    INTERNAL,
    0
  ],
  ["returns nothing", () => untyped(undefined), INTERNAL, 0],
  ["returns an Effect for a stream", () => untyped(Effect.succeed({ n: 1 })), INTERNAL, 0],
  ["returns an array", () => untyped([{ n: 1 }]), INTERNAL, 0],
  ["has a message that cannot be written", () => Stream.make({ n: 1 }, { n: untyped("x") }, { n: 3 }), INTERNAL, 1],
  ["has undefined for a message", () => Stream.make(untyped(undefined)), INTERNAL, 0],
  [
    "has a message that throws when it is made",
    () => Stream.map(Stream.make(1, 2), (n) => n === 2 ? untyped((undefined as unknown as { n: number }).n) : { n }),
    INTERNAL,
    0
  ],
  ["interrupts itself", () => Stream.concat(Stream.make({ n: 1 }), Stream.fromEffect(Effect.interrupt)), CANCELLED, 1],
  ["ends, and its finalizer dies", () => Stream.ensuring(Stream.make({ n: 1 }), Effect.die("later")), INTERNAL, 1]
]

/** All the statuses that a call ends with. */
const statuses = (call: EventEmitter): Effect.Effect<ReadonlyArray<grpc.StatusObject>> =>
  Effect.callback((resume) => {
    const seen: Array<grpc.StatusObject> = []
    call.on("error", () => {})
    call.on("status", (status: grpc.StatusObject) => {
      seen.push(status)
      // A second one would come right after.
      setImmediate(() => setImmediate(() => resume(Effect.succeed(seen))))
    })
  })

const leaks = /secret|second|first.*second/

describe("a unary handler that", () => {
  for (const [what, say, code] of unary) {
    it.live(`${what} ends with ${grpc.status[code]}`, () =>
      Effect.gen(function*() {
        const server = yield* EchoServer.make({
          say: ({ text }) => text === "alive" ? Effect.succeed({ text }) : say({ text })
        })
        const client = yield* EchoClient.make(server.target)
        const seen = yield* statuses(client.say({ text: "misuse" }, {}, () => {}))
        assert.strictEqual(seen.length, 1)
        assert.strictEqual(seen[0]!.code, code)
        assert.notMatch(seen[0]!.details, leaks)
        assert.strictEqual(yield* EchoClient.say(client, "alive"), "alive")
        const { admitted, failed, succeeded } = (yield* server.close).counts
        assert.deepStrictEqual({ admitted, failed, succeeded }, {
          admitted: 2,
          failed: code === OK ? 0 : 1,
          succeeded: code === OK ? 2 : 1
        })
      }))
  }
})

describe("a streaming handler that", () => {
  for (const [what, count, code, messages] of streamed) {
    it.live(`${what} ends with ${grpc.status[code]}`, () =>
      Effect.gen(function*() {
        const server = yield* EchoServer.make({ count })
        const client = yield* EchoClient.make(server.target)
        const call = client.count({ to: 1 })
        let received = 0
        call.on("data", () => received++)
        const seen = yield* statuses(call)
        assert.strictEqual(seen.length, 1)
        assert.strictEqual(seen[0]!.code, code)
        assert.notMatch(seen[0]!.details, leaks)
        assert.strictEqual(received, messages)
        assert.strictEqual(yield* EchoClient.say(client, "alive"), "alive")
        assert.deepInclude((yield* server.close).counts, { admitted: 2, failed: 1, succeeded: 1 })
      }))
  }
})

describe("a middleware that", () => {
  const run = (middleware: GrpcMiddleware.GrpcMiddleware) =>
    Effect.gen(function*() {
      let handled = 0
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        middleware: [middleware]
      }).pipe(
        Effect.provide(EchoServer.layer({ say: ({ text }) => Effect.sync(() => ({ text: `${text}${++handled}` })) }))
      )
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const seen = yield* statuses(client.say({ text: "" }, {}, () => {}))
      return { codes: seen.map(({ code }) => code), handled }
    })

  it.live("runs the handler twice answers once", () =>
    Effect.gen(function*() {
      const twice = GrpcMiddleware.make((rpc) => Effect.andThen(rpc, rpc))
      assert.deepStrictEqual(yield* run(twice), { codes: [OK], handled: 2 })
    }))

  it.live("never runs the handler, and returns nothing, is INTERNAL", () =>
    Effect.gen(function*() {
      const never = GrpcMiddleware.make(() => untyped(Effect.void))
      assert.deepStrictEqual(yield* run(never), { codes: [INTERNAL], handled: 0 })
    }))

  it.live("throws is INTERNAL", () =>
    Effect.gen(function*() {
      const throwing = GrpcMiddleware.make(() => {
        throw new Error("secret")
      })
      assert.deepStrictEqual(yield* run(throwing), { codes: [INTERNAL], handled: 0 })
    }))
})
