/**
 * What runs around handlers: an ordinary function from the Effect that serves an RPC to another one.
 *
 * The Effect serves the whole RPC: for a response stream it ends with the stream. So one middleware is for all four kinds. It
 * can ask `GrpcCall`, fail with a `GrpcError` before or after the handler, retry nothing, and provide services to handlers.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { GrpcCall } from "./GrpcCall.ts"
import { type Code, codes, GrpcError, resourceExhausted } from "./GrpcError.ts"
import { duration as checkedDuration, GrpcLimitsError } from "./GrpcLimits.ts"
import * as GrpcMetadata from "./GrpcMetadata.ts"
import { latencyBounds, sizeBounds } from "./internal/metricBounds.ts"
import * as ServerSpan from "./internal/serverSpan.ts"
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
  /** @internal */
  readonly observer?: Observer
}

/**
 * What only watches the begin and the end of an RPC needs no Effect around it. A server calls it outside of the handler's
 * fiber, which costs a fraction, where nothing that is not an observer lies outside of it: once with what all handlers run
 * in, then for each RPC with its own context.
 *
 * @internal
 */
export type Observer = (context: Context.Context<never>) => Observe

/** @internal */
export type Observe = (call: GrpcCall["Service"], context: Context.Context<never>) => Observed

/** @internal */
export interface Observed {
  /** What the handler runs in. */
  readonly context: Context.Context<never>
  readonly end: (exit: Exit.Exit<unknown, unknown>) => void
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

const fromObserver = (observer: Observer): GrpcMiddleware => ({
  ...make((rpc) =>
    Effect.flatMap(Effect.context<GrpcCall>(), (all) => {
      const { context, end } = observer(all)(Context.get(all, GrpcCall), all)
      return Effect.onExit(Effect.provideContext(rpc, context), (exit) => Effect.sync(() => end(exit)))
    })
  ),
  observer
})

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
 * A deadline of the server's own: an RPC that takes longer is interrupted and its client gets DEADLINE_EXCEEDED. Throws
 * `GrpcLimitsError` for what is no duration, or not longer than 0.
 *
 * @category middleware
 * @since 0.1.0
 */
export const timeout = (duration: Duration.Input): GrpcMiddleware => {
  const checked = checkedDuration("timeout", duration)
  return make((rpc) =>
    Effect.timeoutOrElse(rpc, {
      duration: checked,
      orElse: () =>
        Effect.fail(
          new GrpcError({
            code: "DEADLINE_EXCEEDED",
            message: `the server gives an RPC ${Duration.format(checked)}`
          })
        )
    })
  )
}

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
 * W3C `traceparent`; `tracestate` and `baggage` are attributes. A tracer that throws is logged, and its RPC is served.
 *
 * @category tracing
 * @since 0.1.0
 */
export const tracing: GrpcMiddleware = fromObserver((base) => {
  const spans = ServerSpan.make(base)
  if (spans === undefined) return (_, context) => ({ context, end: () => {} })
  const run = Effect.runForkWith(base)
  const log = (call: GrpcCall["Service"], how: string, error: unknown): void =>
    void run(Effect.logError(`the span of ${call.path} could not be ${how}`, Cause.die(error)))
  const begin = ({ metadata, path, peer }: GrpcCall["Service"]): Tracer.Span => {
    const slash = path.lastIndexOf("/")
    const span = spans.begin(path.slice(1), parseTraceparent(GrpcMetadata.get(metadata, "traceparent")))
    span.attribute("rpc.system", "grpc")
    span.attribute("rpc.service", path.slice(1, slash))
    span.attribute("rpc.method", path.slice(slash + 1))
    span.attribute("network.peer.address", peer)
    const state = GrpcMetadata.get(metadata, "tracestate")
    if (state !== undefined) span.attribute("w3c.tracestate", state)
    const carried = GrpcMetadata.get(metadata, "baggage")
    if (carried !== undefined) span.attribute("w3c.baggage", carried)
    return span
  }
  return (call, context) => {
    let span: Tracer.Span
    try {
      span = begin(call)
    } catch (error) {
      log(call, "made", error)
      return { context, end: () => {} }
    }
    return {
      context: Context.add(context, Tracer.ParentSpan, span),
      // Beneath another middleware it runs in the Effect of the RPC, which what it throws would fail.
      end(exit) {
        try {
          span.attribute("rpc.grpc.status_code", codes[codeOf(exit, call)])
          span.end(spans.now(), exit)
        } catch (error) {
          log(call, "ended", error)
        }
      }
    }
  }
})

/**
 * The span of a W3C `traceparent` header, version 00 or newer; none if it is missing or malformed.
 *
 * @category tracing
 * @since 0.1.0
 */
export const parseTraceparent = (header: string | undefined): Option.Option<Tracer.ExternalSpan> => {
  const match = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(
    header ?? ""
  )
  return match === null ? Option.none() : Option.some(Tracer.externalSpan({
    traceId: match[1]!,
    spanId: match[2]!,
    sampled: (Number.parseInt(match[3]!, 16) & 1) === 1
  }))
}

type Attributes = { readonly [name: string]: string }

const startedOf = (attributes?: Attributes): Metric.Counter<number> =>
  Metric.counter("grpc.server.call.started", {
    description: "The number of RPCs started",
    incremental: true,
    attributes
  })

const durationOf = (attributes?: Attributes): Metric.Histogram<number> =>
  Metric.histogram("grpc.server.call.duration", {
    description: "How long RPCs took, from the handler's begin to its end",
    boundaries: latencyBounds,
    attributes
  })

const sentOf = (attributes?: Attributes): Metric.Histogram<number> =>
  Metric.histogram("grpc.server.call.sent_total_compressed_message_size", {
    description: "Bytes of response messages per RPC",
    boundaries: sizeBounds,
    attributes
  })

const receivedOf = (attributes?: Attributes): Metric.Histogram<number> =>
  Metric.histogram("grpc.server.call.rcvd_total_compressed_message_size", {
    description: "Bytes of request messages per RPC",
    boundaries: sizeBounds,
    attributes
  })

/**
 * `grpc.server.call.started`, a counter by `grpc.method` (gRFC A66).
 *
 * @category metrics
 * @since 0.1.0
 */
export const callStarted: Metric.Counter<number> = startedOf()

/**
 * `grpc.server.call.duration`, a histogram in seconds by `grpc.method` and `grpc.status`, with the bounds of gRFC A66.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callDuration: Metric.Histogram<number> = durationOf()

/**
 * `grpc.server.call.sent_total_compressed_message_size`, a histogram in bytes by `grpc.method` and `grpc.status` (gRFC A66).
 * The server compresses nothing, so that it is the size of the messages.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callSent: Metric.Histogram<number> = sentOf()

/**
 * `grpc.server.call.rcvd_total_compressed_message_size`, a histogram in bytes by `grpc.method` and `grpc.status` (gRFC A66).
 * Of messages that came compressed it counts the size after decompression.
 *
 * @category metrics
 * @since 0.1.0
 */
export const callReceived: Metric.Histogram<number> = receivedOf()

interface Ended {
  readonly duration: Metric.Histogram<number>
  readonly sent: Metric.Histogram<number>
  readonly received: Metric.Histogram<number>
}

interface MethodMetrics {
  readonly started: Metric.Counter<number>
  /** By status. */
  readonly ended: Map<string, Ended>
}

/** By path. A metric that has its attributes from the begin keeps its key, which is most of the cost of an update. */
const methodMetrics = new Map<string, MethodMetrics>()

const metricsOf = (path: string): MethodMetrics => {
  let metrics = methodMetrics.get(path)
  if (metrics === undefined) {
    metrics = { started: startedOf({ "grpc.method": path.slice(1) }), ended: new Map() }
    methodMetrics.set(path, metrics)
  }
  return metrics
}

const endedOf = ({ ended }: MethodMetrics, path: string, status: string): Ended => {
  let metrics = ended.get(status)
  if (metrics === undefined) {
    const attributes = { "grpc.method": path.slice(1), "grpc.status": status }
    metrics = { duration: durationOf(attributes), sent: sentOf(attributes), received: receivedOf(attributes) }
    ended.set(status, metrics)
  }
  return metrics
}

/**
 * Keeps the server metrics of gRFC A66; export them with Effect's OTLP or Prometheus modules.
 *
 * @category metrics
 * @since 0.1.0
 */
export const metrics: GrpcMiddleware = fromObserver((base) => {
  const clock = Context.get(base, Clock.Clock)
  return (call, context) => {
    const method = metricsOf(call.path)
    const start = clock.monotonicTimeNanosUnsafe()
    method.started.updateUnsafe(1, context)
    return {
      context,
      end(exit) {
        const ended = endedOf(method, call.path, codeOf(exit, call))
        ended.duration.updateUnsafe(Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000_000, context)
        ended.sent.updateUnsafe(call.sentBytes(), context)
        ended.received.updateUnsafe(call.receivedBytes(), context)
      }
    }
  }
})

/**
 * What runs around a handler: the observers that are outermost, then the others as one function.
 *
 * @internal
 */
export interface Composed {
  readonly observers: ReadonlyArray<Observe>
  /** `undefined` if there is nothing else. */
  readonly wrap: ((rpc: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>) | undefined
}

/**
 * `context` is what the handlers run in.
 *
 * @internal
 */
export const compose = (
  middleware: ReadonlyArray<GrpcMiddleware<unknown, unknown>>,
  context: Context.Context<never>
): Composed => {
  const observers: Array<Observe> = []
  for (const { observer } of middleware) {
    if (observer === undefined) break
    observers.push(observer(context))
  }
  const others = middleware.slice(observers.length)
  return {
    observers,
    wrap: others.length === 0 ? undefined : (rpc) => others.reduceRight((inner, { wrap }) => wrap(inner), rpc)
  }
}
