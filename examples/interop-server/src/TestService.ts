/** The `grpc.testing.TestService` of gRPC's interoperability tests. */
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Answer from "./Answer.ts"
import * as Delay from "./Delay.ts"
import * as Echo from "./Echo.ts"
import { TestService as Descriptor } from "./gen/grpc/testing/test_pb.ts"

export class TestService extends GrpcService.Service<TestService>()(Descriptor) {}

const cacheable = GrpcMetadata.make({ "cache-control": "max-age=60, public" })

export const layer: Layer.Layer<TestService> = TestService.toLayer({
  emptyCall: () => Effect.succeed({}),
  unaryCall: Answer.one,
  cacheableUnaryCall: Effect.fnUntraced(function*() {
    yield* GrpcCall.addHeaders(cacheable)
    const now = yield* Clock.currentTimeNanos
    return { payload: { body: new TextEncoder().encode(String(now)) } }
  }),
  streamingOutputCall: Answer.many,
  streamingInputCall: (requests) =>
    Stream.runFold(requests, () => 0, (total, { payload }) => total + (payload?.body.byteLength ?? 0)).pipe(
      Effect.map((aggregatedPayloadSize) => ({ aggregatedPayloadSize }))
    ),
  fullDuplexCall: Stream.flatMap(Answer.many),
  halfDuplexCall: (requests) =>
    Stream.unwrap(
      Effect.map(Stream.runCollect(requests), (all) => Stream.flatMap(Stream.fromIterable(all), Answer.many))
    ),
  // What the name promises: clients test that they understand it.
  unimplementedCall: () => Effect.fail(GrpcError.unimplemented("UnimplementedCall is not implemented"))
}, { middleware: [Echo.middleware, Delay.middleware] })
