/**
 * A typed client of a service, from the same descriptors as `GrpcService`: a protobuf-es `GenService`, or a grpc-js
 * `ServiceDefinition` as ts-proto (`outputServices=grpc-js`), grpc-tools and proto-loader make it.
 *
 * An RPC is an Effect, a stream of messages is a Stream, in both directions and with backpressure. Interruption cancels the RPC
 * on the wire.
 *
 * @since 0.1.0
 */
import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { GrpcChannel } from "./GrpcChannel.ts"
import type { GrpcError } from "./GrpcError.ts"
import * as GrpcMetadata from "./GrpcMetadata.ts"
import * as ClientCall from "./internal/clientCall.ts"
import { readMethods } from "./internal/clientCodec.ts"

/**
 * A method of a grpc-js `ServiceDefinition`, as far as types flow from it.
 *
 * @category models
 * @since 0.1.0
 */
export interface MethodDefinition {
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly requestSerialize: (value: never) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => unknown
}

/**
 * What a client can be made from.
 *
 * @category models
 * @since 0.1.0
 */
export type Descriptor =
  | (Omit<DescService, "method"> & { readonly method: Record<string, DescMethod> })
  | { readonly [method: string]: MethodDefinition }

/**
 * The options of one RPC, or of all RPCs of a client.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallOptions {
  /** Sent as request headers. Those of the RPC are added to those of the client. */
  readonly metadata?: GrpcMetadata.GrpcMetadata | undefined
  /**
   * How long the RPC may take; then it fails with DEADLINE_EXCEEDED, and the server knows. Default: no limit. In a handler no
   * deadline is later than the one of the RPC that is served. It is measured by a timer of Node's and not by the `Clock`: a
   * `TestClock` does not move it.
   */
  readonly deadline?: Duration.Input | undefined
  /**
   * Whether the RPC waits while no connection can be made, rather than fail with UNAVAILABLE. Default: it fails.
   */
  readonly waitForReady?: boolean | undefined
  /** Told of the response headers, when they come. The RPC dies of what it throws. */
  readonly onHeaders?: ((headers: GrpcMetadata.GrpcMetadata) => void) | undefined
  /** Told of the response trailers before the RPC ends, successful or not. The RPC dies of what it throws. */
  readonly onTrailers?: ((trailers: GrpcMetadata.GrpcMetadata) => void) | undefined
}

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
export type Client<D extends Descriptor> = D extends { readonly method: infer M extends Record<string, DescMethod> } ? {
    readonly [K in keyof M]: Method<
      MessageInitShape<M[K]["input"]>,
      MessageShape<M[K]["output"]>,
      M[K]["methodKind"] extends "client_streaming" | "bidi_streaming" ? true : false,
      M[K]["methodKind"] extends "server_streaming" | "bidi_streaming" ? true : false
    >
  }
  : D extends { readonly [method: string]: MethodDefinition } ? {
      readonly [K in MethodNames<D>]: Method<
        Parameters<D[K]["requestSerialize"]>[0],
        ReturnType<D[K]["responseDeserialize"]>,
        D[K]["requestStream"],
        D[K]["responseStream"]
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

/** The named methods: grpc-tools adds an index signature to them. Where there is no other, as with proto-loader, that. */
type MethodNames<D> = [Named<D>] extends [never] ? keyof D : Named<D>

type Named<D> =
  & keyof { readonly [K in keyof D as string extends K ? never : number extends K ? never : K]: D[K] }
  & keyof D

/**
 * Makes a client on the channel in the context; `options` are of all its RPCs.
 *
 * **Details**
 *
 * An RPC fails with `GrpcError`: code, message, details and trailers as the server sent them. The W3C `traceparent` of the
 * current span is sent, unless the metadata has one. An RPC that a handler makes has the deadline of the RPC being served, or
 * an earlier one of its own.
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
  options?: CallOptions
): Effect.Effect<Client<D>, never, GrpcChannel> =>
  Effect.map(GrpcChannel, (channel) =>
    Object.fromEntries(
      readMethods(descriptor).map((codec) => {
        const method = ClientCall.method(channel, codec)
        return [codec.key, (request: never, own?: CallOptions) => method(request, merge(options, own))]
      })
    ) as Client<D>)

const merge = (client: CallOptions | undefined, own: CallOptions | undefined): CallOptions => {
  if (client === undefined) return own ?? {}
  if (own === undefined) return client
  return {
    metadata: GrpcMetadata.merge(client.metadata ?? GrpcMetadata.empty, own.metadata ?? GrpcMetadata.empty),
    deadline: own.deadline ?? client.deadline,
    waitForReady: own.waitForReady ?? client.waitForReady,
    onHeaders: own.onHeaders ?? client.onHeaders,
    onTrailers: own.onTrailers ?? client.onTrailers
  }
}
