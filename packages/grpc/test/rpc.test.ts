import { assert, describe, it } from "@effect/vitest"
import { Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js"
import type { Entry, Outcome } from "@lastcall/core/InFlight"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { X509Certificate } from "node:crypto"
import type { PeerCertificate } from "node:tls"
import { afterEach, beforeEach, vi } from "vitest"
import * as GrpcCall from "../src/GrpcCall.ts"
import * as GrpcError from "../src/GrpcError.ts"
import * as GrpcMetadata from "../src/GrpcMetadata.ts"
import type { Composed, Observe } from "../src/GrpcMiddleware.ts"
import { encoder, Rpc } from "../src/internal/rpc.ts"
import * as Certificates from "./Certificates.ts"
import * as EventLoop from "./EventLoop.ts"

type Listener = Parameters<ServerInterceptingCallInterface["start"]>[0]

const path = "/test.Texts/Method"
const isUnavailable = ["status", status.UNAVAILABLE, "server is shutting down", {}]
const isInternal = ["status", status.INTERNAL, "internal error", {}]
const ok = ["status", status.OK, "OK", {}]
const noHeaders = ["headers", {}]

interface Options {
  readonly handler: (request: never) => unknown
  readonly requestStream?: boolean
  readonly responseStream?: boolean
  readonly observers?: ReadonlyArray<Observe>
  readonly wrap?: Composed["wrap"]
  readonly maxSend?: number
  readonly deadline?: number | Date
  readonly isDead?: boolean
  readonly connection?: { readonly remoteAddress?: string; readonly remotePort?: number }
  readonly certificate?: Buffer
  /** It throws for headers and trailers that are not empty, as Node's http2 does for what it does not send. */
  readonly isStrict?: boolean
}

/** An RPC of texts. `told` is what grpc-js is told, in order; the test says what grpc-js reports. */
const make = (options: Options) => {
  const told: Array<ReadonlyArray<unknown>> = []
  const logged: Array<unknown> = []
  const ended: Array<Outcome> = []
  let serialized = 0
  let listener: Listener | undefined
  const received = new Metadata()
  received.set("from", "the client")
  const call: ServerInterceptingCallInterface = {
    start(it) {
      if (options.isDead === true) return
      listener = it
      it.onReceiveMetadata(received)
    },
    startRead: () => void told.push(["read"]),
    sendMetadata(metadata) {
      if (options.isStrict === true && Object.keys(metadata.toJSON()).length > 0) throw new Error("unsendable headers")
      told.push(["headers", metadata.toJSON()])
    },
    sendMessage: (message: Buffer, flushed) => {
      told.push(["message", message.toString()])
      setImmediate(flushed)
    },
    sendStatus({ code, details, metadata }) {
      if (options.isStrict === true && Object.keys(metadata!.toJSON()).length > 0) {
        throw new Error("unsendable trailers")
      }
      told.push(["status", code, details, metadata!.toJSON()])
    },
    getPeer: () => "unknown",
    getDeadline: () => options.deadline ?? Number.POSITIVE_INFINITY,
    getHost: () => "the.host",
    getAuthContext: () =>
      options.certificate === undefined ? {} : { sslPeerCertificate: { raw: options.certificate } as PeerCertificate },
    getConnectionInfo: () => options.connection ?? {},
    getMetricsRecorder: () => assert.fail("not asked for")
  }
  const entry: Entry = {
    kind: path,
    since: 0,
    isInterrupted: false,
    onInterrupt: () => {},
    // Only the first call counts.
    end: (outcome) => ended.length === 0 && ended.push(outcome) === 1
  }
  const method = {
    key: "method",
    path,
    requestStream: options.requestStream === true,
    responseStream: options.responseStream === true,
    deserialize: (message: Buffer) => {
      if (message.toString() === "unreadable") throw new Error("not a text")
      return message.toString()
    },
    serialize: (text: unknown) => {
      serialized++
      if (typeof text !== "string") throw new Error("not a text")
      return Buffer.from(text)
    },
    handler: options.handler as (request: unknown) => Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>
  }
  const rpc = new Rpc(
    {
      method,
      context: Context.empty(),
      middleware: { observers: options.observers ?? [], wrap: options.wrap },
      encode: encoder(method, options.maxSend ?? 100),
      logDefect: (path, cause) => void logged.push([path, Cause.squash(cause)])
    },
    call,
    entry
  )
  return {
    rpc,
    told,
    logged,
    ended,
    serialized: () => serialized,
    /** What has been told since it was asked for last. */
    news: () => told.splice(0).filter(([what]) => what !== "read"),
    receive: (...texts: ReadonlyArray<string>) => {
      for (const text of texts) listener!.onReceiveMessage(Buffer.from(text))
    },
    halfClose: () => listener!.onReceiveHalfClose(),
    over: () => listener!.onCancel(),
    request(text: string) {
      this.receive(text)
      this.halfClose()
    }
  }
}

const turns = EventLoop.turns(16)

/** A handler that goes on when it is let, and writes down what becomes of it. */
const gated = (result: Effect.Effect<unknown, unknown> = Effect.succeed("answer")) => {
  const happened: Array<string> = []
  let open = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  const handler = () =>
    Effect.promise(() => passed).pipe(
      Effect.andThen(result),
      Effect.tap(() => Effect.sync(() => void happened.push("went on"))),
      Effect.onInterrupt(() => Effect.andThen(EventLoop.turn, Effect.sync(() => void happened.push("interrupted"))))
    )
  return { handler, happened, open: Effect.andThen(Effect.sync(() => open()), turns) }
}

/** A handler that has its answer, and then releases what it used, for as long as it likes. */
const releasing = () => {
  const { handler, open } = gated()
  return { handler: () => Effect.as(Effect.addFinalizer(() => Effect.orDie(handler())), "answer"), open }
}

describe("a single request and response", () => {
  it.effect("are read, handled and answered; the RPC is over when grpc-js says so", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: (text: string) => Effect.succeed(`${text}!`) })
      assert.deepStrictEqual(rpc.told.splice(0), [["read"]])
      rpc.receive("hello")
      assert.deepStrictEqual(rpc.told.splice(0), [["read"]])
      rpc.halfClose()
      assert.deepStrictEqual(rpc.told, [noHeaders, ["message", "hello!"], ok])
      assert.deepStrictEqual(rpc.ended, [])
      rpc.over()
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
      assert.deepStrictEqual(rpc.logged, [])
      yield* rpc.rpc.awaitHandler
    }))

  it.effect("are answered when the handler ends, where it takes its time", () =>
    Effect.gen(function*() {
      const { handler, open } = gated()
      const rpc = make({ handler })
      rpc.request("hello")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [])
      yield* open
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("the handler's scope closes before the answer", () =>
    Effect.gen(function*() {
      const happened: Array<string> = []
      const rpc = make({
        handler: () => Effect.as(Effect.addFinalizer(() => Effect.sync(() => void happened.push("released"))), "answer")
      })
      rpc.request("hello")
      assert.deepStrictEqual(happened, ["released"])
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
    }))

  it.effect("that is none, two, or unreadable is refused, and no handler runs", () =>
    Effect.gen(function*() {
      for (
        const [texts, code, details] of [
          [[], status.UNIMPLEMENTED, "no request message"],
          [["one", "two"], status.UNIMPLEMENTED, "more than one request message"],
          [["unreadable"], status.INTERNAL, "the request cannot be read"]
        ] as const
      ) {
        const rpc = make({ handler: () => assert.fail("it must not run") })
        rpc.receive(...texts)
        rpc.halfClose()
        assert.deepStrictEqual(rpc.news(), [["status", code, details, {}]])
        // Not even where it would throw unseen.
        assert.deepStrictEqual(rpc.logged, [])
        rpc.rpc.interrupt()
        assert.deepStrictEqual(rpc.ended, [])
        rpc.over()
        assert.deepStrictEqual(rpc.ended, ["failed"])
      }
    }))

  it.effect("a second half-close runs no second handler", () =>
    Effect.gen(function*() {
      const { handler, open } = gated()
      const rpc = make({ handler })
      rpc.request("hello")
      rpc.halfClose()
      assert.deepStrictEqual(rpc.news(), [])
      yield* open
      rpc.halfClose()
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
    }))

  it.effect("a handler that fails answers with its status, and no headers; a defect is logged with the method", () =>
    Effect.gen(function*() {
      const defect = new Error("secret")
      for (
        const [handler, answer, logged] of [
          [() => Effect.fail(GrpcError.notFound("no such text")), ["status", status.NOT_FOUND, "no such text", {}], []],
          [() => Effect.die(defect), isInternal, [[path, defect]]],
          [
            () => {
              throw defect
            },
            isInternal,
            [[path, defect]]
          ]
        ] as const
      ) {
        const rpc = make({ handler })
        rpc.request("hello")
        assert.deepStrictEqual(rpc.news(), [answer])
        assert.deepStrictEqual<ReadonlyArray<unknown>>(rpc.logged, logged)
        rpc.over()
        assert.deepStrictEqual(rpc.ended, ["failed"])
      }
    }))

  it.effect("a response may be as large as the limit, and not larger; one that is none is INTERNAL", () =>
    Effect.gen(function*() {
      const fits = make({ handler: () => Effect.succeed("12345"), maxSend: 5 })
      fits.request("hello")
      assert.deepStrictEqual(fits.news(), [noHeaders, ["message", "12345"], ok])
      assert.strictEqual(fits.rpc.sentBytes, 5)

      const tooLarge = make({ handler: () => Effect.succeed("123456"), maxSend: 5 })
      tooLarge.request("hello")
      const details = "the response message has 6 bytes, and at most 5 are sent"
      assert.deepStrictEqual(tooLarge.news(), [["status", status.RESOURCE_EXHAUSTED, details, {}]])
      assert.deepStrictEqual(tooLarge.logged, [])
      tooLarge.over()
      assert.deepStrictEqual(tooLarge.ended, ["failed"])

      const none = make({ handler: () => Effect.succeed(1) })
      none.request("hello")
      assert.deepStrictEqual(none.news(), [isInternal])
      assert.lengthOf(none.logged, 1)
    }))
})

