/** The methods of a client with middleware around them. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { GrpcChannel } from "../GrpcChannel.ts"
import type { CallOptions } from "../GrpcClient.ts"
import type { Call, GrpcClientMiddleware } from "../GrpcClientMiddleware.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
import * as ClientCall from "./clientCall.ts"
import { millisOf } from "./clientDeadline.ts"
import { type Codec, serviceName } from "./descriptor.ts"

type Middleware = ReadonlyArray<GrpcClientMiddleware>

/** Makes the RPC as the innermost `next` is asked to. */
type Send = (call: Call) => Effect.Effect<unknown, unknown>

/** The function of a method, as `ClientCall.method` makes it. */
export const method = (
  channel: GrpcChannel["Service"],
  codec: Codec,
  middleware: Middleware
): ReturnType<typeof ClientCall.method> =>
  codec.responseStream ? streaming(channel, codec, middleware) : single(channel, codec, middleware)

const single =
  (channel: GrpcChannel["Service"], codec: Codec, middleware: Middleware) => (request: never, options: CallOptions) =>
    Effect.suspend(() => {
      const { call, counted } = begin(channel, codec, options)
      const send = ClientCall.method(channel, counted)
      return around(
        middleware,
        call,
        // Not before it runs: what is left of the deadline is less each time.
        (call) => Effect.suspend(() => send(request, sent(call, options)) as Effect.Effect<unknown, unknown>)
      )
    })

/** The middleware runs in a fiber of its own, which hands over the responses as the program takes them. */
const streaming =
  (channel: GrpcChannel["Service"], codec: Codec, middleware: Middleware) => (request: never, options: CallOptions) =>
    Stream.unwrap(Effect.gen(function*() {
      const { call, counted } = begin(channel, codec, options)
      const send = ClientCall.method(channel, counted)
      const handedOver = yield* Queue.bounded<NonEmptyReadonlyArray<unknown>, unknown>(1)
      let isRead = false
      let failure: Cause.Cause<unknown> | undefined
      const fiber = yield* Effect.forkScoped(around(middleware, call, (call) =>
        Effect.suspend(() => {
          // What the program has got cannot be taken back.
          if (isRead && failure !== undefined) return Effect.failCause(failure)
          const responses = send(request, sent(call, options)) as Stream.Stream<unknown, unknown>
          return Effect.onError(
            Stream.runForEachArray(responses, (chunk) => {
              isRead = true
              return Queue.offer(handedOver, chunk)
            }),
            (cause) => Effect.sync(() => void (failure = cause))
          )
        })))
      fiber.addObserver((exit) => {
        if (Exit.isSuccess(exit)) Queue.endUnsafe(handedOver as Queue.Queue<NonEmptyReadonlyArray<unknown>, Cause.Done>)
        else Queue.failCauseUnsafe(handedOver, exit.cause)
      })
      return Stream.fromPull(Effect.succeed(Queue.take(handedOver)))
    }))

const around = (middleware: Middleware, call: Call, send: Send): Effect.Effect<unknown, unknown> =>
  middleware.reduceRight<Send>((next, wrap) => (call) => wrap(call, next), send)(call)

const begin = (channel: GrpcChannel["Service"], codec: Codec, options: CallOptions) => {
  const service = serviceName(codec.path)
  const millis = millisOf(options.deadline)
  let sentBytes = 0
  let receivedBytes = 0
  const call: Call = {
    path: codec.path,
    service,
    method: codec.path.slice(service.length + 2),
    requestStream: codec.requestStream,
    responseStream: codec.responseStream,
    target: channel.address,
    metadata: options.metadata ?? GrpcMetadata.empty,
    deadline: millis === undefined ? undefined : Date.now() + millis,
    waitForReady: options.waitForReady,
    sentBytes: () => sentBytes,
    receivedBytes: () => receivedBytes
  }
  const counted: Codec = {
    ...codec,
    serialize(message) {
      const bytes = codec.serialize(message)
      sentBytes += bytes.byteLength
      return bytes
    },
    deserialize(bytes) {
      receivedBytes += bytes.byteLength
      return codec.deserialize(bytes)
    }
  }
  return { call, counted }
}

/** What is left until its deadline goes to grpc-js. */
const sent = (call: Call, options: CallOptions): CallOptions => ({
  ...options,
  metadata: call.metadata,
  deadline: call.deadline === undefined ? undefined : Math.max(0, call.deadline - Date.now()),
  waitForReady: call.waitForReady
})
