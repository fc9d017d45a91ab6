/** An answer that is late, as the client wants it. */
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

const key = "x-test-delay-ms"

/** The handler begins so many milliseconds after the RPC. */
export const middleware: GrpcMiddleware.GrpcMiddleware = GrpcMiddleware.make((rpc) =>
  Effect.flatMap(GrpcCall.metadata, (metadata) => {
    const millis = GrpcMetadata.get(metadata, key)
    if (millis === undefined) return rpc
    if (!/^\d{1,9}$/.test(millis)) {
      return Effect.fail(GrpcError.invalidArgument(`${key} is a whole number of milliseconds, not ${millis}`))
    }
    return Effect.delay(rpc, Duration.millis(Number(millis)))
  })
)
