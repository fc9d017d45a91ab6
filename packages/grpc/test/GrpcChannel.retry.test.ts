import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as BareServer from "./BareServer.ts"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

const say = "/lastcall.test.v1.EchoService/Say"
const service = "lastcall.test.v1.EchoService"

/** A server that fails as often as it is told, with a code, and counts; per method. */
const failing = (times: number, code: GrpcError.Code = "ABORTED") =>
  Effect.gen(function*() {
    let attempts = 0
    let counts = 0
    const error = () => new GrpcError.GrpcError({ code, message: `attempt ${attempts}` })
    const { target } = yield* EchoServer.make({
      say: ({ text }) => ++attempts <= times ? Effect.fail(error()) : Effect.succeed({ text }),
      count: () => ++counts <= times ? Stream.fail(error()) : Stream.make({ n: counts }),
      sum: (numbers) =>
        Effect.flatMap(Stream.runCount(numbers), (total) =>
          ++attempts <= times ? Effect.fail(error()) : Effect.succeed({ total }))
    })
    return {
      target,
      attempts: () =>
        attempts,
      counts: () => counts
    }
  })

const retry: GrpcChannel.RetryPolicy = {
  maxAttempts: 3,
  initialBackoff: "1 millis",
  maxBackoff: "2 millis",
  backoffMultiplier: 1.5,
  codes: ["ABORTED", "UNAVAILABLE"]
}

describe("a retry policy", () => {
  it.effect("retries each of its codes, and no other", () =>
    Effect.gen(function*() {
      const codes = Object.keys(GrpcError.codes).filter((code) => code !== "OK") as Array<GrpcError.Code>
      for (const code of codes) {
        const { attempts, target } = yield* failing(1, code)
        const { echo } = yield* open({ address: target, retry })
        const exit = yield* Effect.exit(echo.say({ text: "hello" }))
        assert.deepStrictEqual([code, Exit.isSuccess(exit), attempts()], [
          code,
          retry.codes.includes(code),
          retry.codes.includes(code) ? 2 : 1
        ])
      }
    }))

  it.effect("tries as often as it says, and then fails with the last error", () =>
    Effect.gen(function*() {
      const { attempts, target } = yield* failing(3)
      const { channel, echo } = yield* open({ address: target, retry })
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).message, "attempt 3")
      assert.strictEqual(attempts(), 3)
      assert.strictEqual(channel.inFlight().length, 0)
    }))

  it.effect("sends a request stream again, and retries a response stream that has not begun", () =>
    Effect.gen(function*() {
      const { attempts, counts, target } = yield* failing(2)
      const { echo } = yield* open({ address: target, retry })
      assert.strictEqual((yield* echo.sum(Stream.make({ n: 1 }, { n: 2 }, { n: 3 }))).total, 3)
      assert.strictEqual(attempts(), 3)
      assert.deepStrictEqual((yield* Stream.runCollect(echo.count({ to: 1 }))).map(({ n }) => n), [3])
      assert.strictEqual(counts(), 3)
    }))

  it.effect("of a method counts before that of its service, and that before the channel's", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [number, GrpcChannel.Options["methods"]]> = [
        [3, undefined],
        [4, { [service]: { retry: { ...retry, maxAttempts: 4 } } }],
        [2, { [service]: { retry: { ...retry, maxAttempts: 4 } }, [say]: { retry: { ...retry, maxAttempts: 2 } } }],
        [1, { [say]: { retry: false } }],
        [3, { [say]: { timeout: "8 seconds" } }],
        [3, { "another.Service": { retry: false } }]
      ]
      for (const [expected, methods] of cases) {
        const { attempts, target } = yield* failing(10)
        const { echo } = yield* open({ address: target, retry, methods })
        yield* Effect.flip(echo.say({ text: "" }))
        assert.strictEqual(attempts(), expected)
      }
    }))

  it.effect("that has a pause of hours is ended by the RPC's interruption, and by the channel's stop", () =>
    Effect.gen(function*() {
      const { attempts, target } = yield* failing(10)
      const { close, echo } = yield* open({
        address: target,
        retry: { ...retry, initialBackoff: "10 hours", maxBackoff: "10 hours" },
        stop: { grace: 0 }
      })
      const interrupted = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* EchoServer.until("it was tried", () => attempts() === 1)
      yield* Fiber.interrupt(interrupted)
      const stopped = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" })))
      yield* EchoServer.until("it was tried", () => attempts() === 2)
      assert.strictEqual((yield* close).outcome, "forced")
      assert.strictEqual((yield* Fiber.join(stopped)).code, "CANCELLED")
    }))
})

