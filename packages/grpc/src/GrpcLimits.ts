/**
 * What a server takes from its clients at most. Limits are on by default.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Formatter from "effect/Formatter"
import * as CheckedDuration from "./internal/checkedDuration.ts"

/**
 * The limits of a server. Sizes are bytes of a message without its frame, after decompression.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcLimits {
  /**
   * Connections, handshaking ones included. What is over it is closed at once; a warning tells so, at most once a minute.
   * Default: 16,384.
   */
  readonly maxConnections?: number | undefined
  /**
   * Connections of one remote address. What is over it is closed at once; a warning tells so, at most once a minute. Unix
   * sockets have no address. Default: no limit, since all clients behind a proxy have the address of the proxy.
   */
  readonly maxConnectionsPerPeer?: number | undefined
  /**
   * How long a connection may take to speak HTTP/2 once it is accepted, or its TLS handshake has ended. Default: 10 seconds.
   * How long a TLS handshake may take is an option of `GrpcCredentials`.
   */
  readonly prefaceTimeout?: Duration.Input | undefined
  /**
   * RPCs in flight, over all connections. What is over it gets RESOURCE_EXHAUSTED and may be retried; health checks are
   * served all the same. Default: no limit.
   */
  readonly maxInFlight?: number | undefined
  /** A request message. A larger one gets RESOURCE_EXHAUSTED. Default: 4 MiB, as every gRPC implementation has it. */
  readonly maxReceiveBytes?: number | undefined
  /** A response message. A larger one gets RESOURCE_EXHAUSTED. Default: no limit. */
  readonly maxSendBytes?: number | undefined
  /** Streams (RPCs) on one connection at a time; clients wait for a free one. Default: 1,000. */
  readonly maxConcurrentStreams?: number | undefined
  /**
   * How old a connection gets, give or take a tenth, before it gets a GOAWAY and its client connects anew: that spreads
   * clients over new servers. Default: for ever.
   */
  readonly maxConnectionAge?: Duration.Input | undefined
  /** How long RPCs on a connection that is too old may run on. Default: for ever. */
  readonly maxConnectionAgeGrace?: Duration.Input | undefined
  /** How long a connection without RPCs is kept. Default: for ever. */
  readonly maxConnectionIdle?: Duration.Input | undefined
  /** After how long without data a client is pinged. Default: 2 hours, as in gRFC A8. */
  readonly keepaliveTime?: Duration.Input | undefined
  /** How long the answer to a ping may take before the connection is closed. Default: 20 seconds, as in gRFC A8. */
  readonly keepaliveTimeout?: Duration.Input | undefined
}

/**
 * A limit that makes no sense. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export class GrpcLimitsError extends Data.TaggedError("GrpcLimitsError")<{
  readonly limit: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `limit ${this.limit} is ${Formatter.format(this.value)}: ${this.reason}`
  }
}

/** @internal */
export interface Checked {
  readonly maxConnections: number
  readonly maxConnectionsPerPeer: number
  readonly prefaceMillis: number
  readonly maxInFlight: number
  readonly maxSendBytes: number
  readonly channelOptions: { readonly [option: string]: number }
}

const count = (limit: keyof GrpcLimits, value: number | undefined, otherwise: number): number => {
  const result = value ?? otherwise
  if (result === Number.POSITIVE_INFINITY || (Number.isInteger(result) && result > 0)) return result
  throw new GrpcLimitsError({ limit, value, reason: "must be a whole number above 0, or Infinity" })
}

/** @internal */
export const duration = (limit: string, value: Duration.Input): Duration.Duration =>
  CheckedDuration.positive(value, (reason) => {
    throw new GrpcLimitsError({ limit, value, reason })
  })

const millis = (limit: keyof GrpcLimits, value: Duration.Input): number =>
  Math.min(Duration.toMillis(duration(limit, value)), CheckedDuration.maxTimerMillis)

const orUnlimited = (bytes: number): number => bytes === Number.POSITIVE_INFINITY ? -1 : bytes

/** @internal */
export const check = (limits: GrpcLimits = {}): Checked => {
  const maxReceive = count("maxReceiveBytes", limits.maxReceiveBytes, 4 * 1024 * 1024)
  const maxSend = count("maxSendBytes", limits.maxSendBytes, Number.POSITIVE_INFINITY)
  const maxStreams = count("maxConcurrentStreams", limits.maxConcurrentStreams, 1_000)
  const channelOptions: Record<string, number> = {
    "grpc.max_receive_message_length": orUnlimited(maxReceive),
    // For native services; the typed ones are held to it by their encoder.
    "grpc.max_send_message_length": orUnlimited(maxSend),
    "grpc.max_concurrent_streams": Math.min(maxStreams, 2 ** 32 - 1),
    "grpc.keepalive_time_ms": millis("keepaliveTime", limits.keepaliveTime ?? "2 hours"),
    "grpc.keepalive_timeout_ms": millis("keepaliveTimeout", limits.keepaliveTimeout ?? "20 seconds")
  }
  const age = { age: limits.maxConnectionAge, grace: limits.maxConnectionAgeGrace, idle: limits.maxConnectionIdle }
  if (age.age !== undefined) channelOptions["grpc.max_connection_age_ms"] = millis("maxConnectionAge", age.age)
  if (age.grace !== undefined) {
    channelOptions["grpc.max_connection_age_grace_ms"] = millis("maxConnectionAgeGrace", age.grace)
  }
  if (age.idle !== undefined) channelOptions["grpc.max_connection_idle_ms"] = millis("maxConnectionIdle", age.idle)
  return {
    maxConnections: count("maxConnections", limits.maxConnections, 16_384),
    maxConnectionsPerPeer: count("maxConnectionsPerPeer", limits.maxConnectionsPerPeer, Number.POSITIVE_INFINITY),
    prefaceMillis: millis("prefaceTimeout", limits.prefaceTimeout ?? "10 seconds"),
    maxInFlight: count("maxInFlight", limits.maxInFlight, Number.POSITIVE_INFINITY),
    maxSendBytes: maxSend,
    channelOptions
  }
}
