/**
 * What runs around handlers: an ordinary function from the Effect that serves an RPC to another one.
 *
 * The Effect serves the whole RPC: for a response stream it ends with the stream. So one middleware is for all four kinds. It
 * can ask `GrpcCall`, fail with a `GrpcError` before or after the handler, retry nothing, and provide services to handlers.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { GrpcCall } from "./GrpcCall.ts"
import { type Code, codes, GrpcError, resourceExhausted } from "./GrpcError.ts"
import { GrpcLimitsError } from "./GrpcLimits.ts"
import * as GrpcMetadata from "./GrpcMetadata.ts"
import * as Status from "./internal/status.ts"

/**
 * A middleware: what it provides to the handlers, and what it requires itself besides `GrpcCall`.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcMiddleware<out Provides = never, out Requires = never> {
  readonly "~lastcall/GrpcMiddleware": { readonly provides: Provides; readonly requires: Requires }
  /** Without types: they are checked where the middleware is made and where it is used. */
  readonly wrap: (rpc: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>
}

/**
 * Makes a middleware of a function. What it requires besides `GrpcCall` is named: `make<Database>((rpc) => ...)`.
 *
 * **Example** (A header for every answer)
 *
 * ```ts
 * import * as GrpcCall from "@lastcall/grpc/GrpcCall"
 * import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
 * import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
 * import * as Effect from "effect/Effect"
 *
 * const version = GrpcMetadata.make({ "x-version": "7" })
 *
 * export const withVersion = GrpcMiddleware.make((rpc) => Effect.andThen(GrpcCall.addHeaders(version), rpc))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Requires = never>(
  wrap: <A, R>(rpc: Effect.Effect<A, GrpcError, R>) => Effect.Effect<A, GrpcError, R | NoInfer<Requires> | GrpcCall>
): GrpcMiddleware<never, Exclude<NoInfer<Requires>, GrpcCall>> => unsafe(wrap)

/**
 * A middleware that makes a service for each RPC and provides it to the handler: an authenticated user, a tenant. If making
 * it fails, the handler does not run and the client gets the error.
 *
 * **Example** (An authenticated user)
 *
 * ```ts
 * import * as GrpcCall from "@lastcall/grpc/GrpcCall"
 * import * as GrpcError from "@lastcall/grpc/GrpcError"
 * import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
 * import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 *
 * class User extends Context.Service<User, { readonly name: string }>()("app/User") {}
 *
 * export const authenticated = GrpcMiddleware.provide(
 *   User,
 *   Effect.flatMap(GrpcCall.metadata, (metadata) => {
 *     const name = GrpcMetadata.get(metadata, "x-user")
 *     return name === undefined ? Effect.fail(GrpcError.unauthenticated("who are you?")) : Effect.succeed({ name })
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const provide = <Id, Service, R>(
  key: Context.Key<Id, Service>,
  service: Effect.Effect<Service, GrpcError, R>
): GrpcMiddleware<Id, Exclude<R, GrpcCall>> =>
  unsafe((rpc) => Effect.flatMap(service, (value) => Effect.provideService(rpc, key, value)))

const unsafe = <Provides, Requires>(
  wrap: (rpc: Effect.Effect<never, GrpcError, never>) => Effect.Effect<never, GrpcError, unknown>
): GrpcMiddleware<Provides, Requires> => ({ wrap }) as unknown as GrpcMiddleware<Provides, Requires>

/**
 * The name of the status that the RPC ends with: what its client gets, if it is still there. An RPC that was interrupted ends
 * with UNAVAILABLE if a stop did so, with DEADLINE_EXCEEDED if its deadline is over, and else with CANCELLED.
 *
 * @category statuses
 * @since 0.1.0
 */
export const codeOf = (exit: Exit.Exit<unknown, unknown>, call: GrpcCall["Service"]): Code | "OK" => {
  if (Exit.isSuccess(exit)) return "OK"
  const code = names[Status.fromCause(exit.cause, call.isStopping()).status.code] ?? "UNKNOWN"
  // A timer of Node may be a millisecond early.
  return code === "CANCELLED" && Date.now() >= call.deadline - 1 ? "DEADLINE_EXCEEDED" : code
}

const names = Object.fromEntries(Object.entries(codes).map(([name, code]) => [code, name])) as {
  readonly [code: number]: Code | "OK"
}

