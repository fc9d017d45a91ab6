import { assert, describe, it } from "@effect/vitest"
import {
  Metadata,
  type ServerInterceptingCallInterface,
  status,
  type UntypedServiceImplementation
} from "@grpc/grpc-js"
import type { Entry, Outcome } from "@lastcall/core/InFlight"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { NativeRpc, watch } from "../src/internal/native.ts"
import * as EventLoop from "./EventLoop.ts"

const path = "/test.Texts/Method"
const ok = { code: status.OK, details: "OK" }
const isOk = ["status", status.OK, "OK"]
const isUnavailable = ["status", status.UNAVAILABLE, "server is shutting down"]
const isInternal = ["status", status.INTERNAL, "internal error"]

interface Options {
  readonly requestStream?: boolean
  readonly responseStream?: boolean
  readonly isDead?: boolean
  readonly implementation?: UntypedServiceImplementation
}

type Handle = (answer: ServerInterceptingCallInterface) => unknown

const implementationOf = (handle: Handle) => ({ handle }) as unknown as UntypedServiceImplementation

const run = (implementation: UntypedServiceImplementation, call: unknown, callback?: unknown): unknown =>
  (implementation["handle"] as unknown as (call: unknown, callback: unknown) => unknown)(call, callback)

/** An RPC between a wire and grpc-js's own handling, which calls the handler as grpc-js does. */
const make = (handle: Handle, options: Options = {}) => {
  const sent: Array<ReadonlyArray<unknown>> = []
  const heard: Array<string> = []
  const logged: Array<unknown> = []
  const ended: Array<Outcome> = []
  let listener: Parameters<ServerInterceptingCallInterface["start"]>[0] | undefined
  const wire: ServerInterceptingCallInterface = {
    start(it) {
      if (options.isDead === true) return
      listener = it
      it.onReceiveMetadata(new Metadata())
    },
    startRead: () => {},
    sendMetadata: () => {},
    sendMessage: (message) => void sent.push(["message", message]),
    sendStatus: ({ code, details, metadata }) =>
      void sent.push(["status", code, details, ...metadata == null ? [] : Object.values(metadata.getMap())]),
    getPeer: () => "unknown",
    getDeadline: () => Number.POSITIVE_INFINITY,
    getHost: () => "the.host",
    getAuthContext: () => ({}),
    getConnectionInfo: () => ({}),
    getMetricsRecorder: () => assert.fail("not asked for")
  }
  const entry: Entry = {
    kind: path,
    since: 0,
    isInterrupted: false,
    onInterrupt: () => {},
    end: (outcome) => ended.length === 0 && ended.push(outcome) === 1
  }
  const rpc = new NativeRpc(
    path,
    options.requestStream === true,
    options.responseStream === true,
    wire,
    entry,
    (path, cause) => void logged.push([path, Cause.squash(cause)])
  )
  const implementation = watch(implementationOf(handle))
  const call = rpc.intercept()
  const begin = () => run(implementation, call)
  call.start({
    onReceiveMetadata: () => {
      heard.push("metadata")
      if (options.requestStream === true) begin()
    },
    onReceiveMessage: () => void heard.push("message"),
    onReceiveHalfClose: () => {
      heard.push("half-close")
      if (options.requestStream !== true) begin()
    },
    onCancel: () => void heard.push("cancelled")
  })
  if (options.isDead !== true && options.requestStream !== true) listener!.onReceiveHalfClose()
  return {
    rpc,
    call,
    sent,
    heard,
    logged,
    ended,
    halfClose: () => listener!.onReceiveHalfClose(),
    over: () => listener!.onCancel()
  }
}

const turns = EventLoop.turns(5)

/** A promise that a test settles. */
const promise = () => {
  let resolve = (): void => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  return {
    promise,
    resolve: Effect.andThen(Effect.sync(() => resolve()), turns),
    reject: (error: unknown) => Effect.andThen(Effect.sync(() => reject(error)), turns)
  }
}

const withThen = (then: unknown): object => Object.fromEntries(["then"].map((key) => [key, then]))

const answer = (call: ServerInterceptingCallInterface, text = "answer"): void => {
  call.sendMessage(text, () => {})
  call.sendStatus(ok)
}