describe("a call that is over on the wire", () => {
  it.effect("before it was started has failed", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => assert.fail("it must not run"), isDead: true })
      assert.deepStrictEqual(rpc.ended, ["failed"])
      yield* rpc.rpc.awaitHandler
    }))

  it.effect("before its request has come has failed, and reads no more", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => assert.fail("it must not run") })
      rpc.told.splice(0)
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
      rpc.receive("hello")
      rpc.halfClose()
      assert.deepStrictEqual(rpc.told, [])
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("interrupts its handler, and has failed when that has ended, finalizers included", () =>
    Effect.gen(function*() {
      const { handler, happened } = gated()
      const rpc = make({ handler })
      rpc.request("hello")
      yield* turns
      rpc.over()
      assert.deepStrictEqual(rpc.ended, [])
      yield* rpc.rpc.awaitHandler
      assert.deepStrictEqual(happened, ["interrupted"])
      assert.deepStrictEqual(rpc.ended, ["failed"])
      assert.deepStrictEqual(rpc.news(), [])
    }))

  it.effect("has failed also where its handler had its answer and still releases something, or is stopped then", () =>
    Effect.gen(function*() {
      for (const isStopped of [false, true]) {
        const { handler, open } = releasing()
        const rpc = make({ handler })
        rpc.request("hello")
        yield* turns
        rpc.over()
        if (isStopped) rpc.rpc.interrupt()
        assert.deepStrictEqual(rpc.ended, [])
        yield* open
        assert.deepStrictEqual(rpc.ended, ["failed"])
        assert.deepStrictEqual(rpc.news(), [])
      }
    }))

  it.effect("has failed where a stop interrupts its handler after", () =>
    Effect.gen(function*() {
      const { handler } = gated()
      const rpc = make({ handler })
      rpc.request("hello")
      yield* turns
      rpc.over()
      rpc.rpc.interrupt()
      yield* turns
      assert.deepStrictEqual(rpc.ended, ["failed"])
      assert.deepStrictEqual(rpc.news(), [])
    }))

  it.effect("while its handler begins interrupts it", () =>
    Effect.gen(function*() {
      const { handler, happened } = gated()
      const rpc = make({
        handler: () =>
          Effect.suspend(() => {
            rpc.over()
            return handler()
          })
      })
      rpc.request("hello")
      yield* turns
      assert.deepStrictEqual(happened, ["interrupted"])
    }))
})

