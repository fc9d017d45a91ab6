/**
 * What runs around the RPCs of a client: an ordinary function from an RPC to an Effect that makes it.
 *
 * The Effect is the whole RPC: for a response stream it ends with the stream, so that one middleware is for all four kinds. It
 * sees the RPC before anything is sent, sends it on as it is or changed, and sees how it ended. A client without middleware
 * pays nothing for there being some.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { GrpcCall } from "./GrpcCall.ts"
import { type Code, codes, type GrpcError } from "./GrpcError.ts"
import * as GrpcMetadata from "./GrpcMetadata.ts"
import { parseTraceparent } from "./GrpcMiddleware.ts"
import { millisOf } from "./internal/clientDeadline.ts"
import * as ClientStatus from "./internal/clientStatus.ts"
import { latencyBounds, sizeBounds } from "./internal/metricBounds.ts"

/**
 * An RPC that a client is about to make.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  /** The full method path, for instance `/demo.v1.Greeter/SayHello`. */
  readonly path: string
  /** The full name of the service. */
  readonly service: string
  /** The name of the method, as it is on the wire. */
  readonly method: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  /** What the channel dials. */
  readonly target: string
  /** What is sent as request headers. */
  readonly metadata: GrpcMetadata.GrpcMetadata
  /**
   * When it must have ended, in milliseconds since the epoch: as the options of the RPC and of its client say, `undefined` if they
   * say nothing. The deadline of the RPC that is being served holds besides.
   */
  readonly deadline: number | undefined
  /** Whether it waits while no connection can be made; `undefined` is as the channel has it for the method. */
  readonly waitForReady: boolean | undefined
  /** Bytes of the request messages so far, without their frames, over all times that it was sent. */
  readonly sentBytes: () => number
  /** Bytes of the response messages so far, without their frames, over all times that it was sent. */
  readonly receivedBytes: () => number
}

/**
 * A middleware: it gets an RPC, and `next`, which sends it.
 *
 * **Details**
 *
 * `next` may be called with a changed call, never (a cache, a refusal), or again: a unary RPC that failed can be retried. One
 * with a response stream is not sent again once the program has got some of the responses; it fails then as it did before. The
 * Effect of `next` fails with `GrpcError`, or as the stream of requests did.
 *
 * What a middleware needs it closes over: make it where its services are at hand.
 *
 * **Example** (A token that is renewed when it is refused)
 *
 * ```ts
 * import type { GrpcClientMiddleware } from "@lastcall/grpc/GrpcClientMiddleware"
 * import { GrpcError } from "@lastcall/grpc/GrpcError"
 * import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
 * import * as Effect from "effect/Effect"
 *
 * export const withToken = (tokens: {
 *   readonly get: Effect.Effect<string, GrpcError>
 *   readonly renew: Effect.Effect<void, GrpcError>
 * }): GrpcClientMiddleware =>
 * (call, next) => {
 *   const send = Effect.flatMap(tokens.get, (token) =>
 *     next({ ...call, metadata: GrpcMetadata.set(call.metadata, "authorization", `Bearer ${token}`) }))
 *   return Effect.catch(send, (error) =>
 *     error instanceof GrpcError && error.code === "UNAUTHENTICATED"
 *       ? Effect.andThen(tokens.renew, send)
 *       : Effect.fail(error))
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type GrpcClientMiddleware = <A, E, R>(
  call: Call,
  next: (call: Call) => Effect.Effect<A, E | GrpcError, R>
) => Effect.Effect<A, E | GrpcError, R>

/**
 * The middleware of all clients that are made in a context, outside of their own. See {@link layer}.
 *
 * @category references
 * @since 0.1.0
 */
export const OfAll: Context.Reference<ReadonlyArray<GrpcClientMiddleware>> = Context.Reference<
  ReadonlyArray<GrpcClientMiddleware>
>("@lastcall/grpc/GrpcClientMiddleware/OfAll", { defaultValue: () => [] })

