import { assert, describe, it } from "@effect/vitest"
import type { Options } from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import { GrpcChannel } from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import type { GrpcError } from "@lastcall/grpc/GrpcError"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { definition, Echo } from "./Echo.ts"

/** Handlers that take as many milliseconds as the request says. */
const Slow = Echo.toLayer({
  say: (millis) =>
    millis === "deaf"
      ? Effect.uninterruptible(Effect.never)
      : Effect.as(Effect.sleep(Number(millis)), `after ${millis}`),
  spell: () => Stream.never,
  join: () => Effect.succeed(""),
  chat: (requests) => requests
})

/** A server in a scope of its own, and a client on a channel. */
const make = Effect.fnUntraced(function*(stop: Options) {
  const scope = yield* Scope.make()
  const address = InMemoryGrpc.address("api")
  const server = yield* GrpcServer.make("api", { services: [Echo], listen: [address.listener], stop }).pipe(
    Effect.provide(Slow),
    Scope.provide(scope)
  )
  const channel = yield* InMemoryGrpc.channel(address)
  const echo = yield* Effect.provideService(GrpcClient.make(definition), GrpcChannel, channel)
  const begin = (request: string) => Effect.forkChild(Effect.result(echo.say(request)))
  const until = (inFlight: number): Effect.Effect<void> =>
    Effect.suspend(() =>
      server.inFlight().length === inFlight ? Effect.void : Effect.andThen(VirtualTime.settle(1), until(inFlight))
    )
  return { address, begin, channel, close: Scope.close(scope, Exit.void), echo, server, until }
})

const inVirtualTime = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> =>
  VirtualTime.run(Effect.scoped(Effect.provideService(effect, References.MinimumLogLevel, "None")), { turns: 50 })

const codeOf = (result: Result.Result<unknown, GrpcError>): string =>
  Result.isSuccess(result) ? "OK" : result.failure.code

const durations = ({ durations: { announced, draining, interrupting } }: StopReport) => [
  announced,
  draining,
  interrupting
]

describe("a stop of a real server in virtual time", () => {
  it.live("a drain of 30 seconds waits for an RPC in flight, to the millisecond", () =>
    inVirtualTime(Effect.gen(function*() {
      const { begin, close, server, until } = yield* make({ grace: "1 minute" })
      const rpc = yield* begin("30000")
      yield* until(1)
      yield* close
      assert.strictEqual(yield* Clock.currentTimeMillis, 30_000)
      assert.strictEqual(codeOf(yield* Fiber.join(rpc)), "OK")
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.deepStrictEqual(durations(report), [0, 30_000, 0])
    })))

  it.live("an RPC that takes longer than the grace period is cut after exactly that", () =>
    inVirtualTime(Effect.gen(function*() {
      const { begin, close, server, until } = yield* make({ grace: "30 seconds" })
      const rpc = yield* begin("30001")
      yield* until(1)
      yield* close
      assert.strictEqual(codeOf(yield* Fiber.join(rpc)), "UNAVAILABLE")
      const report = yield* server.stop
      assert.strictEqual(report.forcedBy, "grace")
      assert.deepStrictEqual(durations(report), [0, 30_000, 0])
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
    })))

  it.live("for a drain delay of 5 seconds RPCs are admitted, and not any more when the drain has begun", () =>
    inVirtualTime(Effect.gen(function*() {
      const { address, begin, close, echo, server } = yield* make({ drainDelay: "5 seconds" })
      const closing = yield* Effect.forkChild(close)
      yield* Effect.sleep(4_999)
      assert.strictEqual(server.phase(), "Announced")
      const late = yield* begin("100")
      yield* Effect.sleep(2)
      assert.strictEqual(server.phase(), "Draining")
      assert.isUndefined(address.connect(), "its listener is still open")
      assert.strictEqual(codeOf(yield* Effect.result(echo.say("0"))), "UNAVAILABLE")
      yield* Fiber.join(closing)
      assert.strictEqual(codeOf(yield* Fiber.join(late)), "OK")
      assert.deepStrictEqual(durations(yield* server.stop), [5_000, 99, 0])
    })))

  it.live("a handler that ignores interruption gets the force timeout, and its client its answer 200 ms before", () =>
    inVirtualTime(Effect.gen(function*() {
      const { begin, close, server, until } = yield* make({ grace: "30 seconds", forceTimeout: "2 seconds" })
      const rpc = yield* begin("deaf")
      yield* until(1)
      const closing = yield* Effect.forkChild(close)
      const answer = yield* Fiber.join(rpc)
      assert.strictEqual(codeOf(answer), "UNAVAILABLE")
      assert.strictEqual(yield* Clock.currentTimeMillis, 31_800)
      yield* Fiber.join(closing)
      const report = yield* server.stop
      assert.deepStrictEqual(durations(report), [0, 30_000, 2_000])
      assert.deepStrictEqual(report.abandoned, [{ kind: "demo.Echo/Say", ageMillis: 32_000 }])
    })))

  it.live("a peer that never closes its half after the GOAWAY is destroyed after the linger", () =>
    inVirtualTime(Effect.gen(function*() {
      const { address, close, server } = yield* make({ grace: "30 seconds" })
      const peer = address.connect()!
      // It reads on, and never answers an end with its own.
      peer.allowHalfOpen = true
      peer.resume()
      const frames = [Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]
      peer.write(Buffer.concat(frames))
      yield* VirtualTime.settle()
      assert.strictEqual(server.connections(), 1)
      yield* close
      assert.deepStrictEqual(durations(yield* server.stop), [0, 300, 0])
      assert.strictEqual(server.connections(), 0)
    })))

  it.live("a connection that never speaks HTTP/2 is closed after 10 seconds", () =>
    inVirtualTime(Effect.gen(function*() {
      const { address, server } = yield* make({})
      const peer = address.connect()!
      yield* Effect.sleep(9_999)
      assert.strictEqual(server.connections(), 1)
      peer.resume()
      yield* Effect.sleep(1)
      yield* VirtualTime.settle()
      assert.strictEqual(server.connections(), 0)
    })))
})

describe("under a TestClock", () => {
  it.effect("nothing of a stop passes on another clock: grace, force timeout and reminders", () =>
    Effect.gen(function*() {
      const { begin, close, server, until } = yield* make({ grace: "30 seconds", forceTimeout: "2 seconds" })
      yield* begin("deaf")
      yield* until(1)
      const closing = yield* Effect.forkChild(close)
      yield* VirtualTime.settle()
      assert.strictEqual(server.phase(), "Draining")
      yield* TestClock.adjust(29_999)
      assert.strictEqual(server.phase(), "Draining")
      yield* TestClock.adjust(1)
      yield* VirtualTime.settle()
      assert.strictEqual(server.phase(), "Interrupting")
      yield* TestClock.adjust(1_999)
      assert.strictEqual(server.phase(), "Interrupting")
      yield* TestClock.adjust(1)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(durations(yield* server.stop), [0, 30_000, 2_000])
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None")))
})