describe("pushback", () => {
  const pushing = (...answers: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const at: Array<number> = []
      const target = yield* BareServer.make(({ request }, callback) => {
        const answer = answers[at.length]
        at.push(performance.now())
        if (answer === undefined) callback(null, request)
        else callback(BareServer.pushback(grpc.status.UNAVAILABLE, answer))
      })
      return { target, at }
    })

  it.live("says when the next attempt is made, instead of the backoff", () =>
    Effect.gen(function*() {
      const { at, target } = yield* pushing("60", "0")
      const { echo } = yield* open({
        address: target,
        retry: { ...retry, initialBackoff: "10 hours", maxBackoff: "10 hours" }
      })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
      assert.strictEqual(at.length, 3)
      assert.isAbove(at[1]! - at[0]!, 58)
    }))

  it.live("that is negative ends the retries", () =>
    Effect.gen(function*() {
      const { at, target } = yield* pushing("-1")
      const { echo } = yield* open({ address: target, retry })
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "UNAVAILABLE")
      assert.strictEqual(at.length, 1)
    }))
})

describe("retry throttling", () => {
  it.effect("ends retries while half of the tokens are gone, until RPCs succeed again", () =>
    Effect.gen(function*() {
      let attempts = 0
      let isFailing = true
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.suspend(() => {
            attempts++
            return isFailing ? Effect.fail(GrpcError.aborted("")) : Effect.succeed({ text })
          })
      })
      const { echo } = yield* open({
        address: target,
        retry: { ...retry, maxAttempts: 100 },
        retryThrottling: { maxTokens: 10, tokenRatio: 0.5 }
      })
      // 10 tokens: after the fifth failure there are 5.
      yield* Effect.flip(echo.say({ text: "" }))
      assert.strictEqual(attempts, 5)
      yield* Effect.flip(echo.say({ text: "" }))
      assert.strictEqual(attempts, 6)
      isFailing = false
      // From 4 to 7.
      for (let i = 0; i < 6; i++) yield* echo.say({ text: "" })
      attempts = 0
      isFailing = true
      yield* Effect.flip(echo.say({ text: "" }))
      assert.strictEqual(attempts, 2)
    }))
})

describe("the retry buffer", () => {
  const request = { text: "x".repeat(1_000) }

  for (
    const [what, retryBuffer] of [
      ["an RPC", { perRpcBytes: 500 }],
      ["the channel", { totalBytes: 500 }]
    ] as const
  ) {
    it.effect(`of ${what}: a request that is larger is sent once`, () =>
      Effect.gen(function*() {
        const { attempts, target } = yield* failing(1)
        const { echo } = yield* open({ address: target, retry, retryBuffer })
        assert.strictEqual((yield* Effect.flip(echo.say(request))).code, "ABORTED")
        assert.strictEqual(attempts(), 1)
        const other = yield* failing(1)
        const roomy = yield* open({
          address: other.target,
          retry,
          retryBuffer: { perRpcBytes: 2_000, totalBytes: 2_000 }
        })
        assert.strictEqual((yield* roomy.echo.say(request)).text, request.text)
        assert.strictEqual(other.attempts(), 2)
      }))
  }
})

