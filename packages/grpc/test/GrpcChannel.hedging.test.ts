import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import type * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as BareServer from "./BareServer.ts"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"

const say = "/lastcall.test.v1.EchoService/Say"

/** A server whose attempts are answered one by one. */
const attended = Effect.gen(function*() {
  interface Attempt {
    readonly at: number
    readonly answer: Deferred.Deferred<{ readonly text: string }, GrpcError.GrpcError>
    isInterrupted: boolean
  }
  const attempts: Array<Attempt> = []
  const { server, target } = yield* EchoServer.make({
    say: () => {
      const attempt: Attempt = { at: performance.now(), answer: Deferred.makeUnsafe(), isInterrupted: false }
      attempts.push(attempt)
      return Effect.onInterrupt(Deferred.await(attempt.answer), () => Effect.sync(() => attempt.isInterrupted = true))
    }
  })
  const until = (n: number) => EchoServer.until(`there are ${n} attempts`, () => attempts.length === n)
  return { server, target, attempts, until }
})

const hedge = (address: string, hedging: GrpcChannel.HedgingPolicy) =>
  open({ address, methods: { [say]: { hedging } }, stop: { grace: 0 } })

describe("hedging", () => {
  it.live("sends the next attempt after the delay; the first success counts, the others are cancelled", () =>
    Effect.gen(function*() {
      const { attempts, server, target, until } = yield* attended
      const { channel, echo } = yield* hedge(target, { maxAttempts: 3, delay: "40 millis" })
      yield* channel.awaitReady
      const started = performance.now()
      const saying = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* until(3)
      assert.isAbove(attempts[1]!.at - started, 38)
      assert.isAbove(attempts[2]!.at - started, 77)
      yield* Deferred.succeed(attempts[1]!.answer, { text: "the second" })
      assert.strictEqual((yield* Fiber.join(saying)).text, "the second")
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      assert.deepStrictEqual(attempts.map(({ isInterrupted }) => isInterrupted), [true, false, true])
      assert.strictEqual(channel.inFlight().length, 0)
    }))

  it.live("does not send another attempt if the first is answered in time", () =>
    Effect.gen(function*() {
      const { attempts, target, until } = yield* attended
      const { echo } = yield* hedge(target, { maxAttempts: 3, delay: "1 hour" })
      const saying = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* until(1)
      yield* Deferred.succeed(attempts[0]!.answer, { text: "the first" })
      assert.strictEqual((yield* Fiber.join(saying)).text, "the first")
      assert.lengthOf(attempts, 1)
    }))

  it.live("sends the next attempt at once after an error that is not fatal, and ends with one that is", () =>
    Effect.gen(function*() {
      const { attempts, target, until } = yield* attended
      const { echo } = yield* hedge(target, { maxAttempts: 3, delay: "1 hour", nonFatalCodes: ["UNAVAILABLE"] })
      const saying = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" })))
      yield* until(1)
      yield* Deferred.fail(attempts[0]!.answer, GrpcError.unavailable("busy"))
      yield* until(2)
      yield* Deferred.fail(attempts[1]!.answer, GrpcError.notFound("gone"))
      assert.strictEqual((yield* Fiber.join(saying)).code, "NOT_FOUND")
      assert.lengthOf(attempts, 2)
    }))

  it.live("fails with the last error when all attempts have failed, more than five too", () =>
    Effect.gen(function*() {
      let attempts = 0
      const { target } = yield* EchoServer.make({
        say: () => Effect.suspend(() => Effect.fail(GrpcError.unavailable(`attempt ${++attempts}`)))
      })
      const { echo } = yield* hedge(target, { maxAttempts: 7, delay: "1 hour", nonFatalCodes: ["UNAVAILABLE"] })
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).message, "attempt 7")
      assert.strictEqual(attempts, 7)
    }))

  it.live("with no delay sends all at once", () =>
    Effect.gen(function*() {
      const { attempts, target, until } = yield* attended
      const { echo } = yield* hedge(target, { maxAttempts: 4, delay: 0 })
      const saying = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* until(4)
      yield* Deferred.succeed(attempts[3]!.answer, { text: "the fourth" })
      assert.strictEqual((yield* Fiber.join(saying)).text, "the fourth")
    }))

  it.live("obeys pushback: later, or not at all", () =>
    Effect.gen(function*() {
      for (const [pushback, expected] of [["60", 2], ["-1", 1]] as const) {
        const at: Array<number> = []
        const target = yield* BareServer.make(({ request }, callback) => {
          at.push(performance.now())
          if (at.length === 1) callback(BareServer.pushback(grpc.status.UNAVAILABLE, pushback))
          else callback(null, request)
        })
        const { echo } = yield* hedge(target, { maxAttempts: 3, delay: "1 hour", nonFatalCodes: ["UNAVAILABLE"] })
        yield* Effect.exit(echo.say({ text: "" }))
        assert.strictEqual(at.length, expected)
        if (expected === 2) assert.isAbove(at[1]! - at[0]!, 58)
      }
    }))

  it.live("is ended by interruption: no attempt is left, and none is made any more", () =>
    Effect.gen(function*() {
      const { attempts, server, target, until } = yield* attended
      const { echo } = yield* hedge(target, { maxAttempts: 50, delay: "10 millis" })
      const saying = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* until(2)
      yield* Fiber.interrupt(saying)
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      // One may be on its way.
      const most = attempts.length + 1
      yield* Effect.sleep(60)
      assert.isAtMost(attempts.length, most)
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      assert.isTrue(attempts.every(({ isInterrupted }) => isInterrupted))
    }))
})
