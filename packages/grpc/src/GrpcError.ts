/**
 * The one error of an RPC: a gRPC status other than OK.
 *
 * @since 0.1.0
 */
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf"
import { create } from "@bufbuild/protobuf"
import { type Any, anyPack, anyUnpack } from "@bufbuild/protobuf/wkt"
import { Refused } from "@lastcall/core/InFlight"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import { RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts"
import * as Metadata from "./GrpcMetadata.ts"

/**
 * The names of the gRPC status codes and their numbers on the wire.
 *
 * @category models
 * @since 0.1.0
 */
export const codes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16
} as const

/**
 * The code of an error: every gRPC code but OK.
 *
 * @category models
 * @since 0.1.0
 */
export type Code = Exclude<keyof typeof codes, "OK">

/**
 * A rich detail of an error: a protobuf message with its type.
 *
 * @category models
 * @since 0.1.0
 */
export type Detail = Any

/**
 * An RPC that failed. A handler that fails with it answers its client with this code and message.
 *
 * **Gotchas**
 *
 * The message goes to the client. What must not leave the process belongs in `cause`, which never does. A message that is
 * longer than 2,048 characters is cut: a client's header list bears no more. Details go in a header too: keep them below
 * some kilobytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrpcError extends Data.TaggedError("GrpcError")<{
  readonly code: Code
  readonly message: string
  /** Sent as `google.rpc.Status` in the trailer `grpc-status-details-bin`. */
  readonly details?: ReadonlyArray<Detail>
  /** Sent as trailers. */
  readonly trailers?: Metadata.GrpcMetadata
  readonly cause?: unknown
}> {}

/**
 * A detail of a protobuf message; `GrpcErrorDetails` has the schemas of `google.rpc` (`ErrorInfo`, `RetryInfo`, ...).
 *
 * @category details
 * @since 0.1.0
 */
export const detail = <S extends DescMessage>(schema: S, message: MessageInitShape<S>): Detail =>
  anyPack(schema, create(schema, message))

/**
 * The error with these details added.
 *
 * **Example** (A field that is wrong)
 *
 * ```ts
 * import * as GrpcError from "@lastcall/grpc/GrpcError"
 * import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
 *
 * export const error = GrpcError.invalidArgument("the name is empty").pipe(
 *   GrpcError.withDetails([
 *     GrpcError.detail(GrpcErrorDetails.BadRequestSchema, {
 *       fieldViolations: [{ field: "name", description: "must not be empty" }]
 *     })
 *   ])
 * )
 * ```
 *
 * @category details
 * @since 0.1.0
 */
export const withDetails: {
  (details: ReadonlyArray<Detail>): (self: GrpcError) => GrpcError
  (self: GrpcError, details: ReadonlyArray<Detail>): GrpcError
} = dual(
  2,
  (self: GrpcError, details: ReadonlyArray<Detail>): GrpcError =>
    new GrpcError({ ...fields(self), details: [...(self.details ?? []), ...details] })
)

/**
 * The error with these trailers added.
 *
 * @category details
 * @since 0.1.0
 */
export const withTrailers: {
  (trailers: Metadata.GrpcMetadata): (self: GrpcError) => GrpcError
  (self: GrpcError, trailers: Metadata.GrpcMetadata): GrpcError
} = dual(
  2,
  (self: GrpcError, trailers: Metadata.GrpcMetadata): GrpcError =>
    new GrpcError({ ...fields(self), trailers: Metadata.merge(self.trailers ?? Metadata.empty, trailers) })
)

/**
 * The details of a type that an error has.
 *
 * @category details
 * @since 0.1.0
 */
export const detailsOf = <S extends DescMessage>(self: GrpcError, schema: S): ReadonlyArray<MessageShape<S>> =>
  (self.details ?? []).flatMap((detail) => anyUnpack(detail, schema) ?? [])

/**
 * How long the server asks to wait before the RPC is made again: the longest of its `google.rpc.RetryInfo`. `undefined` if it
 * does not say.
 *
 * @category retrying
 * @since 0.1.0
 */
export const retryDelay = (self: GrpcError): Duration.Duration | undefined => {
  const delays = detailsOf(self, RetryInfoSchema).flatMap(({ retryDelay }) =>
    retryDelay === undefined ? [] : [Number(retryDelay.seconds) * 1_000 + retryDelay.nanos / 1_000_000]
  )
  return delays.length === 0 ? undefined : Duration.millis(Math.max(0, ...delays))
}