describe("options of methods", () => {
  it.live("timeout: no deadline is later, and one that is earlier counts", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({ say: () => Effect.never, count: () => Stream.never })
      const { echo } = yield* open({
        address: target,
        methods: { [say]: { timeout: "40.5 millis" }, [service]: { timeout: "1 hour" } },
        stop: { grace: 0 }
      })
      const started = performance.now()
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }, { deadline: "1 hour" }))).code, "DEADLINE_EXCEEDED")
      assert.isAbove(performance.now() - started, 35)
      const early = yield* Effect.flip(Stream.runDrain(echo.count({ to: 1 }, { deadline: "20 millis" })))
      assert.strictEqual(early.code, "DEADLINE_EXCEEDED")
    }))

  it.live("timeout: holds over all attempts", () =>
    Effect.gen(function*() {
      const { attempts, target } = yield* failing(1_000_000)
      const { channel, echo } = yield* open({
        address: target,
        methods: { [say]: { timeout: "500 millis", retry: { ...retry, maxAttempts: 1_000_000 } } }
      })
      yield* channel.awaitReady
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "DEADLINE_EXCEEDED")
      assert.isAbove(attempts(), 1)
      // One may be on its way.
      const most = attempts() + 1
      yield* Effect.sleep(40)
      assert.isAtMost(attempts(), most)
    }))

  it.live("waitForReady: RPCs wait for a server, unless they say that they do not", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = `${directory}/api.sock`
      const { channel, echo } = yield* open({
        address: GrpcChannel.unix(file),
        methods: { [service]: { waitForReady: true } },
        reconnect: { initialBackoff: 5, maxBackoff: 10 },
        stop: { grace: 0 }
      })
      const waiting = yield* Effect.forkChild(Effect.exit(echo.say({ text: "hello" })))
      yield* EchoServer.until("there is no server", () => channel.state() === "TRANSIENT_FAILURE")
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }, { waitForReady: false }))).code, "UNAVAILABLE")
      assert.isUndefined(waiting.pollUnsafe())
      yield* EchoServer.make({}, { listen: GrpcListener.unix(file) })
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waiting)))
    }))

  it.effect("limits of messages: a larger one fails its RPC, those of other methods are not concerned", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({
        count: () => Stream.make({ n: 1 }, { n: 2, padding: new Uint8Array(2_000) }, { n: 3 })
      })
      const text = "x".repeat(2_000)
      for (const limit of [{ maxSendBytes: 1_000 }, { maxReceiveBytes: 1_000 }]) {
        const { channel, echo } = yield* open({ address: target, methods: { [say]: limit } })
        const error = yield* Effect.flip(echo.say({ text }))
        assert.deepInclude(error, { code: "RESOURCE_EXHAUSTED" })
        assert.match(error.message, /^the (request|response) has 2003 bytes, of at most 1000$/)
        assert.strictEqual((yield* echo.say({ text: "short" })).text, "short")
        assert.strictEqual((yield* Stream.runCollect(echo.count({ to: 3 }))).length, 3)
        assert.strictEqual(channel.inFlight().length, 0)
      }
      const { echo } = yield* open({
        address: target,
        methods: { [service]: { maxSendBytes: 1_000, maxReceiveBytes: 1_000 }, [say]: { maxSendBytes: Infinity } }
      })
      const seen: Array<number> = []
      const counting = Stream.runForEach(echo.count({ to: 3 }), ({ n }) => Effect.sync(() => seen.push(n)))
      assert.strictEqual((yield* Effect.flip(counting)).code, "RESOURCE_EXHAUSTED")
      assert.deepStrictEqual(seen, [1])
      const chat = Stream.runDrain(echo.chat(Stream.make({ text: "a" }, { text })))
      assert.strictEqual((yield* Effect.flip(chat)).code, "RESOURCE_EXHAUSTED")
      assert.strictEqual((yield* echo.say({ text })).text, text)
    }))
})
