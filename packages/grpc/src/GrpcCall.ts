/**
 * The RPC that a handler is serving.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { PeerCertificate } from "node:tls"
import type { GrpcMetadata } from "./GrpcMetadata.ts"
import type { GrpcPeer } from "./GrpcPeer.ts"

/**
 * What a handler can ask about its RPC, and say besides its responses. The server provides it to every handler.
 *
 * @category services
 * @since 0.1.0
 */
export class GrpcCall extends Context.Service<GrpcCall, {
  /** The full method path, for instance `/demo.v1.Greeter/SayHello`. */
  readonly path: string
  /** The metadata that the client sent. */
  readonly metadata: GrpcMetadata
  /** When the client stops waiting, in milliseconds since the epoch; `Infinity` without a deadline. */
  readonly deadline: number
  /** The host that the client asked for, its `:authority`. */
  readonly authority: string
  /** The address of the peer as `host:port`, or `unknown` (grpc-js says so on a Unix socket). */
  readonly peer: string
  /** The certificate that the peer proved to own, with mTLS. */
  readonly peerCertificate: PeerCertificate | undefined
  /** Who that certificate says the peer is: SPIFFE ID, subject, fingerprint, names. */
  readonly peerIdentity: GrpcPeer | undefined
  /** Whether a stop has asked this RPC to end: the grace period is over. */
  readonly isStopping: () => boolean
  /** Bytes of the request messages so far, without their frames. */
  readonly receivedBytes: () => number
  /** Bytes of the response messages so far, without their frames. */
  readonly sentBytes: () => number
  /** Adds response headers; `false` if they have gone out. */
  readonly addHeaders: (metadata: GrpcMetadata) => boolean
  /** Sends the response headers now rather than with the first message; `false` if they have gone out. */
  readonly sendHeaders: () => boolean
  /** Adds trailers; they go out with the status, whatever it is. `false` if that has gone out. */
  readonly addTrailers: (metadata: GrpcMetadata) => boolean
}>()("@lastcall/grpc/GrpcCall") {}

/**
 * The metadata that the client sent.
 *
 * @category getters
 * @since 0.1.0
 */
export const metadata: Effect.Effect<GrpcMetadata, never, GrpcCall> = Effect.map(GrpcCall, (call) => call.metadata)

/**
 * Adds response headers. They go out with the first response message, or with {@link sendHeaders}; if they have gone out,
 * this returns `false` and does nothing. Of a key that HTTP knows once (`etag`, ...) the last value counts.
 *
 * @category answering
 * @since 0.1.0
 */
export const addHeaders = (metadata: GrpcMetadata): Effect.Effect<boolean, never, GrpcCall> =>
  Effect.map(GrpcCall, (call) => call.addHeaders(metadata))

/**
 * Sends the response headers now: a client can act on them before there is a message. `false` if they have gone out.
 *
 * @category answering
 * @since 0.1.0
 */
export const sendHeaders: Effect.Effect<boolean, never, GrpcCall> = Effect.map(GrpcCall, (call) => call.sendHeaders())

/**
 * Adds trailers. They go out with the status, also when the handler fails. `false` if that has gone out. Of a key that HTTP
 * knows once (`retry-after`, ...) the last value counts: that of the error that the handler fails with, if it has one.
 *
 * @category answering
 * @since 0.1.0
 */
export const addTrailers = (metadata: GrpcMetadata): Effect.Effect<boolean, never, GrpcCall> =>
  Effect.map(GrpcCall, (call) => call.addTrailers(metadata))