/**
 * Gives middleware to all clients that are made with this layer, the first outermost; inside of what a layer below it gives.
 * Provide it with a channel for all clients of the channel, or once for those of the program.
 *
 * **Example** (All clients of a channel)
 *
 * ```ts
 * import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
 * import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
 * import * as Layer from "effect/Layer"
 *
 * export const Users = Layer.merge(
 *   GrpcChannel.layer({ address: GrpcChannel.dns("users.internal", 50051) }),
 *   GrpcClientMiddleware.layer([GrpcClientMiddleware.tracing, GrpcClientMiddleware.metrics])
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (middleware: ReadonlyArray<GrpcClientMiddleware>): Layer.Layer<never> =>
  Layer.effect(OfAll, Effect.map(OfAll, (outer) => [...outer, ...middleware]))

/**
 * The name of the status that an RPC ends with. `CANCELLED` if it was interrupted, or if its stream of requests failed;
 * `UNKNOWN` if it died.
 *
 * @category statuses
 * @since 0.1.0
 */
export const codeOf = (exit: Exit.Exit<unknown, unknown>): Code | "OK" => ClientStatus.codeOf(exit)

/**
 * An RPC that has no deadline gets this one. A deadline of the RPC or of its client is kept, be it longer: `Duration.infinity`
 * is one too. Throws `GrpcClientOptionError` for what is not a duration.
 *
 * @category middleware
 * @since 0.1.0
 */
export const deadline = (duration: Duration.Input): GrpcClientMiddleware => {
  const millis = millisOf(duration)!
  return (call, next) =>
    Effect.suspend(() => next(call.deadline === undefined ? { ...call, deadline: Date.now() + millis } : call))
}

/**
 * Adds metadata that an Effect makes for each RPC. If that fails, the RPC is not sent and fails so. What HTTP knows once, such as
 * `authorization`, is kept where the RPC or its client says it.
 *
 * **Gotchas**
 *
 * Of a token everyone on a plaintext connection reads; the call credentials of a channel are not sent on one.
 *
 * @category middleware
 * @since 0.1.0
 */
export const metadata =
  (make: Effect.Effect<GrpcMetadata.GrpcMetadata, GrpcError>): GrpcClientMiddleware => (call, next) =>
    Effect.flatMap(make, (added) => next({ ...call, metadata: GrpcMetadata.merge(added, call.metadata) }))

/**
 * Logs each RPC when it has ended: method, status, duration in milliseconds, target, bytes. UNKNOWN, DEADLINE_EXCEEDED,
 * UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS as warnings, the rest as information.
 *
 * @category middleware
 * @since 0.1.0
 */
export const accessLog: GrpcClientMiddleware = (call, next) =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const start = clock.monotonicTimeNanosUnsafe()
    return Effect.onExit(next(call), (exit) => {
      const code = codeOf(exit)
      const log = troubles.has(code) ? Effect.logWarning : Effect.logInfo
      return Effect.annotateLogs(log(`${call.path} ${code}`), {
        "rpc.method": call.path.slice(1),
        "rpc.grpc.status_code": codes[code],
        durationMillis: Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000,
        target: call.target,
        sentBytes: call.sentBytes(),
        receivedBytes: call.receivedBytes()
      })
    })
  })

const troubles: ReadonlySet<string> = new Set([
  "UNKNOWN",
  "DEADLINE_EXCEEDED",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS"
])

/**
 * A client span for each RPC, named by its method, with OpenTelemetry's RPC attributes, as a child of the current one. It is what
 * the server gets as W3C `traceparent`. In a handler the `baggage` of the RPC that is being served is passed on, and its
 * `tracestate` if the span is of the same trace; metadata that the RPC has is kept.
 *
 * @category tracing
 * @since 0.1.0
 */
