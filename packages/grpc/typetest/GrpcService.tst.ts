import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"
import { EchoServiceService } from "../test/gen-ts-proto/lastcall/test/v1/echo.ts"
import { EchoService, type SayRequest } from "../test/gen/lastcall/test/v1/echo_pb.ts"

class Echo extends GrpcService.Service<Echo>()(EchoService) {}
class TsEcho extends GrpcService.Service<TsEcho>()(EchoServiceService) {}
class Database extends Context.Service<Database, { readonly name: string }>()("typetest/Database") {}

const rest = {
  count: () => Stream.empty,
  sum: () => Effect.succeed({ total: 0 }),
  chat: () => Stream.empty
}
const handlers = { ...rest, say: () => Effect.succeed({ text: "" }) }

describe("handlers", () => {
  it("have the types of the descriptor", () => {
    Echo.of({
      say: (request) => {
        expect(request).type.toBe<SayRequest>()
        return Effect.succeed({ text: request.text })
      },
      count: ({ to }) => Stream.make({ n: to }),
      sum: (requests) => {
        expect(requests).type.toBeAssignableTo<Stream.Stream<{ readonly n: number }, GrpcError.GrpcError>>()
        return Effect.succeed({ total: 0 })
      },
      chat: (requests) => Stream.map(requests, ({ text }) => ({ text }))
    })
  })

  it("of a grpc-js definition too", () => {
    expect(TsEcho.of).type.toBeCallableWith({
      ...rest,
      say: ({ text }: { text: string }) => Effect.succeed({ text })
    })
    expect(TsEcho.of).type.not.toBeCallableWith({ ...rest, say: () => Effect.succeed({}) })
  })

  it("are all there", () => {
    const { chat: _, ...incomplete } = handlers
    expect(Echo.of).type.toBeCallableWith(handlers)
    expect(Echo.of).type.not.toBeCallableWith(incomplete)
    expect(Echo.toLayer).type.not.toBeCallableWith(incomplete)
  })

  it("respond with what the descriptor says, as an Effect or a Stream as it says", () => {
    expect(Echo.of).type.not.toBeCallableWith({ ...rest, say: () => Effect.succeed({ text: 5 }) })
    expect(Echo.of).type.not.toBeCallableWith({ ...rest, say: () => Stream.make({ text: "" }) })
    expect(Echo.of).type.not.toBeCallableWith({ ...handlers, count: () => Effect.succeed({ n: 1 }) })
  })

  it("fail with GrpcError only", () => {
    expect(Echo.of).type.toBeCallableWith({ ...rest, say: () => Effect.fail(GrpcError.notFound("no")) })
    expect(Echo.of).type.not.toBeCallableWith({ ...rest, say: () => Effect.fail(new Error("no")) })
  })
})

describe("the layer of a service", () => {
  it("needs what handlers need, but not what the server provides", () => {
    const layer = Echo.toLayer({
      ...rest,
      say: () => Effect.map(Database, ({ name }) => ({ text: name })),
      count: () => Stream.fromEffect(Effect.map(GrpcCall.GrpcCall, () => ({ n: 1 })))
    })
    expect(layer).type.toBe<Layer.Layer<Echo, never, Database>>()
  })

  it("has the errors and needs of what makes the handlers", () => {
    const layer = Echo.toLayer(Effect.andThen(Database, Effect.succeed(handlers)))
    expect(layer).type.toBe<Layer.Layer<Echo, never, Database>>()
    expect(Echo.toLayer(Effect.fail("no" as const))).type.toBe<Layer.Layer<Echo, "no">>()
  })

  it("is of its declaration: one service declared twice is two types", () => {
    class Other extends GrpcService.Service<Other>()(EchoService, { id: "typetest/Other" }) {}
    expect(Other.toLayer(handlers)).type.toBe<Layer.Layer<Other>>()
    expect(Other.toLayer(handlers)).type.not.toBeAssignableTo<Layer.Layer<Echo>>()
  })
})

describe("a server", () => {
  it("needs the implementations of its services", () => {
    const layer = GrpcServer.layer("api", { services: [Echo, TsEcho], listen: [GrpcListener.tcp({ port: 0 })] })
    expect(layer).type.toBe<Layer.Layer<never, GrpcListener.GrpcListenerError, Echo | TsEcho>>()
  })
})

describe("drain policies", () => {
  it("that end a stream are for streams, with a last message of its type", () => {
    expect(GrpcService.Service<Echo>()).type.toBeCallableWith(EchoService, { drain: { count: "end", say: "cut" } })
    expect(GrpcService.Service<Echo>()).type.not.toBeCallableWith(EchoService, { drain: { say: "end" } })
    expect(GrpcService.Service<Echo>()).type.not.toBeCallableWith(EchoService, {
      drain: { count: { end: () => ({ n: "last" }) } }
    })
  })
})