/**
 * Logs each RPC when it has ended: method, status, duration in milliseconds, peer, bytes. OK and what the client is to blame
 * for as information, the rest (UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS, UNIMPLEMENTED) as warnings.
 *
 * @category middleware
 * @since 0.1.0
 */
export const accessLog: GrpcMiddleware = make((rpc) =>
  Effect.flatMap(GrpcCall, (call) =>
    Effect.flatMap(Clock.Clock, (clock) => {
      const start = clock.monotonicTimeNanosUnsafe()
      return Effect.onExit(rpc, (exit) => {
        const code = codeOf(exit, call)
        const log = serverErrors.has(code) ? Effect.logWarning : Effect.logInfo
        return Effect.annotateLogs(log(`${call.path} ${code}`), {
          "rpc.method": call.path.slice(1),
          "rpc.grpc.status_code": codes[code],
          durationMillis: Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000,
          peer: call.peer,
          receivedBytes: call.receivedBytes(),
          sentBytes: call.sentBytes()
        })
      })
    }))
)

const serverErrors: ReadonlySet<string> = new Set(["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"])

/**
 * A limit of RPCs that run at the same time, over all methods that it is used for. What is over it is refused with
 * RESOURCE_EXHAUSTED, and may be retried. Throws `GrpcLimitsError` for a limit that is not above 0.
 *
 * @category middleware
 * @since 0.1.0
 */
export const concurrencyLimit = (limit: number): GrpcMiddleware => {
  if (!(limit > 0)) throw new GrpcLimitsError({ limit: "concurrencyLimit", value: limit, reason: "must be above 0" })
  let running = 0
  return make((rpc) =>
    Effect.suspend(() => {
      if (running >= limit) return Effect.fail(resourceExhausted(`more than ${limit} RPCs at the same time`))
      running++
      return Effect.ensuring(rpc, Effect.sync(() => running--))
    })
  )
}

/**
 * A deadline of the server's own: an RPC that takes longer is interrupted and its client gets DEADLINE_EXCEEDED.
 *
 * @category middleware
 * @since 0.1.0
 */
export const timeout = (duration: Duration.Input): GrpcMiddleware =>
  make((rpc) =>
    Effect.timeoutOrElse(rpc, {
      duration,
      orElse: () =>
        Effect.fail(
          new GrpcError({
            code: "DEADLINE_EXCEEDED",
            message: `the server gives an RPC ${Duration.format(Duration.fromInputUnsafe(duration))}`
          })
        )
    })
  )

/**
 * The W3C baggage that came with the RPC, as it was sent; for clients that pass it on.
 *
 * @category tracing
 * @since 0.1.0
 */
export const baggage: Effect.Effect<string | undefined, never, GrpcCall> = Effect.map(
  GrpcCall,
  (call) => GrpcMetadata.get(call.metadata, "baggage")
)

/**
 * A server span for each RPC, named by its method, with OpenTelemetry's RPC attributes. Its parent is what the client sent as
 * W3C `traceparent`; `tracestate` and `baggage` are attributes.
 *
 * @category tracing
 * @since 0.1.0
 */
export const tracing: GrpcMiddleware = unsafe((rpc) =>
  Effect.flatMap(GrpcCall, (call) => {
    const name = call.path.slice(1)
    const slash = name.lastIndexOf("/")
    const state = GrpcMetadata.get(call.metadata, "tracestate")
    const carried = GrpcMetadata.get(call.metadata, "baggage")
    const parent = parseTraceparent(GrpcMetadata.get(call.metadata, "traceparent"))
    return Effect.useSpan(
      name,
      {
        kind: "server",
        ...(Option.isSome(parent) ? { parent: parent.value } : { root: true }),
        attributes: {
          "rpc.system": "grpc",
          "rpc.service": name.slice(0, slash),
          "rpc.method": name.slice(slash + 1),
          "network.peer.address": call.peer,
          ...(state === undefined ? {} : { "w3c.tracestate": state }),
          ...(carried === undefined ? {} : { "w3c.baggage": carried })
        }
      },
      // Without a stack trace: it would be an `Error` for each RPC, and always the same.
      (span) =>
        Effect.onExit(Effect.withParentSpan(rpc, span, { captureStackTrace: false }), (exit) =>
          Effect.sync(() => span.attribute("rpc.grpc.status_code", codes[codeOf(exit, call)])))
    )
  })
)