describe("what a grpc-js handler answers", () => {
  it.effect("goes out; the RPC is over when grpc-js says so", () =>
    Effect.gen(function*() {
      const rpc = make((call) => answer(call))
      assert.deepStrictEqual(rpc.heard, ["metadata", "half-close"])
      assert.deepStrictEqual(rpc.sent, [["message", "answer"], isOk])
      assert.deepStrictEqual(rpc.ended, [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
      assert.deepStrictEqual(rpc.heard, ["metadata", "half-close", "cancelled"])
      yield* rpc.rpc.awaitHandler
    }))

  it.effect("goes out with a status of its own, whose words are well-formed then", () =>
    Effect.gen(function*() {
      const rpc = make((call) => call.sendStatus({ code: status.ABORTED, details: "a\ud800b" }))
      assert.deepStrictEqual(rpc.sent, [["status", status.ABORTED, "a\ufffdb"]])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
      const none = make((call) => call.sendStatus({ code: status.ABORTED } as typeof ok))
      assert.deepStrictEqual(none.sent, [["status", status.ABORTED, undefined]])
    }))

  it.effect("after its status is dropped", () =>
    Effect.gen(function*() {
      const rpc = make((call) => {
        answer(call)
        answer(call, "another")
        call.sendStatus({ ...ok, code: status.ABORTED })
      })
      assert.deepStrictEqual(rpc.sent, [["message", "answer"], isOk])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  it.effect("is nothing where the call died before it was started: that has failed", () =>
    Effect.gen(function*() {
      const rpc = make(() => assert.fail("it must not run"), { isDead: true })
      assert.deepStrictEqual(rpc.ended, ["failed"])
      assert.deepStrictEqual(make(() => {}).ended, [])
    }))

  it.effect("nothing: a call that is over without an answer has failed", () =>
    Effect.gen(function*() {
      const rpc = make(() => {})
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))
})

describe("the end of a stream of requests", () => {
  it.effect("is heard a turn later", () =>
    Effect.gen(function*() {
      const rpc = make(() => {}, { requestStream: true })
      rpc.halfClose()
      assert.deepStrictEqual(rpc.heard, ["metadata"])
      yield* turns
      assert.deepStrictEqual(rpc.heard, ["metadata", "half-close"])
    }))

  it.effect("is not heard where the call is over within the turn: a broken upload must not look like a whole one", () =>
    Effect.gen(function*() {
      const rpc = make(() => {}, { requestStream: true })
      rpc.halfClose()
      rpc.over()
      yield* turns
      assert.deepStrictEqual(rpc.heard, ["metadata", "cancelled"])
    }))
})

describe("a grpc-js handler that returns a promise", () => {
  for (const requestStream of [false, true]) {
    it.effect(`has ended when that is settled, ${requestStream ? "a stream of requests" : "a single request"}`, () =>
      Effect.gen(function*() {
        const { promise: pending, resolve } = promise()
        const rpc = make((call) => {
          answer(call)
          return pending
        }, { requestStream })
        let isAwaited = false
        yield* Effect.forkChild(Effect.andThen(
          rpc.rpc.awaitHandler,
          Effect.sync(() => {
            isAwaited = true
          })
        ))
        rpc.over()
        yield* turns
        assert.isFalse(isAwaited)
        assert.deepStrictEqual(rpc.ended, [])
        yield* resolve
        assert.isTrue(isAwaited)
        assert.deepStrictEqual(rpc.ended, ["succeeded"])
      }))
  }

  it.effect("is over with its call where that comes after", () =>
    Effect.gen(function*() {
      const { promise: pending, resolve } = promise()
      const rpc = make((call) => {
        answer(call)
        return pending
      })
      yield* resolve
      assert.deepStrictEqual(rpc.ended, [])
      yield* rpc.rpc.awaitHandler
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["succeeded"])
    }))

  const theirs = { clone: () => theirs, toHttp2Headers: () => ({}), getMap: () => ({ theirs: "metadata" }) }
  const mine = new Metadata()
  mine.set("mine", "metadata")
  const aborted = { code: status.ABORTED, details: "no", message: "10 ABORTED: no" }
  for (
    const [what, error, sent, isLogged] of [
      ["a ServiceError", Object.assign(new Error("10 ABORTED: no"), aborted), ["status", status.ABORTED, "no"], false],
      ["an object like it", aborted, ["status", status.ABORTED, "no"], false],
      ["a code and a message", { code: 1, message: "mine" }, ["status", 1, "mine"], false],
      ["a code and details that are no text", { code: 16, details: 1 }, ["status", 16, ""], false],
      ["a code and metadata", { ...aborted, metadata: mine }, ["status", status.ABORTED, "no", "metadata"], false],
      [
        "metadata of another grpc-js",
        { ...aborted, metadata: theirs },
        ["status", status.ABORTED, "no", "metadata"],
        false
      ],
      ["metadata that is null", { ...aborted, metadata: null }, ["status", status.ABORTED, "no"], false],
      ["metadata that is a text", { ...aborted, metadata: "text" }, ["status", status.ABORTED, "no"], false],
      ["half of a metadata", { ...aborted, metadata: { clone: () => {} } }, ["status", status.ABORTED, "no"], false],
      [
        "the other half",
        { ...aborted, metadata: { toHttp2Headers: () => {} } },
        ["status", status.ABORTED, "no"],
        false
      ],
      ["an Error", new Error("secret"), isInternal, true],
      ["a text", "secret", isInternal, true],
      ["null", null, isInternal, true],
      ["nothing", undefined, isInternal, true],
      ["a code that is a text", { code: "ENOENT", message: "secret" }, isInternal, true],
      ["a code that is no integer", { code: 1.5, message: "secret" }, isInternal, true],
      ["the code OK", { code: 0, message: "secret" }, isInternal, true],
      ["a code below", { code: -1, message: "secret" }, isInternal, true],
      ["a code above", { code: 17, message: "secret" }, isInternal, true]
    ] as const
  ) {
    it.effect(`that rejects with ${what} answers, and has failed`, () =>
      Effect.gen(function*() {
        const { promise: pending, reject } = promise()
        const rpc = make(() => pending)
        yield* reject(error)
        assert.deepStrictEqual(rpc.sent, [sent])
        assert.deepStrictEqual(rpc.logged, isLogged ? [[path, error]] : [])
        yield* rpc.rpc.awaitHandler
        rpc.over()
        assert.deepStrictEqual(rpc.ended, ["failed"])
      }))
  }

  it.effect("that rejects after its call is over, or its answer, is heard of no more", () =>
    Effect.gen(function*() {
      const { promise: pending, reject } = promise()
      const over = make(() => pending)
      over.over()
      const answered = make((call) => {
        answer(call)
        return pending
      })
      yield* reject(new Error("too late"))
      assert.deepStrictEqual(over.sent, [])
      assert.deepStrictEqual(over.logged, [])
      assert.deepStrictEqual(over.ended, ["failed"])
      assert.deepStrictEqual(answered.sent, [["message", "answer"], isOk])
      assert.deepStrictEqual(answered.logged, [])
      answered.over()
      assert.deepStrictEqual(answered.ended, ["succeeded"])
    }))

  it.effect("that rejects after a message answers where more messages might have come; else its status is on its way", () =>
    Effect.gen(function*() {
      for (const responseStream of [true, false]) {
        const { promise: pending, reject } = promise()
        const error = new Error("secret")
        const rpc = make((call) => {
          call.sendMessage("answer", () => {})
          return pending
        }, { responseStream })
        yield* reject(error)
        assert.deepStrictEqual(rpc.sent, [["message", "answer"], ...responseStream ? [isInternal] : []])
        assert.deepStrictEqual(rpc.logged, [[path, error]])
      }
    }))

  it.effect("that is rejected answers once: what it answers then is dropped", () =>
    Effect.gen(function*() {
      const { promise: pending, reject } = promise()
      const rpc = make(() => pending)
      yield* reject(new Error("secret"))
      answer(rpc.call)
      assert.deepStrictEqual(rpc.sent, [isInternal])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("is one whose result has a `then` that can be called, and no other", () =>
    Effect.gen(function*() {
      for (
        const [result, isPending] of [
          [withThen(() => {}), true],
          [withThen("no function"), false],
          [{}, false],
          [null, false],
          ["text", false],
          [() => {}, false]
        ] as const
      ) {
        const rpc = make(() => result)
        rpc.over()
        assert.deepStrictEqual(rpc.ended, isPending ? [] : ["failed"])
      }
    }))

  it.effect("is its own RPC's: that of a handler which another calls is not waited for", () =>
    Effect.gen(function*() {
      const { promise: pending } = promise()
      assert.throws(() =>
        make(() => {
          throw new Error("at once")
        })
      )
      const implementation = watch(implementationOf(() => pending))
      const rpc = make(() => {})
      // Not in an RPC.
      run(implementation, {})
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))
})

describe("a stop", () => {
  it.effect("answers UNAVAILABLE, and drops what the handler answers then", () =>
    Effect.gen(function*() {
      const rpc = make(() => {})
      rpc.rpc.interrupt()
      rpc.rpc.interrupt()
      rpc.rpc.answer()
      answer(rpc.call)
      assert.deepStrictEqual(rpc.sent, [isUnavailable])
      assert.deepStrictEqual(rpc.ended, [])
      rpc.over()
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
      assert.deepStrictEqual(rpc.logged, [])
    }))

  it.effect("waits for a promise, and lets it reject in silence", () =>
    Effect.gen(function*() {
      const { promise: pending, reject } = promise()
      const rpc = make(() => pending)
      rpc.rpc.interrupt()
      rpc.over()
      assert.deepStrictEqual(rpc.ended, [])
      yield* reject(new Error("cancelled"))
      assert.deepStrictEqual(rpc.ended, ["interrupted"])
      assert.deepStrictEqual(rpc.logged, [])
    }))

  it.effect("does not take back what is answered, nor a single response whose status is to come", () =>
    Effect.gen(function*() {
      const answered = make((call) => answer(call))
      answered.rpc.interrupt()
      assert.deepStrictEqual(answered.sent, [["message", "answer"], isOk])
      answered.over()
      assert.deepStrictEqual(answered.ended, ["succeeded"])

      const message = make((call) => call.sendMessage("answer", () => {}))
      message.rpc.interrupt()
      assert.deepStrictEqual(message.sent, [["message", "answer"]])
      message.call.sendStatus(ok)
      message.over()
      assert.deepStrictEqual(message.ended, ["succeeded"])

      const stream = make((call) => call.sendMessage("answer", () => {}), { responseStream: true })
      stream.rpc.interrupt()
      assert.deepStrictEqual(stream.sent, [["message", "answer"], isUnavailable])
    }))

  it.effect("answers nobody who has gone", () =>
    Effect.gen(function*() {
      const { promise: pending, resolve } = promise()
      const rpc = make(() => pending)
      rpc.over()
      rpc.rpc.interrupt()
      yield* resolve
      assert.deepStrictEqual(rpc.sent, [])
      assert.deepStrictEqual(rpc.ended, ["failed"])
    }))

  it.effect("that destroys the sockets counts what has no promise any more as destroyed", () =>
    Effect.gen(function*() {
      const { promise: pending, resolve } = promise()
      const rpc = make(() => pending)
      rpc.rpc.destroyed()
      assert.deepStrictEqual(rpc.ended, [])
      yield* resolve
      rpc.rpc.destroyed()
      assert.deepStrictEqual(rpc.ended, ["destroyed"])
    }))
})

describe("an implementation", () => {
  it("has its own methods and those that it inherits, each called on it; not what is no function", () => {
    class Base {
      readonly text = "text"
      inherited(call: unknown, callback: unknown) {
        return void (callback as (...args: ReadonlyArray<unknown>) => void)(this, "inherited", call)
      }
      overridden() {
        assert.fail("it is overridden")
      }
    }
    class Implementation extends Base {
      own = (_: unknown, callback: (...args: ReadonlyArray<unknown>) => void) => callback(this, "own")
      override overridden(_?: unknown, callback?: (...args: ReadonlyArray<unknown>) => void) {
        callback?.(this, "overridden")
      }
    }
    const implementation = new Implementation()
    const watched = watch(implementation as unknown as UntypedServiceImplementation)
    assert.sameMembers(Object.keys(watched), ["own", "overridden", "inherited"])
    for (const name of ["own", "overridden", "inherited"]) {
      const heard: Array<unknown> = []
      const method = watched[name] as unknown as (call: unknown, callback: unknown) => void
      method("call", (...args: ReadonlyArray<unknown>) => void heard.push(...args))
      assert.strictEqual(heard[0], implementation)
      assert.strictEqual(heard[1], name)
    }
  })

  it("may have no prototype", () => {
    const implementation = Object.assign(Object.create(null) as object, { handle: () => {} })
    assert.deepStrictEqual(Object.keys(watch(implementation as unknown as UntypedServiceImplementation)), ["handle"])
  })
})
