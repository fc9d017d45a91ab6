import { assert, describe, it } from "@effect/vitest"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { FeedService } from "../src/gen/lastcall/rolling/v1/feed_pb.ts"
import * as Load from "../src/Load.ts"
import * as Tally from "../src/Tally.ts"

class Feed extends GrpcService.Service<Feed>()(FeedService) {}

/** A server whose handlers wait for the latch, but for the first answers; its port. */
const serve = (latch: Latch.Latch) =>
  Effect.gen(function*() {
    const port = Deferred.makeUnsafe<number>()
    let gets = 0
    const handlers = Feed.toLayer({
      get: () => Effect.as(gets++ === 0 ? Effect.void : latch.await, { instance: "A1" }),
      // Too few, and none.
      list: () => Stream.unwrap(Effect.as(latch.await, Stream.make({ n: 1 }))),
      put: () => Effect.andThen(latch.await, Effect.fail(GrpcError.dataLoss("gone"))),
      talk: Stream.mapEffect(({ n }) => Effect.as(latch.await, { n })),
      watch: () => Stream.concat(Stream.make({ instance: "A1" }), Stream.never)
    })
    yield* Layer.build(
      GrpcServer.layer("feed", {
        services: [Feed],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        onListening: ({ addresses }) => {
          const [address] = addresses()
          return Deferred.succeed(port, address?._tag === "Tcp" ? address.port : 0)
        }
      }).pipe(Layer.provide(handlers))
    )
    return yield* Deferred.await(port)
  })

describe("the load", () => {
  it.live("begins RPCs whatever has become of those before them, and counts how each one ends", () =>
    Effect.gen(function*() {
      const latch = Latch.makeUnsafe(false)
      const port = yield* serve(latch)
      const load = yield* Load.start({ ports: [port], perSecond: 500, longMillis: 8 })
      const { tally } = load
      assert.isTrue(load.hasHeard("A1"))
      assert.deepInclude(tally.Watch, { sent: 1, succeeded: 0 })
      while (Tally.sent(tally) < 100) yield* Effect.sleep("2 millis")
      // The one that connected.
      assert.strictEqual(Tally.sent(tally) - Tally.outstanding(tally), 1)
      yield* latch.open
      yield* load.finish
      const { Get, List, Put, Talk, Watch } = tally
      assert.strictEqual(Tally.outstanding(tally), 0)
      assert.isAbove(Get.sent, 50)
      assert.deepStrictEqual([Get.succeeded, Get.lost], [Get.sent, {}])
      assert.deepStrictEqual(List.lost, { INCOMPLETE: List.sent })
      assert.deepStrictEqual(Put.lost, { DATA_LOSS: Put.sent })
      assert.deepStrictEqual([Talk.succeeded, Talk.lost], [Talk.sent, {}])
      assert.deepStrictEqual([Watch.sent, Watch.succeeded], [1, 1])
      assert.isAtLeast(load.mostOutstanding(), 99)
    }))
})