/**
 * The span of a W3C `traceparent` header, version 00 or newer; none if it is missing or malformed.
 *
 * @category tracing
 * @since 0.1.0
 */
export const parseTraceparent = (header: string | undefined): Option.Option<Tracer.ExternalSpan> => {
  const match = header === undefined
    ? null
    : /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(header)
  return match === null ? Option.none() : Option.some(Tracer.externalSpan({
    traceId: match[1]!,
    spanId: match[2]!,
    sampled: (Number.parseInt(match[3]!, 16) & 1) === 1
  }))
}

/**
 * `grpc.server.call.started`, a counter by `grpc.method` (gRFC A66).
 *
 * @category metrics
 * @since 0.1.0
 */
export const callStarted: Metric.Counter<number> = Metric.counter("grpc.server.call.started", {
  description: "The number of RPCs started",
  incremental: true
})

const latency = [
  0,
  0.00001,
  0.00005,
  0.0001,
  0.0003,
  0.0006,
  0.0008,
  0.001,
  0.002,
  0.003,
  0.004,
  0.005,
  0.006,
  0.008,
  0.01,
  0.013,
  0.016,
  0.02,
  0.025,
  0.03,
  0.04,
  0.05,
  0.065,
  0.08,
  0.1,
  0.13,
  0.16,
  0.2,
  0.25,
  0.3,
  0.4,
  0.5,
  0.65,
  0.8,
  1,
  2,
  5,
  10,
  20,
  50,
  100
]

/**
 * `grpc.server.call.duration`, a histogram in seconds by `grpc.method` and `grpc.status`, with the bounds of gRFC A66.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callDuration: Metric.Histogram<number> = Metric.histogram("grpc.server.call.duration", {
  description: "How long RPCs took, from the handler's begin to its end",
  boundaries: latency
})

const sizes = [
  0,
  1024,
  2048,
  4096,
  16_384,
  65_536,
  262_144,
  1_048_576,
  4_194_304,
  16_777_216,
  67_108_864,
  268_435_456,
  1_073_741_824,
  4_294_967_296
]

/**
 * `grpc.server.call.sent_total_compressed_message_size`, a histogram in bytes by `grpc.method` and `grpc.status` (gRFC A66).
 * The server compresses nothing, so that it is the size of the messages.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callSent: Metric.Histogram<number> = Metric.histogram(
  "grpc.server.call.sent_total_compressed_message_size",
  { description: "Bytes of response messages per RPC", boundaries: sizes }
)

/**
 * `grpc.server.call.rcvd_total_compressed_message_size`, a histogram in bytes by `grpc.method` and `grpc.status` (gRFC A66).
 * Of messages that came compressed it counts the size after decompression.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callReceived: Metric.Histogram<number> = Metric.histogram(
  "grpc.server.call.rcvd_total_compressed_message_size",
  { description: "Bytes of request messages per RPC", boundaries: sizes }
)

/**
 * Keeps the server metrics of gRFC A66; export them with Effect's OTLP or Prometheus modules.
 *
 * @category metrics
 * @since 0.1.0
 */
export const metrics: GrpcMiddleware = make((rpc) =>
  Effect.flatMap(GrpcCall, (call) =>
    Effect.flatMap(Clock.Clock, (clock) => {
      const method = { "grpc.method": call.path.slice(1) }
      const start = clock.monotonicTimeNanosUnsafe()
      return Effect.andThen(
        Metric.update(Metric.withAttributes(callStarted, method), 1),
        Effect.onExit(rpc, (exit) => {
          const ended = { ...method, "grpc.status": codeOf(exit, call) }
          const seconds = Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000_000
          return Effect.all([
            Metric.update(Metric.withAttributes(callDuration, ended), seconds),
            Metric.update(Metric.withAttributes(callSent, ended), call.sentBytes()),
            Metric.update(Metric.withAttributes(callReceived, ended), call.receivedBytes())
          ], { discard: true })
        })
      )
    }))
)

/** @internal */
export const compose = (
  middleware: ReadonlyArray<GrpcMiddleware<unknown, unknown>>
): ((rpc: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>) | undefined =>
  middleware.length === 0
    ? undefined
    : (rpc) => middleware.reduceRight((inner, { wrap }) => wrap(inner), rpc)
