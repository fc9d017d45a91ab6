/** Lastcall, as a program uses it. */
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Handler, Serve } from "../ServerSpec.ts"
import * as Counted from "./Counted.ts"
import * as Definition from "./Definition.ts"

export const serve: Serve = async ({ codec, folder, handler, middleware, transport }) => {
  const { make, read, tick } = await Counted.of(codec)
  const unary: { readonly [K in Handler]: (request: unknown) => Effect.Effect<unknown> } = {
    sync: (request) => Effect.succeed(request),
    async: (request) => Effect.callback((resume) => void setImmediate(() => resume(Effect.succeed(request)))),
    never: () => Effect.never
  }
  // Both codecs have the same handlers: to the types, messages are what protobuf-es or grpc-js hand over.
  const definition = (codec === "identity"
    ? Definition.make()
    : (await import("../gen/lastcall/bench/v1/bench_pb.ts")).BenchService) as ReturnType<typeof Definition.make>
  class Bench extends GrpcService.Service<Bench>()(definition) {}
  const BenchLive = Bench.toLayer({
    unary: unary[handler],
    serverStream: (request) => Stream.map(Stream.range(1, read(request)), () => tick),
    clientStream: (requests) => Effect.map(Stream.runFold(requests, () => 0, (count) => count + 1), make),
    bidi: (requests) => requests
  })
  const credentials = transport === "tls"
    ? GrpcCredentials.tls({ key: readFileSync(join(folder, "key.pem")), cert: readFileSync(join(folder, "cert.pem")) })
    : GrpcCredentials.insecure
  const scope = await Effect.runPromise(Scope.make())
  const server = await GrpcServer.make("bench", {
    services: [Bench],
    listen: [
      transport === "unix"
        ? GrpcListener.unix(join(folder, `${process.pid}.sock`))
        : GrpcListener.tcp({ host: "127.0.0.1", port: 0, credentials })
    ],
    stop: { grace: "30 seconds" },
    middleware: middleware.map((name) => GrpcMiddleware[name])
  }).pipe(Effect.provide(Layer.merge(BenchLive, Logger.layer([]))), Scope.provide(scope), Effect.runPromise)
  const address = server.addresses()[0]!
  if (address._tag !== "Tcp" && address._tag !== "Unix") throw new Error("neither a port nor a socket file")
  return {
    at: address,
    stop: (interrupt) => {
      if (interrupt) Effect.runFork(server.escalate)
      return Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }
}
