/** A replica with Lastcall. There is no shutdown code but the last message of a watch. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { FeedService } from "./gen/lastcall/rolling/v1/feed_pb.ts"
import { awaitStart, config, tell } from "./ReplicaEvent.ts"

const { graceMillis, instance, port } = config()

class Feed extends GrpcService.Service<Feed>()(FeedService) {}

const FeedLive = Feed.toLayer({
  get: ({ workMillis }) => Effect.as(Effect.sleep(Duration.millis(workMillis)), { instance }),
  list: ({ count, pauseMillis }) =>
    Stream.range(1, count).pipe(
      Stream.mapEffect((n) => Effect.as(Effect.sleep(Duration.millis(pauseMillis)), { n }))
    ),
  put: (requests) =>
    Stream.runFold(requests, () => 0, (total, { n }) => total + n).pipe(Effect.map((total) => ({ total }))),
  talk: Stream.map(({ n }) => ({ n })),
  watch: () =>
    Stream.tick("200 millis").pipe(
      Stream.map(() => ({ instance, last: false })),
      GrpcDrain.endWith(() => ({ instance, last: true }))
    )
})

const Server = GrpcServer.layer("feed", {
  services: [Feed],
  listen: [GrpcListener.tcp({ host: "127.0.0.1", port })],
  onListening: () => Effect.sync(() => tell({ event: "listening" }))
})

await awaitStart()
Server.pipe(
  Layer.provide([FeedLive, NodeSignals.layer()]),
  Lifecycle.launch({
    budget: Duration.millis(graceMillis + 4_000),
    grace: Duration.millis(graceMillis),
    onReport: (report) => Effect.sync(() => tell({ event: "stopped", report }))
  }),
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
  // What a stop says is in its report.
  Effect.provideService(References.MinimumLogLevel, "Error"),
  NodeRuntime.runMain({ teardown: Lifecycle.teardown })
)
