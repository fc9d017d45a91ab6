/**
 * A typed client of a service, from the same descriptors as `GrpcService`: a protobuf-es `GenService`, or a grpc-js
 * `ServiceDefinition` as ts-proto (`outputServices=grpc-js`), grpc-tools and proto-loader make it.
 *
 * An RPC is an Effect, a stream of messages is a Stream, in both directions and with backpressure. Interruption cancels the RPC
 * on the wire.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { GrpcChannel } from "./GrpcChannel.ts"
import { type GrpcClientMiddleware, OfAll } from "./GrpcClientMiddleware.ts"
import type * as GrpcDescriptor from "./GrpcDescriptor.ts"
import type { GrpcError } from "./GrpcError.ts"
import * as GrpcMetadata from "./GrpcMetadata.ts"
import * as ClientCall from "./internal/clientCall.ts"
import { millisOf } from "./internal/clientDeadline.ts"
import * as ClientMiddleware from "./internal/clientMiddleware.ts"
import { readCalled } from "./internal/descriptor.ts"

/**
 * What a client can be made from.
 *
 * @category models
 * @since 0.1.0
 */
export type Descriptor = GrpcDescriptor.Called

/**
 * The options of one RPC, or of all RPCs of a client.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallOptions {
  /**
   * Sent as request headers. Those of the RPC are added to those of the client; of a key that HTTP knows once, such as
   * `authorization`, the RPC's value takes the place of the client's.
   */
  readonly metadata?: GrpcMetadata.GrpcMetadata | undefined
  /**
   * How long the RPC may take, all its attempts included; then it fails with DEADLINE_EXCEEDED, and the server knows. Default: no
   * limit, which is also what more than 99,999,999 seconds (3 years) are. 0 or less is over at once. In a handler no deadline is
   * later than the one of the RPC that is served. It is measured by a timer of Node's and not by the `Clock`: a `TestClock` does
   * not move it.
   */
  readonly deadline?: Duration.Input | undefined
  /**
   * Whether the RPC waits while no connection can be made, rather than fail with UNAVAILABLE. Default: as the channel has it for
   * the method (`methods`), else it fails.
   */
  readonly waitForReady?: boolean | undefined
  /** `false` sends the requests uncompressed although the channel compresses. Default: as the channel does. */
  readonly compress?: false | undefined
  /**
   * Told of the response headers, when they come; first the client's, then the RPC's. The RPC dies of what it throws. See
   * {@link answer}.
   */
  readonly onHeaders?: ((headers: GrpcMetadata.GrpcMetadata) => void) | undefined
  /**
   * Told of the response trailers before the RPC ends, successful or not; first the client's, then the RPC's. The RPC dies of
   * what it throws. See {@link answer}.
   */
  readonly onTrailers?: ((trailers: GrpcMetadata.GrpcMetadata) => void) | undefined
}

/**
 * The options of a client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends CallOptions {
  /**
   * What runs around each RPC, the first outermost; inside of what `GrpcClientMiddleware.layer` gives all clients.
   */
  readonly middleware?: ReadonlyArray<GrpcClientMiddleware> | undefined
}

/**
 * An option that makes no sense. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export { GrpcClientOptionError } from "./internal/clientDeadline.ts"

/**
 * One request, one response.
 *
 * @category models
 * @since 0.1.0
 */
export type Unary<Request, Response> = (
  request: Request,
  options?: CallOptions
) => Effect.Effect<Response, GrpcError>

/**
 * One request, a stream of responses. Running the stream starts the RPC; leaving it early cancels it. A few dozen
 * responses at most are read before they are asked for.
 *
 * @category models
 * @since 0.1.0
 */
export type ServerStream<Request, Response> = (
  request: Request,
  options?: CallOptions
) => Stream.Stream<Response, GrpcError>

/**
 * A stream of requests, one response. Requests are taken as the server reads them; if their stream fails, the RPC is cancelled
 * and fails so. A server that answers early interrupts them.
 *
 * @category models
 * @since 0.1.0
 */
export type ClientStream<Request, Response> = <E = never, R = never>(
  requests: Stream.Stream<Request, E, R>,
  options?: CallOptions
) => Effect.Effect<Response, GrpcError | E, R>

/**
 * A stream of requests, a stream of responses, each at its own pace; otherwise as {@link ClientStream} and
 * {@link ServerStream}.
 *
 * @category models
 * @since 0.1.0
 */
export type BidiStream<Request, Response> = <E = never, R = never>(
  requests: Stream.Stream<Request, E, R>,
  options?: CallOptions
) => Stream.Stream<Response, GrpcError | E, R>

/**
 * A method of which the descriptor does not say what it is, as with proto-loader: an Effect, or a Stream if the method has a
 * response stream.
 *
 * @category models
 * @since 0.1.0
 */
export type Untyped = (
  request: unknown,
  options?: CallOptions
) => Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

