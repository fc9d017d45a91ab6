/** From the exit of a handler to the status that its client gets. */
import { Metadata, status as grpcStatus } from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import { codes, GrpcError } from "../GrpcError.ts"
import { shutDown } from "./shutDown.ts"

export interface Status {
  readonly code: number
  readonly details: string
  readonly metadata: Metadata
}

/** grpc-js clones the metadata of a status, so that one empty object serves all. */
const noMetadata = new Metadata()

/** What a client's header list can bear; longer messages are cut. */
const maxDetails = 2_048

/** grpc-js throws a `URIError` for a lone surrogate; it becomes U+FFFD. */
export const clean = (details: string): string => (details as string & { toWellFormed(): string }).toWellFormed()

export const make = (code: number, details: string): Status => ({
  code,
  details: clean(details.length > maxDetails ? `${details.slice(0, maxDetails)}...` : details),
  metadata: noMetadata
})

export const ok: Status = make(grpcStatus.OK, "OK")

/** Retryable: nothing else tells a client that another server may serve it. */
export const shuttingDown: Status = make(grpcStatus.UNAVAILABLE, "server is shutting down")

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
      return reason.error instanceof GrpcError
        ? { status: make(codes[reason.error.code], reason.error.message), isDefect: false }
        : { status: unknownError, isDefect: true }
    }
    if (Cause.isInterruptReason(reason)) interrupted = true
    else if (reason.defect === shutDown) return { status: shuttingDown, isDefect: false }
  }
  const isDefect = Cause.hasDies(cause)
  if (interrupted && isStopping) return { status: shuttingDown, isDefect }
  return isDefect ? { status: internalError, isDefect } : { status: interruptedItself, isDefect }
}
