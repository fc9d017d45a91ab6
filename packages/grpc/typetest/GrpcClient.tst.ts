import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcClientHealth from "@lastcall/grpc/GrpcClientHealth"
import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
import type { GrpcCredentialsError } from "@lastcall/grpc/GrpcCredentials"
import type { GrpcError } from "@lastcall/grpc/GrpcError"
import * as GrpcErrorModule from "@lastcall/grpc/GrpcError"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"
import type { EchoServiceService, SayResponse as TsSayResponse } from "../test/gen-ts-proto/lastcall/test/v1/echo.ts"
import {
  type ChatResponse,
  type CountResponse,
  EchoService,
  type SayResponse,
  type SumResponse
} from "../test/gen/lastcall/test/v1/echo_pb.ts"

declare const echo: GrpcClient.Client<typeof EchoService>
declare const tsEcho: GrpcClient.Client<typeof EchoServiceService>
declare const numbers: Stream.Stream<{ readonly n: number }, "no number", Scope.Scope>
declare const texts: Stream.Stream<{ readonly text: string }>

describe("a client", () => {
  it("needs a channel, and cannot fail to be made", () => {
    expect(GrpcClient.make(EchoService)).type.toBe<Effect.Effect<typeof echo, never, GrpcChannel.GrpcChannel>>()
    expect(GrpcClient.make(EchoService, { deadline: "1 second" })).type.toBe<
      Effect.Effect<typeof echo, never, GrpcChannel.GrpcChannel>
    >()
  })

  it("has the four kinds of the descriptor", () => {
    expect(echo.say({ text: "" })).type.toBe<Effect.Effect<SayResponse, GrpcError>>()
    expect(echo.count({ to: 1 })).type.toBe<Stream.Stream<CountResponse, GrpcError>>()
    expect(echo.sum(numbers)).type.toBe<Effect.Effect<SumResponse, GrpcError | "no number", Scope.Scope>>()
    expect(echo.chat(texts)).type.toBe<Stream.Stream<ChatResponse, GrpcError>>()
  })

  it("has those of a grpc-js definition too", () => {
    expect(tsEcho.say({ text: "" })).type.toBe<Effect.Effect<TsSayResponse, GrpcError>>()
    expect(tsEcho.sum(numbers)).type.toBeAssignableTo<
      Effect.Effect<{ readonly total: number }, GrpcError | "no number", Scope.Scope>
    >()
    expect(tsEcho.chat(texts)).type.toBeAssignableTo<Stream.Stream<{ readonly text: string }, GrpcError>>()
  })

  it("does not take other requests", () => {
    expect(echo.say).type.not.toBeCallableWith({ text: 5 })
    expect(echo.say).type.not.toBeCallableWith(texts)
    expect(echo.sum).type.not.toBeCallableWith({ n: 1 })
    expect(echo.chat).type.not.toBeCallableWith(numbers)
    expect(tsEcho.say).type.not.toBeCallableWith({})
    expect(echo).type.not.toHaveProperty("shout")
  })
})

describe("the middleware of a client", () => {
  it("is a function of a call and what sends it, which keeps success, errors and requirements", () => {
    expect(GrpcClient.make(EchoService, { middleware: [(call, next) => next(call)] })).type.toBe<
      Effect.Effect<typeof echo, never, GrpcChannel.GrpcChannel>
    >()
    expect(GrpcClient.make(EchoService, { middleware: [GrpcClientMiddleware.tracing, (_call, next) => next] })).type
      .toRaiseError()
    expect<GrpcClientMiddleware.GrpcClientMiddleware>().type.not.toBeAssignableFrom(
      (() => Effect.fail("an error that is none of the RPC")) as () => Effect.Effect<never, string>
    )
    expect<GrpcClientMiddleware.GrpcClientMiddleware>().type.not.toBeAssignableFrom(
      (() => Effect.never) as () => Effect.Effect<never, never, Scope.Scope>
    )
    expect<GrpcClientMiddleware.GrpcClientMiddleware>().type.toBeAssignableFrom(
      () => Effect.fail(GrpcErrorModule.aborted(""))
    )
  })

  it("for all clients is a layer that needs and provides nothing by type", () => {
    expect(GrpcClientMiddleware.layer([GrpcClientMiddleware.metrics])).type.toBe<Layer.Layer<never>>()
  })
})

describe("the answer of an RPC", () => {
  it("has the response, with the errors and requirements of the RPC", () => {
    expect(GrpcClient.answer((options) => echo.sum(numbers, options))).type.toBe<
      Effect.Effect<GrpcClient.Answer<SumResponse>, GrpcError | "no number", Scope.Scope>
    >()
  })
})

describe("a channel in process", () => {
  class Echo extends GrpcService.Service<Echo>()(EchoService) {}

  it("needs its services", () => {
    expect(GrpcInProcess.layer({ services: [Echo] })).type.toBe<Layer.Layer<GrpcChannel.GrpcChannel, never, Echo>>()
    expect(GrpcInProcess.layer).type.not.toBeCallableWith({})
  })
})

describe("the health of a service", () => {
  it("needs a channel", () => {
    expect(GrpcClientHealth.layer()).type.toBe<
      Layer.Layer<GrpcClientHealth.GrpcClientHealth, never, GrpcChannel.GrpcChannel>
    >()
  })
})

describe("a channel", () => {
  it("is a layer that fails for its credentials only", () => {
    expect(GrpcChannel.layer({ address: "a:1" })).type.toBe<
      Layer.Layer<GrpcChannel.GrpcChannel, GrpcCredentialsError>
    >()
  })

  it("of no address cannot be made", () => {
    expect(GrpcChannel.ipv4).type.not.toBeCallableWith()
    expect(GrpcChannel.make).type.not.toBeCallableWith({})
  })
})