export const tracing: GrpcClientMiddleware = (call, next) =>
  Effect.useSpan(
    call.path.slice(1),
    {
      kind: "client",
      attributes: {
        "rpc.system": "grpc",
        "rpc.service": call.service,
        "rpc.method": call.method,
        "server.address": call.target
      }
    },
    (span) =>
      Effect.flatMap(Effect.serviceOption(GrpcCall), (served) => {
        const sent = Option.isNone(served)
          ? call
          : { ...call, metadata: passOn(call.metadata, served.value.metadata, span.traceId) }
        // Without a stack trace: it would be an `Error` for each RPC, and always the same.
        return Effect.onExit(
          Effect.withParentSpan(next(sent), span, { captureStackTrace: false }),
          (exit) => Effect.sync(() => span.attribute("rpc.grpc.status_code", codes[codeOf(exit)]))
        )
      })
  )

const passOn = (
  own: GrpcMetadata.GrpcMetadata,
  served: GrpcMetadata.GrpcMetadata,
  traceId: string
): GrpcMetadata.GrpcMetadata => {
  const parent = parseTraceparent(GrpcMetadata.get(served, "traceparent"))
  const isSameTrace = Option.isSome(parent) && parent.value.traceId === traceId &&
    GrpcMetadata.get(own, "traceparent") === undefined
  let metadata = own
  for (const key of isSameTrace ? ["baggage", "tracestate"] : ["baggage"]) {
    const values = GrpcMetadata.getAll(served, key)
    if (values.length > 0 && GrpcMetadata.get(own, key) === undefined) {
      metadata = GrpcMetadata.set(metadata, key, values.join(","))
    }
  }
  return metadata
}

/**
 * `grpc.client.call.started`, a counter by `grpc.method` and `grpc.target`. gRFC A66 counts attempts instead, which grpc-js
 * does not tell of.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callStarted: Metric.Counter<number> = Metric.counter("grpc.client.call.started", {
  description: "The number of RPCs started",
  incremental: true
})

/**
 * `grpc.client.call.duration`, a histogram in seconds by `grpc.method`, `grpc.target` and `grpc.status` (gRFC A66).
 *
 * @category metrics
 * @since 0.1.0
 */
export const callDuration: Metric.Histogram<number> = Metric.histogram("grpc.client.call.duration", {
  description: "How long RPCs took, retries included",
  boundaries: latencyBounds
})

/**
 * `grpc.client.call.sent_total_message_size`, a histogram in bytes by `grpc.method`, `grpc.target` and `grpc.status`: the
 * request messages before compression.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callSent: Metric.Histogram<number> = Metric.histogram("grpc.client.call.sent_total_message_size", {
  description: "Bytes of request messages per RPC",
  boundaries: sizeBounds
})

/**
 * `grpc.client.call.rcvd_total_message_size`, a histogram in bytes by `grpc.method`, `grpc.target` and `grpc.status`: the
 * response messages after decompression.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callReceived: Metric.Histogram<number> = Metric.histogram("grpc.client.call.rcvd_total_message_size", {
  description: "Bytes of response messages per RPC",
  boundaries: sizeBounds
})

/**
 * Keeps client metrics in the manner of gRFC A66; export them with Effect's OTLP or Prometheus modules.
 *
 * @category metrics
 * @since 0.1.0
 */
export const metrics: GrpcClientMiddleware = (call, next) =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const method = { "grpc.method": call.path.slice(1), "grpc.target": call.target }
    const start = clock.monotonicTimeNanosUnsafe()
    return Effect.andThen(
      Metric.update(Metric.withAttributes(callStarted, method), 1),
      Effect.onExit(next(call), (exit) => {
        const ended = { ...method, "grpc.status": codeOf(exit) }
        const seconds = Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000_000
        return Effect.all([
          Metric.update(Metric.withAttributes(callDuration, ended), seconds),
          Metric.update(Metric.withAttributes(callSent, ended), call.sentBytes()),
          Metric.update(Metric.withAttributes(callReceived, ended), call.receivedBytes())
        ], { discard: true })
      })
    )
  })