describe("a stream of requests", () => {
  const gather = (requests: Stream.Stream<string, GrpcError.GrpcError>) =>
    Effect.map(Stream.runCollect(requests), (texts) => texts.join())

  it.effect("is read one at a time, and the handler sees all and their end", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: gather, requestStream: true })
      assert.deepStrictEqual(rpc.told.splice(0), [["read"]])
      rpc.receive("a", "b")
      assert.deepStrictEqual(rpc.told.splice(0), [["read"], ["read"]])
      yield* turns
      rpc.receive("c")
      rpc.halfClose()
      yield* turns
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "a,b,c"], ok])
      assert.strictEqual(rpc.rpc.receivedBytes, 3)
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("is read before the handler pulls", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.never, requestStream: true })
      assert.deepStrictEqual(rpc.told, [["read"]])
    }))

  it.effect("that breaks within the turn of its end is not taken for a whole one", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: (requests: never) => Effect.uninterruptible(gather(requests)), requestStream: true })
      rpc.receive("a")
      rpc.halfClose()
      rpc.over()
      yield* turns
      assert.deepStrictEqual(rpc.ended, ["failed"])
      assert.deepStrictEqual(rpc.news(), [])
    }))

  it.effect("with one that cannot be read is INTERNAL", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: gather, requestStream: true })
      rpc.receive("a", "unreadable")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [["status", status.INTERNAL, "the request cannot be read", {}]])
      assert.deepStrictEqual(rpc.logged, [])
    }))
})

describe("a stream of responses", () => {
  it.effect("is headers, messages, and OK; its bytes are counted", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: (text: string) => Stream.make(text, "b", "cd"), responseStream: true })
      rpc.request("a")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "a"], ["message", "b"], ["message", "cd"], ok])
      assert.strictEqual(rpc.rpc.sentBytes, 4)
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("without a message is a status alone", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Stream.empty, responseStream: true })
      rpc.request("a")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [ok])
    }))

  it.effect("that fails ends with the status, after the messages before it", () =>
    Effect.gen(function*() {
      const rpc = make({
        handler: () => Stream.concat(Stream.make("a"), Stream.fail(GrpcError.aborted("no more"))),
        responseStream: true
      })
      rpc.request("a")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "a"], ["status", status.ABORTED, "no more", {}]])
    }))

  it.effect("writes nothing after a stop has answered, also where its handler ignores interruption", () =>
    Effect.gen(function*() {
      const { handler, open } = gated()
      const rpc = make({
        handler: () => Stream.fromEffect(handler()),
        responseStream: true,
        wrap: Effect.uninterruptible
      })
      rpc.request("a")
      yield* turns
      rpc.rpc.interrupt()
      rpc.rpc.answer()
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      yield* open
      assert.deepStrictEqual(rpc.news(), [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("goes through the middleware as it is", () =>
    Effect.gen(function*() {
      const results: Array<unknown> = []
      const rpc = make({
        handler: () => Stream.make("a"),
        responseStream: true,
        wrap: Effect.tap((result) => Effect.sync(() => void results.push(result)))
      })
      rpc.request("a")
      yield* turns
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "a"], ok])
      assert.deepStrictEqual(results, [undefined])
    }))
})

