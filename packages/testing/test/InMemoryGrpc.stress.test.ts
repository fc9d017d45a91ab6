/** Connections that are cut at any moment: Node's wrapper of streams must have nothing to complain of. */
import { assert, it } from "@effect/vitest"
import { GrpcChannel } from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { definition, Echo } from "./Echo.ts"

const large = "x".repeat(300_000)

const EchoLive = Echo.toLayer({
  say: (request) => Effect.succeed(request),
  spell: () => Stream.fromEffectRepeat(Effect.as(Effect.yieldNow, large)),
  join: (requests) => Stream.runFold(requests, () => "", (_, request) => request),
  chat: (requests) => requests
})

it.live.each(Array.from({ length: 30 }, (_, turns) => turns))(
  "a stop %i turns after RPCs began",
  (turns) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const address = InMemoryGrpc.address("api")
      const server = yield* GrpcServer.make("api", {
        services: [Echo],
        listen: [address.listener],
        limits: { maxReceiveBytes: 400_000 },
        stop: { grace: turns % 2 === 0 ? 0 : 5, forceTimeout: turns % 3 === 0 ? 0 : 20 }
      }).pipe(Effect.provide(EchoLive), Scope.provide(scope))
      const channel = yield* Scope.provide(
        InMemoryGrpc.channel(address, { stop: { grace: 0, forceTimeout: turns % 5 === 0 ? 0 : 5 } }),
        scope
      )
      const echo = yield* Effect.provideService(GrpcClient.make(definition), GrpcChannel, channel)
      const rpcs = yield* Effect.forEach(
        [
          Stream.runDrain(echo.spell("")),
          echo.say(large),
          echo.say(large + large),
          echo.join(Stream.fromEffectRepeat(Effect.as(Effect.yieldNow, large))),
          Stream.runDrain(echo.chat(Stream.fromEffectRepeat(Effect.as(Effect.yieldNow, "x")))),
          Effect.timeout(Stream.runDrain(echo.spell("")), turns)
        ],
        (rpc) => Effect.forkChild(Effect.exit(rpc), { startImmediately: true })
      )
      yield* VirtualTime.settle(turns)
      yield* Fiber.interrupt(rpcs[turns % 6]!)
      const stop = yield* Effect.forkChild(server.stop, { startImmediately: true })
      if (turns % 4 === 0) yield* channel.stop
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.awaitAll(rpcs)
      const { counts } = yield* Fiber.join(stop)
      assert.strictEqual(
        counts.admitted,
        counts.succeeded + counts.failed + counts.interrupted + counts.destroyed + counts.abandoned
      )
      yield* VirtualTime.settle()
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
)
