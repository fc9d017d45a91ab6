/** A gRPC server, with real HTTP/2 in memory, keeps the promises of the stop protocol. */
import { describe, it } from "@effect/vitest"
import { GrpcChannel } from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import * as StopLaws from "@lastcall/testing/StopLaws"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { definition, Echo } from "./Echo.ts"

describe("GrpcServer", () => {
  StopLaws.register(it.effect, (policy) =>
    Effect.gen(function*() {
      const works = new Map<string, Effect.Effect<string, string>>()
      const address = InMemoryGrpc.address("api")
      // Before the server, which stops first then.
      const channel = yield* InMemoryGrpc.channel(address)
      const server = yield* Effect.orDie(
        GrpcServer.make("api", { services: [Echo], listen: [address.listener], stop: policy })
      ).pipe(
        Effect.provide(Echo.toLayer({
          say: (name) => Effect.mapError(works.get(name)!, (message) => GrpcError.aborted(message)),
          spell: () => Stream.never,
          join: () => Effect.never,
          chat: (requests) => requests
        }))
      )
      const echo = yield* Effect.provideService(GrpcClient.make(definition), GrpcChannel, channel)
      return {
        stop: server,
        run: (work, name) =>
          Effect.suspend(() => {
            works.set(name, work)
            return echo.say(name)
          })
      }
    }), { turns: 30, runs: 20, linger: "300 millis" })
})
