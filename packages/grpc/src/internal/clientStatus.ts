/** From the status that a client got to its error. */
import { fromBinary } from "@bufbuild/protobuf"
import type * as grpc from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { StatusSchema } from "../gen/google/rpc/status_pb.ts"
import { type Code, codes, GrpcError } from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"

const names = new Map<number, Code>(
  Object.entries(codes).flatMap(([name, code]) => code === 0 ? [] : [[code, name as Code] as const])
)

/** Details in a header of their own: gRPC's way to carry `google.rpc.Status`. */
const detailsKey = "grpc-status-details-bin"

/**
 * The headers or trailers that the server's program sent, without those of gRPC and of HTTP: an answer without messages has
 * both in one, and a handler that fails with the error of its own client would send them on.
 */
export const received = (metadata: grpc.Metadata): GrpcMetadata.GrpcMetadata => ({
  entries: GrpcMetadata.fromGrpcJs(metadata).entries.filter(([key]) =>
    key !== "content-type" && key !== "date" && !key.startsWith("grpc-")
  )
})

const richDetails = (metadata: grpc.Metadata): Pick<GrpcError, "details"> => {
  const [bytes] = metadata.get(detailsKey)
  if (!(bytes instanceof Uint8Array)) return {}
  try {
    const { details } = fromBinary(StatusSchema, bytes)
    return details.length === 0 ? {} : { details }
  } catch {
    // What cannot be read must not hide the error.
    return {}
  }
}

export const toError = ({ code, details, metadata }: grpc.StatusObject): GrpcError => {
  const trailers = received(metadata)
  return new GrpcError({
    // A code that gRPC does not have is UNKNOWN.
    code: names.get(code) ?? "UNKNOWN",
    message: details,
    ...richDetails(metadata),
    ...(trailers.entries.length === 0 ? {} : { trailers })
  })
}

/** The name of the status that an RPC of a client ended with, as the client knows it. */
export const codeOf = (exit: Exit.Exit<unknown, unknown>): Code | "OK" => {
  if (Exit.isSuccess(exit)) return "OK"
  let isDead = false
  for (const reason of exit.cause.reasons) {
    if (Cause.isFailReason(reason)) return reason.error instanceof GrpcError ? reason.error.code : "CANCELLED"
    if (!Cause.isInterruptReason(reason)) isDead = true
  }
  return isDead ? "UNKNOWN" : "CANCELLED"
}