/**
 * The methods of a service, by their names.
 *
 * **Details**
 *
 * With protobuf-es a request may be a plain object with the fields of the message.
 *
 * @category models
 * @since 0.1.0
 */
export type Client<D extends Descriptor> = GrpcDescriptor.Methods<D> extends
  infer S extends Record<string, GrpcDescriptor.Method> ? {
    readonly [K in keyof S]: Method<
      S[K]["requestInit"],
      S[K]["response"],
      S[K]["requestStream"],
      S[K]["responseStream"]
    >
  }
  : never

type Method<Request, Response, RequestStream extends boolean, ResponseStream extends boolean> = boolean extends
  RequestStream | ResponseStream
  ? [RequestStream, ResponseStream] extends [true, false] ? ClientStream<Request, Response>
  : [RequestStream, ResponseStream] extends [false, true] ? ServerStream<Request, Response>
  : Untyped
  : [RequestStream] extends [true] ? BidiStream<Request, Response>
  : Unary<Request, Response>

/**
 * Makes a client on the channel in the context; `options` are of all its RPCs.
 *
 * **Details**
 *
 * An RPC fails with `GrpcError`: code, message, details and trailers as the server sent them. The W3C `traceparent` of the
 * current span is sent, unless the metadata has one. An RPC that a handler makes has the deadline of the RPC being served, or
 * an earlier one of its own. Dies with {@link GrpcClientOptionError} if the deadline is not a duration.
 *
 * **Example** (A client that is a service)
 *
 * ```ts
 * import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
 * import * as GrpcClient from "@lastcall/grpc/GrpcClient"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
 *
 * class Echo extends Context.Service<Echo, GrpcClient.Client<typeof EchoService>>()("app/Echo") {
 *   static readonly layer = Layer.effect(Echo, GrpcClient.make(EchoService, { deadline: "2 seconds" }))
 * }
 *
 * export const program = Effect.flatMap(Echo, (echo) => echo.say({ text: "hello" })).pipe(
 *   Effect.provide(Echo.layer.pipe(Layer.provide(GrpcChannel.layer({ address: "127.0.0.1:50051" }))))
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const D extends Descriptor>(
  descriptor: D,
  options: Options = {}
): Effect.Effect<Client<D>, never, GrpcChannel> =>
  Effect.gen(function*() {
    const channel = yield* GrpcChannel
    const middleware = [...yield* OfAll, ...options.middleware ?? []]
    millisOf(options.deadline)
    return Object.fromEntries(
      readCalled(descriptor).map((codec) => {
        const method = middleware.length === 0
          ? ClientCall.method(channel, codec)
          : ClientMiddleware.method(channel, codec, middleware)
        return [codec.key, (request: never, own?: CallOptions) => method(request, merge(options, own))]
      })
    ) as Client<D>
  })

/**
 * A response with the metadata that came with it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer<out A> {
  readonly response: A
  readonly headers: GrpcMetadata.GrpcMetadata
  readonly trailers: GrpcMetadata.GrpcMetadata
}

/**
 * Runs an RPC that has one response, and gives its headers and trailers as well. The trailers of one that fails are in its
 * `GrpcError`.
 *
 * **Example** (What an RPC cost)
 *
 * ```ts
 * import * as GrpcClient from "@lastcall/grpc/GrpcClient"
 * import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
 * import * as Effect from "effect/Effect"
 * import type { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
 *
 * export const cost = (echo: GrpcClient.Client<typeof EchoService>) =>
 *   GrpcClient.answer((options) => echo.say({ text: "hello" }, { ...options, deadline: "1 second" })).pipe(
 *     Effect.map(({ trailers }) => GrpcMetadata.get(trailers, "x-cost"))
 *   )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const answer = <A, E, R>(
  call: (options: Pick<CallOptions, "onHeaders" | "onTrailers">) => Effect.Effect<A, E, R>
): Effect.Effect<Answer<A>, E, R> =>
  Effect.suspend(() => {
    let headers = GrpcMetadata.empty
    let trailers = GrpcMetadata.empty
    return Effect.map(
      call({
        onHeaders: (received) => headers = received,
        onTrailers: (received) => trailers = received
      }),
      (response) => ({ response, headers, trailers })
    )
  })

const merge = (client: CallOptions, own: CallOptions | undefined): CallOptions =>
  own === undefined ? client : {
    metadata: GrpcMetadata.merge(client.metadata ?? GrpcMetadata.empty, own.metadata ?? GrpcMetadata.empty),
    deadline: own.deadline ?? client.deadline,
    waitForReady: own.waitForReady ?? client.waitForReady,
    compress: own.compress ?? client.compress,
    onHeaders: both(client.onHeaders, own.onHeaders),
    onTrailers: both(client.onTrailers, own.onTrailers)
  }

const both = (first: CallOptions["onHeaders"], second: CallOptions["onHeaders"]): CallOptions["onHeaders"] =>
  first === undefined ? second : second === undefined ? first : (metadata) => {
    first(metadata)
    second(metadata)
  }
