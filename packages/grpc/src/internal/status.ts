/** From the exit of a handler to the status that its client gets. */
import { create, toBinary } from "@bufbuild/protobuf"
import { Metadata, status as grpcStatus } from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import { StatusSchema } from "../gen/google/rpc/status_pb.ts"
import { codes, GrpcError } from "../GrpcError.ts"
import { empty, toGrpcJs } from "../GrpcMetadata.ts"
import { shutDown } from "./shutDown.ts"

export interface Status {
  readonly code: number
  readonly details: string
  readonly metadata: Metadata
}

/** grpc-js clones the metadata of a status, so that one empty object serves all. */
const noMetadata = new Metadata()

/** What a client's header list can bear: characters of a message, their percent-encoded form, bytes of rich details. */
const maxDetails = 2_048
const maxEncoded = 6_144
const maxRich = 8_192

/** grpc-js throws a `URIError` for a lone surrogate; it becomes U+FFFD. */
export const clean = (details: string): string => (details as string & { toWellFormed(): string }).toWellFormed()

const bounded = (message: unknown): string => {
  const details = String(message)
  let cut = clean(details.slice(0, maxDetails))
  for (let size = encodeURI(cut).length; size > maxEncoded; size = encodeURI(cut).length) {
    cut = clean(cut.slice(0, Math.floor((cut.length * maxEncoded) / size)))
  }
  return cut.length < details.length ? `${cut}...` : cut
}

export const make = (code: number, details: unknown, metadata: Metadata = noMetadata): Status => ({
  code,
  details: bounded(details),
  metadata
})

/** Throws where the error has details that are none. */
export const fromError = (error: GrpcError): Status => {
  const code = codes[error.code] ?? grpcStatus.UNKNOWN
  if (error.details === undefined && error.trailers === undefined) return make(code, error.message)
  const metadata = toGrpcJs(error.trailers ?? empty)
  if (error.details !== undefined) {
    const rich = toBinary(
      StatusSchema,
      create(StatusSchema, { code, message: bounded(error.message), details: [...error.details] })
    )
    // Larger ones would cost the client its connection's header list, and with it the status.
    if (rich.byteLength <= maxRich) metadata.set("grpc-status-details-bin", Buffer.from(rich))
  }
  return make(code, error.message, metadata)
}

export const ok: Status = make(grpcStatus.OK, "OK")

/** Retryable: nothing else tells a client that another server may serve it. */
export const shuttingDown: Status = make(grpcStatus.UNAVAILABLE, "server is shutting down")

/** Nothing of the RPC was done: it may be retried. */
export const tooManyInFlight: Status = make(grpcStatus.RESOURCE_EXHAUSTED, "too many RPCs in flight")

export const internalError: Status = make(grpcStatus.INTERNAL, "internal error")

const unknownError: Status = make(grpcStatus.UNKNOWN, "unknown error")

const interruptedItself: Status = make(grpcStatus.CANCELLED, "the handler interrupted itself")

/** The status of a failed handler, and whether its cause is one to log: the client must not see it. */
export const fromCause = (
  cause: Cause.Cause<unknown>,
  isStopping: boolean
): { readonly status: Status; readonly isDefect: boolean } => {
  let interrupted = false
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason)) {
      if (!(reason.error instanceof GrpcError)) return { status: unknownError, isDefect: true }
      try {
        return { status: fromError(reason.error), isDefect: Cause.hasDies(cause) }
      } catch {
        return { status: internalError, isDefect: true }
      }
    }
    if (Cause.isInterruptReason(reason)) interrupted = true
    else if (reason.defect === shutDown) return { status: shuttingDown, isDefect: false }
  }
  const isDefect = Cause.hasDies(cause)
  if (interrupted && isStopping) return { status: shuttingDown, isDefect }
  return isDefect ? { status: internalError, isDefect } : { status: interruptedItself, isDefect }
}
