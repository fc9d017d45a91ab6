/**
 * The RPC that a handler is serving.
 *
 * @since 0.1.0
 */
import type { Metadata } from "@grpc/grpc-js"
import * as Context from "effect/Context"
import type { PeerCertificate } from "node:tls"

/**
 * What a handler can ask about its RPC. The server provides it to every handler.
 *
 * @category services
 * @since 0.1.0
 */
export class GrpcCall extends Context.Service<GrpcCall, {
  /** The full method path, for instance `/demo.v1.Greeter/SayHello`. */
  readonly path: string
  /** The metadata that the client sent. */
  readonly metadata: Metadata
  /** When the client stops waiting, in milliseconds since the epoch; `Infinity` without a deadline. */
  readonly deadline: number
  /** The address of the peer as `host:port`, or `unknown` (grpc-js says so on a Unix socket). */
  readonly peer: string
  /** The certificate that the peer proved to own, with mTLS. */
  readonly peerCertificate: PeerCertificate | undefined
}>()("@lastcall/grpc/GrpcCall") {}
