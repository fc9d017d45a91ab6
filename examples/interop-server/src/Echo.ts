/** Metadata that comes back: one key as a header, another as a trailer. */
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as Effect from "effect/Effect"

const initialKey = "x-grpc-test-echo-initial"
const trailingKey = "x-grpc-test-echo-trailing-bin"

export const middleware: GrpcMiddleware.GrpcMiddleware = GrpcMiddleware.make((rpc) =>
  Effect.flatMap(GrpcCall, (call) => {
    const initial = GrpcMetadata.getAll(call.metadata, initialKey)
    if (initial.length > 0) call.addHeaders(GrpcMetadata.make({ [initialKey]: initial }))
    const trailing = GrpcMetadata.getAllBinary(call.metadata, trailingKey)
    if (trailing.length > 0) call.addTrailers(GrpcMetadata.make({ [trailingKey]: trailing }))
    return rpc
  })
)
