/** A channel of the test service in a scope of its own. */
import type { StopReport } from "@lastcall/core/StopReport"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import type { GrpcCredentialsError } from "@lastcall/grpc/GrpcCredentials"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

export interface OpenChannel {
  readonly channel: GrpcChannel.GrpcChannel["Service"]
  readonly echo: GrpcClient.Client<typeof EchoService>
  /** Closes the channel's scope. */
  readonly close: Effect.Effect<StopReport>
}

export const open = (
  options: GrpcChannel.Options
): Effect.Effect<OpenChannel, GrpcCredentialsError, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const channel = yield* Scope.provide(GrpcChannel.make(options), scope)
    // A test that failed half-way must not wait for the grace period.
    yield* Effect.addFinalizer(() => Effect.andThen(channel.escalate, Scope.close(scope, Exit.void)))
    const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
    return { channel, echo, close: Effect.andThen(Scope.close(scope, Exit.void), channel.stop) }
  })