/**
 * Whether the same RPC may do better later: it is UNAVAILABLE, or the server says when to try again. Not if the client's own
 * channel stops. Only the program knows whether a method may run more than once.
 *
 * **Example** (Pauses as the server asks, or else a schedule's)
 *
 * ```ts
 * import * as GrpcError from "@lastcall/grpc/GrpcError"
 * import * as Duration from "effect/Duration"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * const pauses = Schedule.exponential("50 millis").pipe(
 *   Schedule.setInputType<GrpcError.GrpcError>(),
 *   Schedule.modifyDelay(({ duration, input }) =>
 *     Effect.succeed(Duration.max(duration, GrpcError.retryDelay(input) ?? Duration.zero))
 *   ),
 *   Schedule.upTo({ times: 4 })
 * )
 *
 * export const retried = <A, R>(rpc: Effect.Effect<A, GrpcError.GrpcError, R>) =>
 *   Effect.retry(rpc, { schedule: pauses, while: GrpcError.isRetryable })
 * ```
 *
 * @category retrying
 * @since 0.1.0
 */
export const isRetryable = (self: GrpcError): boolean =>
  (self.code === "UNAVAILABLE" && !(self.cause instanceof Refused)) || retryDelay(self) !== undefined

const fields = ({ cause, code, details, message, trailers }: GrpcError) => ({
  code,
  message,
  ...(details === undefined ? {} : { details }),
  ...(trailers === undefined ? {} : { trailers }),
  ...(cause === undefined ? {} : { cause })
})

const of = (code: Code) => (message: string, cause?: unknown): GrpcError =>
  new GrpcError(cause === undefined ? { code, message } : { code, message, cause })

/** The operation was cancelled, typically by the caller. @category constructors @since 0.1.0 */
export const cancelled: (message: string, cause?: unknown) => GrpcError = of("CANCELLED")

/** An error that fits no other code. @category constructors @since 0.1.0 */
export const unknown: (message: string, cause?: unknown) => GrpcError = of("UNKNOWN")

/** An argument is wrong whatever the state of the system. @category constructors @since 0.1.0 */
export const invalidArgument: (message: string, cause?: unknown) => GrpcError = of("INVALID_ARGUMENT")

/** The deadline passed before the operation ended. @category constructors @since 0.1.0 */
export const deadlineExceeded: (message: string, cause?: unknown) => GrpcError = of("DEADLINE_EXCEEDED")

/** What was asked for does not exist. @category constructors @since 0.1.0 */
export const notFound: (message: string, cause?: unknown) => GrpcError = of("NOT_FOUND")

/** What was to be made exists. @category constructors @since 0.1.0 */
export const alreadyExists: (message: string, cause?: unknown) => GrpcError = of("ALREADY_EXISTS")

/** The caller is known and may not. @category constructors @since 0.1.0 */
export const permissionDenied: (message: string, cause?: unknown) => GrpcError = of("PERMISSION_DENIED")

/** A quota or a resource is used up. @category constructors @since 0.1.0 */
export const resourceExhausted: (message: string, cause?: unknown) => GrpcError = of("RESOURCE_EXHAUSTED")

/** The system is not in the state that the operation needs. @category constructors @since 0.1.0 */
export const failedPrecondition: (message: string, cause?: unknown) => GrpcError = of("FAILED_PRECONDITION")

/** The operation lost a conflict and may be tried again as a whole. @category constructors @since 0.1.0 */
export const aborted: (message: string, cause?: unknown) => GrpcError = of("ABORTED")

/** The operation went past the valid range. @category constructors @since 0.1.0 */
export const outOfRange: (message: string, cause?: unknown) => GrpcError = of("OUT_OF_RANGE")

/** The server does not do this. @category constructors @since 0.1.0 */
export const unimplemented: (message: string, cause?: unknown) => GrpcError = of("UNIMPLEMENTED")

/** An invariant of the system is broken. @category constructors @since 0.1.0 */
export const internal: (message: string, cause?: unknown) => GrpcError = of("INTERNAL")

/** The service cannot be had now; trying again may help. @category constructors @since 0.1.0 */
export const unavailable: (message: string, cause?: unknown) => GrpcError = of("UNAVAILABLE")

/** Data was lost or corrupted for good. @category constructors @since 0.1.0 */
export const dataLoss: (message: string, cause?: unknown) => GrpcError = of("DATA_LOSS")

/** The caller has not said who it is. @category constructors @since 0.1.0 */
export const unauthenticated: (message: string, cause?: unknown) => GrpcError = of("UNAUTHENTICATED")
