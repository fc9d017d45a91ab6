import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import type * as Duration from "effect/Duration"
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

/** The handler answers with how much was left of its deadline when it began, or never. */
const left: Partial<EchoServer.Handlers> = {
  say: ({ text }) =>
    text === "wait"
      ? Effect.never
      : Effect.map(GrpcCall.GrpcCall, ({ deadline }) => ({ text: String(deadline - Date.now()) }))
}

const transports = {
  "on the wire": Effect.flatMap(EchoServer.make(left), ({ target }) => GrpcChannel.make({ address: target })),
  "in process": Effect.provide(GrpcInProcess.make({ services: [EchoServer.Echo] }), EchoServer.layer(left))
}

for (const [transport, channel] of Object.entries(transports)) {
  for (const middleware of [[], [(call, next) => next(call)]] as ReadonlyArray<GrpcClient.Options["middleware"]>) {
    const opened = Effect.flatMap(
      channel,
      (channel) => Effect.provideService(GrpcClient.make(EchoService, { middleware }), GrpcChannel.GrpcChannel, channel)
    )
    const suffix = `${transport}, ${middleware!.length === 0 ? "without" : "with"} middleware`

    describe(`a deadline, ${suffix}`, () => {
      it.effect("that is too far away to be told is none", () =>
        Effect.gen(function*() {
          const echo = yield* opened
          const far: ReadonlyArray<Duration.Input> = [
            Number.MAX_SAFE_INTEGER,
            Number.MAX_VALUE,
            Number.POSITIVE_INFINITY,
            "5000000 days",
            // Just below a power of ten of seconds, minutes and hours.
            99_999_999_999,
            99_999_999.999 * 60_000,
            99_999_999.999 * 3_600_000,
            10n ** 30n
          ]
          for (const deadline of far) {
            assert.strictEqual((yield* echo.say({ text: "" }, { deadline })).text, "Infinity", String(deadline))
          }
        }))

      it.effect("that is far away, or no whole number, is told", () =>
        Effect.gen(function*() {
          const echo = yield* opened
          const days = 86_400_000
          // A server waits for as long as a timer can.
          const longest = transport === "on the wire" ? 2_147_483_000 : Number.POSITIVE_INFINITY
          for (const millis of [60_000.5, 99_999_999.5, 100_000_000, 24 * days, 1_000 * days, 99_999_998_000]) {
            const { text } = yield* echo.say({ text: "" }, { deadline: millis })
            assert.closeTo(Number(text), Math.min(millis, longest), 10_000, String(millis))
          }
        }))

      it.effect("that is over, or below 0, is DEADLINE_EXCEEDED", () =>
        Effect.gen(function*() {
          const echo = yield* opened
          for (const deadline of [0, -0.5, -1, "-1 hours", Number.NEGATIVE_INFINITY] as ReadonlyArray<Duration.Input>) {
            const error = yield* Effect.flip(echo.say({ text: "wait" }, { deadline }))
            assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
          }
        }))
    })
  }
}
