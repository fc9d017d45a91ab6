import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

const retry: GrpcChannel.RetryPolicy = {
  maxAttempts: 4,
  initialBackoff: "1 millis",
  maxBackoff: "1 millis",
  backoffMultiplier: 1,
  codes: ["UNAVAILABLE"]
}

const connect = (
  address: string,
  options?: GrpcClient.Options & { readonly retry?: GrpcChannel.RetryPolicy | undefined }
) =>
  Effect.flatMap(
    GrpcChannel.make({ address, retry: options?.retry }),
    (channel) => Effect.provideService(GrpcClient.make(EchoService, options), GrpcChannel.GrpcChannel, channel)
  )

/** Real time, in which deadlines are measured. */
const pause = (millis: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

interface Attempt {
  readonly begunAt: number
  /** What was left of the deadline then, in milliseconds. */
  readonly left: number
  readonly endedAt: number
}

/** Fails each attempt after a while, and records what its deadline was. */
const failing = Effect.gen(function*() {
  const attempts: Array<Attempt> = []
  const attempt = Effect.gen(function*() {
    const { deadline } = yield* GrpcCall.GrpcCall
    const begunAt = Date.now()
    yield* pause(60)
    attempts.push({ begunAt, left: deadline - begunAt, endedAt: Date.now() })
    return yield* GrpcError.unavailable("again")
  })
  const { target } = yield* EchoServer.make({ say: () => attempt, count: () => Stream.fromEffect(attempt) })
  return { attempts, target }
})

/** An attempt was sent after the one before it had ended; a header is in whole milliseconds. */
const expectLess = (attempts: ReadonlyArray<Attempt>, millis: number) => {
  const [first, ...others] = attempts as [Attempt, ...Array<Attempt>]
  assert.strictEqual(others.length, 3)
  assert.isAtMost(first.left, millis)
  let { endedAt: before } = first
  for (const { endedAt, left } of others) {
    assert.isAtMost(left, first.begunAt + first.left - before + 2)
    before = endedAt
  }
  assert.isAtMost(others[2]!.left, first.left - 150)
}

describe("the deadline of an RPC that is tried again", () => {
  const ways: ReadonlyArray<readonly [string, Parameters<typeof connect>[1]]> = [
    ["by the channel", { retry }],
    ["by the channel, with middleware", { retry, middleware: [(call, next) => next(call)] }],
    ["by middleware", { middleware: [(call, next) => Effect.retry(next(call), { times: 3 })] }]
  ]
  for (const [name, options] of ways) {
    it.effect(`${name} is one for all attempts`, () =>
      Effect.gen(function*() {
        const { attempts, target } = yield* failing
        const echo = yield* connect(target, options)
        for (const kind of ["say", "count"]) {
          attempts.length = 0
          const rpc = kind === "say"
            ? echo.say({ text: "" }, { deadline: "1 minute" })
            : Stream.runDrain(echo.count({ to: 1 }, { deadline: "1 minute" }))
          yield* Effect.flip(rpc as Effect.Effect<unknown, GrpcError.GrpcError>)
          expectLess(attempts, 60_000)
        }
      }))
  }

  it.effect("in a handler: no attempt has more than what is left of the RPC being served", () =>
    Effect.gen(function*() {
      const { attempts, target } = yield* failing
      const behind = yield* connect(target, { retry })
      const front = yield* EchoServer.make({ say: () => behind.say({ text: "" }, { deadline: "1 hour" }) })
      const echo = yield* connect(front.target)
      yield* Effect.flip(echo.say({ text: "" }, { deadline: "1 minute" }))
      expectLess(attempts, 60_000)
    }))

  it.effect("ends it while it waits for its next attempt", () =>
    Effect.gen(function*() {
      const { close, target } = yield* EchoServer.make({ say: () => Effect.fail(GrpcError.unavailable("again")) })
      const echo = yield* connect(target, { retry: { ...retry, initialBackoff: "1 hour", maxBackoff: "1 hour" } })
      const error = yield* Effect.flip(echo.say({ text: "" }, { deadline: "300 millis" }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
      assert.strictEqual((yield* close).counts.admitted, 1)
    }))
})
