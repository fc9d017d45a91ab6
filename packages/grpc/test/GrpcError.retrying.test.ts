import { assert, describe, it } from "@effect/vitest"
import { Refused } from "@lastcall/core/InFlight"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"

const after = (seconds: number, nanos = 0) =>
  GrpcError.detail(GrpcErrorDetails.RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } })

const busy = GrpcError.withDetails(GrpcError.resourceExhausted("busy"), [after(3)])

/** The schedule of the guide. */
const pauses = Schedule.exponential("1 second").pipe(
  Schedule.setInputType<GrpcError.GrpcError>(),
  Schedule.modifyDelay(({ duration, input }) =>
    Effect.succeed(Duration.max(duration, GrpcError.retryDelay(input) ?? Duration.zero))
  ),
  Schedule.upTo({ times: 4 })
)

describe("retrying", () => {
  it("knows how long the server asks to wait", () => {
    assert.isUndefined(GrpcError.retryDelay(GrpcError.unavailable("no")))
    assert.deepStrictEqual(GrpcError.retryDelay(busy), Duration.seconds(3))
    const several = GrpcError.withDetails(busy, [after(0, 500_000_000), after(4, 1_000_000)])
    assert.deepStrictEqual(GrpcError.retryDelay(several), Duration.millis(4_001))
    const empty = GrpcError.detail(GrpcErrorDetails.RetryInfoSchema, {})
    assert.isUndefined(GrpcError.retryDelay(GrpcError.withDetails(GrpcError.unavailable("no"), [empty])))
  })

  it("is for what is unavailable, or says when", () => {
    assert.isTrue(GrpcError.isRetryable(GrpcError.unavailable("no")))
    assert.isTrue(GrpcError.isRetryable(busy))
    assert.isFalse(GrpcError.isRetryable(GrpcError.resourceExhausted("no")))
    assert.isFalse(GrpcError.isRetryable(GrpcError.aborted("no")))
    assert.isFalse(GrpcError.isRetryable(GrpcError.unavailable("stopping", new Refused({ kind: "a" }))))
  })

  it.effect("a schedule waits as long as the server asks", () =>
    Effect.gen(function*() {
      let attempts = 0
      let failures = 0
      const { target } = yield* EchoServer.make({
        say: ({ text }) => Effect.suspend(() => attempts < 4 ? Effect.fail(busy) : Effect.succeed({ text }))
      })
      const { echo } = yield* open({ address: target })
      const attempt = Effect.suspend(() => {
        attempts++
        return Effect.tapError(echo.say({ text: "hello" }), () => Effect.sync(() => failures++))
      })
      const saying = yield* Effect.forkChild(
        Effect.retry(attempt, { schedule: pauses, while: GrpcError.isRetryable })
      )
      // 1, 2 and 4 seconds of the schedule's, but at least the 3 of the server's.
      for (const [index, pause] of [3_000, 3_000, 4_000].entries()) {
        yield* EchoServer.until("it has failed", () => failures === index + 1)
        yield* TestClock.adjust(pause - 1)
        assert.strictEqual(attempts, index + 1)
        yield* TestClock.adjust(1)
        assert.strictEqual(attempts, index + 2)
      }
      assert.strictEqual((yield* Fiber.join(saying)).text, "hello")
    }))

  it.effect("a channel that stops ends it", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const { close, echo } = yield* open({ address: target })
      yield* close
      const retried = Effect.retry(echo.say({ text: "" }), { schedule: pauses, while: GrpcError.isRetryable })
      assert.strictEqual((yield* Effect.flip(retried)).code, "UNAVAILABLE")
    }))
})
