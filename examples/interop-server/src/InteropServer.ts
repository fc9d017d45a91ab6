/** The server: TestService, health and reflection. `grpc.testing.UnimplementedService` is not served, which is its point. */
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import type { GrpcListener, GrpcListenerError } from "@lastcall/grpc/GrpcListener"
import * as GrpcReflection from "@lastcall/grpc/GrpcReflection"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestService from "./TestService.ts"

export const layer = (options: {
  readonly listen: ReadonlyArray<GrpcListener>
  readonly onListening: (server: GrpcServer.GrpcServer) => Effect.Effect<unknown>
}): Layer.Layer<never, GrpcListenerError> =>
  GrpcServer.layer("interop", {
    services: [TestService.TestService, GrpcHealth.Health, ...GrpcReflection.services],
    ...options
  }).pipe(Layer.provide([
    TestService.layer,
    GrpcHealth.layer({ statuses: { [TestService.TestService.descriptor.typeName]: "SERVING" } }),
    GrpcReflection.layer()
  ]))