describe("the deadline of a stream of responses", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it.effect("interrupts the handler, and nothing is written any more: grpc-js has answered", () =>
    Effect.gen(function*() {
      for (const deadline of [Date.now() + 1_000, new Date(Date.now() + 1_000)]) {
        vi.setSystemTime(Number(deadline) - 1_000)
        const { handler, happened } = gated()
        const rpc = make({ handler: () => Stream.fromEffect(handler()), responseStream: true, deadline })
        rpc.request("a")
        yield* turns
        vi.advanceTimersByTime(999)
        yield* turns
        assert.deepStrictEqual(happened, [])
        vi.advanceTimersByTime(1)
        yield* turns
        assert.deepStrictEqual(happened, ["interrupted"])
        assert.deepStrictEqual(rpc.news(), [])
        assert.deepStrictEqual(rpc.ended, [])
        rpc.over()
        assert.deepStrictEqual(rpc.ended, ["failed"])
      }
    }))

  it.effect("stops the writing of a handler that ignores interruption; then it has failed", () =>
    Effect.gen(function*() {
      const { handler, open } = gated()
      const rpc = make({
        handler: () => Stream.fromEffect(Effect.exit(handler())),
        responseStream: true,
        wrap: (effect) => Effect.uninterruptible(Effect.exit(effect)),
        deadline: Date.now() + 1_000
      })
      rpc.request("a")
      yield* turns
      vi.advanceTimersByTime(1_000)
      yield* open
      assert.deepStrictEqual(rpc.news(), [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("is not waited for where there is none, the response is single, or the call is over", () =>
    Effect.gen(function*() {
      make({ handler: () => Stream.never, responseStream: true })
      make({ handler: () => Effect.never, deadline: Date.now() + 1_000 })
      assert.strictEqual(vi.getTimerCount(), 0)
      const rpc = make({ handler: () => Stream.never, responseStream: true, deadline: Date.now() + 1_000 })
      assert.strictEqual(vi.getTimerCount(), 1)
      rpc.over()
      assert.strictEqual(vi.getTimerCount(), 0)
    }))

  it.effect("that is over before the request has come leaves a handler nothing to write", () =>
    Effect.gen(function*() {
      for (const handler of [() => Stream.empty, () => Stream.make("a")]) {
        const rpc = make({ handler, responseStream: true, deadline: Date.now() + 1_000 })
        vi.advanceTimersByTime(1_000)
        rpc.request("a")
        yield* turns
        assert.deepStrictEqual(rpc.news(), [])
        rpc.over()
        assert.deepStrictEqual(rpc.ended, ["failed"])
      }
    }))

  it.effect("may be further than a timer can wait", () =>
    Effect.gen(function*() {
      const { handler, happened } = gated()
      const rpc = make({
        handler: () => Stream.fromEffect(handler()),
        responseStream: true,
        deadline: Date.now() + 2 ** 33
      })
      rpc.request("a")
      yield* turns
      vi.advanceTimersByTime(1_000_000)
      yield* turns
      assert.deepStrictEqual(happened, [])
    }))
})

describe("a stop", () => {
  it.effect("of an RPC whose request has not come answers UNAVAILABLE, and no handler runs", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => assert.fail("it must not run") })
      rpc.rpc.interrupt()
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("interrupts the handler, waits for its finalizers, and then answers UNAVAILABLE", () =>
    Effect.gen(function*() {
      const { handler, happened } = gated()
      const rpc = make({ handler })
      rpc.request("hello")
      yield* turns
      assert.isFalse(rpc.rpc.isStopping)
      rpc.rpc.interrupt()
      assert.isTrue(rpc.rpc.isStopping)
      assert.deepStrictEqual(rpc.news(), [])
      yield* rpc.rpc.awaitHandler
      assert.deepStrictEqual(happened, ["interrupted"])
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      assert.deepStrictEqual(rpc.logged, [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("of a handler that has its answer and still releases something answers UNAVAILABLE", () =>
    Effect.gen(function*() {
      const { handler, open } = releasing()
      const rpc = make({ handler })
      rpc.request("hello")
      yield* turns
      rpc.rpc.interrupt()
      assert.deepStrictEqual(rpc.news(), [])
      yield* open
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("that the handler itself brings about in its last step does not take its answer", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.sync(() => (rpc.rpc.interrupt(), "answer")) })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("that answers within the only step of the handler drops what that answers, and counts it as interrupted", () =>
    Effect.sync(() => {
      const rpc = make({
        handler: () =>
          Effect.sync(() => {
            rpc.rpc.interrupt()
            rpc.rpc.answer()
            return "too late"
          })
      })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("or a cancellation in the handler's first steps waits for its finalizers", () =>
    Effect.gen(function*() {
      for (const end of ["interrupted", "failed"] as const) {
        const released = Latch.makeUnsafe(false)
        const rpc = make({
          handler: () =>
            Effect.onInterrupt(
              Effect.suspend(() => {
                if (end === "failed") rpc.over()
                else rpc.rpc.interrupt()
                return Effect.never
              }),
              () => released.await
            )
        })
        rpc.request("hello")
        yield* turns
        assert.deepStrictEqual([rpc.news(), rpc.ended], [[], []])
        yield* released.open
        yield* turns
        if (end === "interrupted") {
          assert.deepStrictEqual(rpc.news(), [isUnavailable])
          rpc.over()
        }
        assert.deepStrictEqual(rpc.ended, [end])
      }
    }))

  it.effect("answers for a handler that has its answer and still releases something: it counts as interrupted", () =>
    Effect.gen(function*() {
      for (const isOverFirst of [false, true]) {
        const { handler, open } = releasing()
        const rpc = make({ handler })
        rpc.request("hello")
        yield* turns
        rpc.rpc.interrupt()
        rpc.rpc.answer()
        assert.deepStrictEqual(rpc.news(), [isUnavailable])
        if (isOverFirst) rpc.over()
        yield* open
        if (!isOverFirst) rpc.over()
        assert.deepStrictEqual(rpc.news(), [])
        assert.deepStrictEqual(rpc.ended, ["interrupted"])
      }
    }))

  it.effect("of a handler that fails with an error of its own leaves it that", () =>
    Effect.gen(function*() {
      const { handler, open } = gated(Effect.fail(GrpcError.aborted("mine")))
      const rpc = make({ handler: () => Effect.uninterruptible(handler()) })
      rpc.request("hello")
      yield* turns
      rpc.rpc.interrupt()
      yield* open
      assert.deepStrictEqual(rpc.news(), [["status", status.ABORTED, "mine", {}]])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("answers for a handler that ignores interruption; what that answers later is dropped", () =>
    Effect.gen(function*() {
      const { handler, open } = gated()
      const rpc = make({ handler: () => Effect.uninterruptible(handler()) })
      rpc.request("hello")
      yield* turns
      rpc.rpc.interrupt()
      rpc.rpc.answer()
      rpc.rpc.answer()
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, [])
      yield* open
      assert.deepStrictEqual(rpc.news(), [])
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("of an RPC that has ended changes nothing", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.succeed("answer") })
      rpc.request("hello")
      rpc.news()
      rpc.rpc.interrupt()
      rpc.rpc.answer()
      assert.deepStrictEqual(rpc.news(), [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("that begins while the handler does answers UNAVAILABLE and interrupts it", () =>
    Effect.gen(function*() {
      const { handler, happened } = gated()
      const rpc = make({
        handler: () =>
          Effect.suspend(() => {
            rpc.rpc.interrupt()
            return handler()
          })
      })
      rpc.request("hello")
      yield* rpc.rpc.awaitHandler
      assert.deepStrictEqual(happened, ["interrupted"])
      assert.deepStrictEqual(rpc.news(), [isUnavailable])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
    }))

  it.effect("that destroys the sockets counts what has a handler no more as destroyed", () =>
    Effect.gen(function*() {
      const ended = make({ handler: () => Effect.succeed("answer") })
      ended.request("hello")
      ended.rpc.destroyed()
      assert.deepStrictEqual(ended.ended, ["destroyed"])

      const running = make({ handler: () => Effect.never })
      running.request("hello")
      running.rpc.destroyed()
      assert.deepStrictEqual(running.ended, [])
    }))
})

describe("headers and trailers", () => {
  const one = GrpcMetadata.make({ one: "1" })
  const two = GrpcMetadata.make({ two: "2" })

  it.effect("go out with the first message and with the status; later ones are refused", () =>
    Effect.gen(function*() {
      let call: GrpcCall.GrpcCall["Service"] | undefined
      const rpc = make({
        handler: () =>
          Effect.gen(function*() {
            call = yield* GrpcCall.GrpcCall
            assert.isTrue(call.addHeaders(one))
            assert.isTrue(call.addHeaders(two))
            assert.isTrue(call.addTrailers(one))
            assert.isTrue(call.addTrailers(two))
            assert.deepStrictEqual(rpc.news(), [])
            return "answer"
          })
      })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [
        ["headers", { one: ["1"], two: ["2"] }],
        ["message", "answer"],
        ["status", status.OK, "OK", { one: ["1"], two: ["2"] }]
      ])
      assert.isFalse(call!.addHeaders(one))
      assert.isFalse(call!.addTrailers(one))
      assert.isFalse(call!.sendHeaders())
      assert.deepStrictEqual(rpc.news(), [])
    }))

  it.effect("can be sent before there is a message, once", () =>
    Effect.gen(function*() {
      const rpc = make({
        handler: () =>
          Effect.gen(function*() {
            const call = yield* GrpcCall.GrpcCall
            assert.isTrue(call.sendHeaders())
            assert.isFalse(call.sendHeaders())
            assert.isFalse(call.addHeaders(one))
            assert.isTrue(call.addTrailers(one))
            return yield* Effect.never
          })
      })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [noHeaders])
    }))

  it.effect("that were added go out before an error; none, where there were none, or they were empty", () =>
    Effect.gen(function*() {
      for (const [metadata, headers] of [[one, [["headers", { one: ["1"] }]]], [GrpcMetadata.empty, []]] as const) {
        const rpc = make({
          handler: () =>
            Effect.andThen(
              Effect.map(GrpcCall.addHeaders(metadata), (added) => assert.isTrue(added)),
              Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: "no", trailers: two }))
            )
        })
        rpc.request("hello")
        assert.deepStrictEqual(rpc.news(), [...headers, ["status", status.ABORTED, "no", { two: ["2"] }]])
      }
    }))

  it.effect("of a handler are beside the trailers of its error", () =>
    Effect.gen(function*() {
      const rpc = make({
        handler: () =>
          Effect.andThen(
            GrpcCall.addTrailers(one),
            Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: "no", trailers: two }))
          )
      })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [["status", status.ABORTED, "no", { one: ["1"], two: ["2"] }]])
    }))

  it.effect("have the last value of a key that there is only once: of a trailer that of the error", () =>
    Effect.gen(function*() {
      const etag = (value: string) => GrpcMetadata.make({ etag: value, tag: value })
      const rpc = make({
        handler: () =>
          GrpcCall.addHeaders(etag("1")).pipe(
            Effect.andThen(GrpcCall.addHeaders(etag("2"))),
            Effect.andThen(GrpcCall.addTrailers(etag("3"))),
            Effect.andThen(GrpcCall.addTrailers(etag("4"))),
            Effect.andThen(
              Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: "no", trailers: etag("5") }))
            )
          )
      })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [
        ["headers", { etag: ["2"], tag: ["1", "2"] }],
        ["status", status.ABORTED, "no", { etag: ["5"], tag: ["3", "4", "5"] }]
      ])
    }))

  it.effect("are refused once the call is over, or a stop has answered", () =>
    Effect.gen(function*() {
      for (const how of ["over", "answered"] as const) {
        let call: GrpcCall.GrpcCall["Service"] | undefined
        const rpc = make({
          handler: () =>
            Effect.uninterruptible(Effect.andThen(
              Effect.map(GrpcCall.GrpcCall, (it) => {
                call = it
              }),
              Effect.never
            ))
        })
        rpc.request("hello")
        if (how === "over") rpc.over()
        else rpc.rpc.answer()
        rpc.news()
        assert.isFalse(call!.addHeaders(one))
        assert.isFalse(call!.addHeaders(GrpcMetadata.empty))
        assert.isFalse(call!.addTrailers(one))
        assert.isFalse(call!.sendHeaders())
        assert.deepStrictEqual(rpc.news(), [])
      }
    }))
})

describe("headers and trailers that cannot be sent", () => {
  const one = GrpcMetadata.make({ one: "1" })
  const watched = () => {
    const exits: Array<Exit.Exit<unknown, unknown>> = []
    const observe: Observe = (_call, context) => ({ context, end: (exit) => void exits.push(exit) })
    return { exits, observers: [observe] }
  }
  const check = (rpc: ReturnType<typeof make>, what: string, news: ReadonlyArray<unknown>) => {
    assert.deepStrictEqual(rpc.news(), news)
    assert.deepStrictEqual(rpc.logged.map(String), [`${path},Error: unsendable ${what}`])
    rpc.rpc.answer()
    assert.deepStrictEqual(rpc.news(), [])
    rpc.over()
    assert.deepStrictEqual(rpc.ended, ["failed"])
  }
  const fails = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>) =>
    exits.map((exit) => exit._tag === "Failure" && String(Cause.squash(exit.cause)))

  // An empty message, since grpc-js takes the headers for sent: without a write Node would not end the stream.
  const cut = [["message", ""], isInternal]

  for (const takesTime of [false, true]) {
    const when = takesTime ? "later" : "at once"
    const answer = <E, R>(end: Effect.Effect<unknown, E, R>) => takesTime ? Effect.andThen(EventLoop.turn, end) : end

    it.effect(`headers, of a success: the RPC ends with INTERNAL, ${when}`, () =>
      Effect.gen(function*() {
        const { exits, observers } = watched()
        const handler = () => answer(Effect.as(GrpcCall.addHeaders(one), "answer"))
        const rpc = make({ handler, isStrict: true, observers })
        rpc.request("hello")
        yield* turns
        check(rpc, "headers", cut)
        assert.deepStrictEqual(fails(exits), ["Error: unsendable headers"])
      }))

    it.effect(`headers, of a failure: the RPC ends with INTERNAL, ${when}`, () =>
      Effect.gen(function*() {
        const { exits, observers } = watched()
        const failing = Effect.andThen(GrpcCall.addHeaders(one), Effect.fail(GrpcError.aborted("no")))
        const rpc = make({ handler: () => answer(failing), isStrict: true, observers })
        rpc.request("hello")
        yield* turns
        check(rpc, "headers", cut)
        assert.deepStrictEqual(fails(exits), ["Error: unsendable headers"])
      }))

    it.effect(`headers, of a stream: the RPC ends with INTERNAL, ${when}`, () =>
      Effect.gen(function*() {
        const handler = () => Stream.fromEffect(answer(Effect.as(GrpcCall.addHeaders(one), "answer")))
        const rpc = make({ handler, responseStream: true, isStrict: true })
        rpc.request("hello")
        yield* turns
        check(rpc, "headers", cut)
      }))

    it.effect(`trailers, of a success: the RPC ends with INTERNAL, ${when}`, () =>
      Effect.gen(function*() {
        const { exits, observers } = watched()
        const handler = () => answer(Effect.as(GrpcCall.addTrailers(one), "answer"))
        const rpc = make({ handler, isStrict: true, observers })
        rpc.request("hello")
        yield* turns
        check(rpc, "trailers", [noHeaders, ["message", "answer"], isInternal])
        assert.deepStrictEqual(fails(exits), ["Error: unsendable trailers"])
      }))

    it.effect(`trailers, of a failure: the RPC ends with INTERNAL, ${when}`, () =>
      Effect.gen(function*() {
        const { exits, observers } = watched()
        const failing = Effect.fail(new GrpcError.GrpcError({ code: "ABORTED", message: "no", trailers: one }))
        const rpc = make({ handler: () => answer(failing), isStrict: true, observers })
        rpc.request("hello")
        yield* turns
        check(rpc, "trailers", [isInternal])
        assert.deepStrictEqual(fails(exits), ["Error: unsendable trailers"])
      }))
  }

  it.effect("a stop that answers for the handler ends the RPC with INTERNAL", () =>
    Effect.gen(function*() {
      const handler = () => Effect.uninterruptible(Effect.andThen(GrpcCall.addTrailers(one), EventLoop.turn))
      const rpc = make({ handler, isStrict: true })
      rpc.request("hello")
      rpc.rpc.interrupt()
      rpc.rpc.answer()
      assert.deepStrictEqual(rpc.news(), [isInternal])
      yield* turns
      assert.deepStrictEqual(rpc.news(), [])
    }))

  it.effect("a stop that interrupts the handler counts the RPC as failed: the client does not know of the stop", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.andThen(GrpcCall.addTrailers(one), Effect.never), isStrict: true })
      rpc.request("hello")
      rpc.rpc.interrupt()
      yield* turns
      check(rpc, "trailers", [isInternal])
    }))
})

describe("what a handler knows of its call", () => {
  const known = (options: Partial<Options>, text = "hello") =>
    Effect.gen(function*() {
      let call: GrpcCall.GrpcCall["Service"] | undefined
      const rpc = make({
        ...options,
        handler: () =>
          Effect.map(GrpcCall.GrpcCall, (it) => {
            call = it
            return "answer"
          })
      })
      rpc.request(text)
      return { call: call!, rpc: rpc.rpc }
    })

  it.effect("path, metadata, deadline, authority", () =>
    Effect.gen(function*() {
      const { call } = yield* known({})
      assert.strictEqual(call.path, path)
      assert.deepStrictEqual(call.metadata.entries, [["from", "the client"]])
      assert.strictEqual(call.metadata, call.metadata)
      assert.strictEqual(call.deadline, Number.POSITIVE_INFINITY)
      assert.strictEqual(call.authority, "the.host")
      assert.strictEqual((yield* known({ deadline: 1_000 })).call.deadline, 1_000)
      assert.strictEqual((yield* known({ deadline: new Date(2_000) })).call.deadline, 2_000)
    }))

  it.effect("the address of its peer, as far as it has one", () =>
    Effect.gen(function*() {
      const peer = (connection: Options["connection"]) =>
        Effect.map(known(connection === undefined ? {} : { connection }), ({ call }) => call.peer)
      assert.strictEqual(yield* peer({ remoteAddress: "192.0.2.1", remotePort: 2 }), "192.0.2.1:2")
      assert.strictEqual(yield* peer({ remoteAddress: "192.0.2.1" }), "192.0.2.1")
      assert.strictEqual(yield* peer({ remotePort: 2 }), "unknown")
      assert.strictEqual(yield* peer(undefined), "unknown")
    }))

  it.effect("the certificate of its peer, and who that is, read once", () =>
    Effect.gen(function*() {
      const none = yield* known({})
      assert.isUndefined(none.call.peerCertificate)
      assert.isUndefined(none.call.peerIdentity)
      const { cert } = Certificates.authority("the authority").issue("web", { uris: ["spiffe://example.org/web"] })
      const { raw } = new X509Certificate(cert)
      const { call } = yield* known({ certificate: raw })
      assert.strictEqual(call.peerCertificate?.raw, raw)
      assert.strictEqual(call.peerIdentity?.spiffeId, "spiffe://example.org/web")
      assert.strictEqual(call.peerIdentity, call.peerIdentity)
    }))

  it.effect("how much has come and gone, and whether it is stopping, in functions that can be taken out", () =>
    Effect.gen(function*() {
      const { call, rpc } = yield* known({}, "four")
      const { isStopping, receivedBytes, sentBytes } = call
      assert.strictEqual(receivedBytes(), 4)
      assert.strictEqual(sentBytes(), 6)
      assert.isFalse(isStopping())
      rpc.interrupt()
      assert.isTrue(isStopping())
    }))
})

describe("middleware", () => {
  class Depth extends Context.Service<Depth, number>()("test/Depth") {}

  const observer = (name: string, seen: Array<string>, throws = false): Observe => (call, context) => {
    assert.strictEqual(call.path, path)
    const depth = Context.getOrElse(context, Depth, () => 0) + 1
    seen.push(`${name} begins at ${depth}`)
    return {
      context: Context.add(context, Depth, depth),
      end: (exit: Exit.Exit<unknown, unknown>) => {
        seen.push(`${name} ends: ${exit._tag}`)
        if (throws) throw new Error(name)
      }
    }
  }

  it.effect("observes from the outside in, and ends from the inside out; the handler runs in its context", () =>
    Effect.gen(function*() {
      for (
        const [end, tag] of [[Effect.succeed("answer"), "Success"], [
          Effect.fail(GrpcError.aborted("no")),
          "Failure"
        ]] as const
      ) {
        const seen: Array<string> = []
        const rpc = make({
          observers: [observer("outer", seen), observer("inner", seen)],
          handler: () =>
            Effect.flatMap(Effect.context<never>(), (context) => {
              seen.push(`handler at ${Context.getUnsafe(context, Depth as never)}`)
              return end
            })
        })
        rpc.request("hello")
        assert.deepStrictEqual(seen, [
          "outer begins at 1",
          "inner begins at 2",
          "handler at 2",
          `inner ends: ${tag}`,
          `outer ends: ${tag}`
        ])
      }
    }))

  it.effect("that throws when the RPC ends is logged; the others end, and the RPC is answered", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const rpc = make({
        observers: [observer("outer", seen), observer("inner", seen, true)],
        handler: () => Effect.succeed("answer")
      })
      rpc.request("hello")
      assert.deepStrictEqual(seen.slice(2), ["inner ends: Success", "outer ends: Success"])
      assert.deepStrictEqual(rpc.logged, [[path, new Error("inner")]])
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("that throws when the RPC begins is a defect; those that had begun end", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const rpc = make({
        observers: [observer("outer", seen), () => {
          throw new Error("inner")
        }],
        handler: () => assert.fail("it must not run")
      })
      rpc.request("hello")
      assert.deepStrictEqual(seen, ["outer begins at 1", "outer ends: Failure"])
      assert.deepStrictEqual(rpc.logged, [[path, new Error("inner")]])
      assert.deepStrictEqual(rpc.news(), [isInternal])
    }))

  it.effect("is told of the end also where the client has gone, or was answered before", () =>
    Effect.gen(function*() {
      for (const how of ["over", "answered"] as const) {
        const seen: Array<string> = []
        const { handler, open } = releasing()
        const rpc = make({ observers: [observer("it", seen)], handler })
        rpc.request("hello")
        yield* turns
        if (how === "over") rpc.over()
        else {
          rpc.rpc.interrupt()
          rpc.rpc.answer()
        }
        yield* open
        assert.deepStrictEqual(seen, ["it begins at 1", "it ends: Failure"])
      }
    }))

  it.effect("is told that the handler succeeded also where the client went while it ran", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const rpc = make({
        observers: [observer("it", seen)],
        handler: () => Effect.sync(() => (rpc.over(), "answer"))
      })
      rpc.request("hello")
      assert.deepStrictEqual(seen, ["it begins at 1", "it ends: Success"])
      assert.deepStrictEqual(rpc.news(), [])
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("around the handler sees a response that cannot be sent as its failure, and may answer in its place", () =>
    Effect.gen(function*() {
      for (const [response, tag] of [["123456", "Fail"], [1, "Die"]] as const) {
        const seen: Array<unknown> = []
        const rpc = make({
          handler: () => Effect.succeed(response),
          maxSend: 5,
          wrap: (effect) =>
            Effect.catchCause(effect, (cause) => {
              seen.push(cause.reasons[0]?._tag)
              return Effect.succeed("other")
            })
        })
        rpc.request("hello")
        assert.deepStrictEqual(seen, [tag])
        assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "other"], ok])
        assert.strictEqual(rpc.rpc.sentBytes, 5)
      }
    }))

  it.effect("around the handler leaves its response to be written once", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.succeed("answer"), wrap: (effect) => effect })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer"], ok])
      assert.strictEqual(rpc.serialized(), 1)
    }))

  it.effect("around the handler may answer with another response, also one that cannot be sent", () =>
    Effect.gen(function*() {
      const rpc = make({ handler: () => Effect.succeed("answer"), wrap: Effect.map((text) => `${text as string}!`) })
      rpc.request("hello")
      assert.deepStrictEqual(rpc.news(), [noHeaders, ["message", "answer!"], ok])
      const tooLarge = make({ handler: () => Effect.succeed("12345"), maxSend: 5, wrap: Effect.map(() => "123456") })
      tooLarge.request("hello")
      assert.strictEqual(tooLarge.news()[0]?.[1], status.RESOURCE_EXHAUSTED)
    }))
})
