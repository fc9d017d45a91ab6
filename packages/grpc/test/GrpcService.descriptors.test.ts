/** One service, described in each of the ways that the field knows. */
import { assert, describe, it } from "@effect/vitest"
import type * as grpc from "@grpc/grpc-js"
import { loadSync } from "@grpc/proto-loader"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { join } from "node:path"
import * as EchoClient from "./EchoClient.ts"
import { EchoServiceService, type SayResponse } from "./gen-ts-proto/lastcall/test/v1/echo.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

class FromProtobufEs extends GrpcService.Service<FromProtobufEs>()(EchoService, { id: "test/FromProtobufEs" }) {}
const protobufEs = FromProtobufEs.toLayer({
  say: ({ text }) => Effect.succeed({ text }),
  count: ({ to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n }))),
  sum: (requests) =>
    Stream.runFold(requests, () => 0, (sum, { n }) => sum + n).pipe(Effect.map((total) => ({ total }))),
  chat: (requests) => Stream.map(requests, ({ text }) => ({ text: `${text}!` }))
})

class FromTsProto extends GrpcService.Service<FromTsProto>()(EchoServiceService, { id: "test/FromTsProto" }) {}
const tsProto = FromTsProto.toLayer({
  say: ({ text }) => Effect.succeed<SayResponse>({ text }),
  count: ({ to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n, padding: Buffer.alloc(0) }))),
  sum: (requests) =>
    Stream.runFold(requests, () => 0, (sum, { n }) => sum + n).pipe(Effect.map((total) => ({ total }))),
  chat: (requests) => Stream.map(requests, ({ text }) => ({ text: `${text}!` }))
})

/** As grpc_tools_node_protoc_ts declares what grpc-tools generates: classes of messages, an index signature. */
interface Message<Fields> {
  readonly fields: Fields
}
interface GrpcToolsSay extends grpc.MethodDefinition<Message<{ text: string }>, Message<{ text: string }>> {
  path: "/lastcall.test.v1.EchoService/Say"
  requestStream: false
  responseStream: false
}
interface GrpcToolsCount extends grpc.MethodDefinition<Message<{ to: number }>, Message<{ n: number }>> {
  path: "/lastcall.test.v1.EchoService/Count"
  requestStream: false
  responseStream: true
}
interface GrpcToolsSum extends grpc.MethodDefinition<Message<{ n: number }>, Message<{ total: number }>> {
  path: "/lastcall.test.v1.EchoService/Sum"
  requestStream: true
  responseStream: false
}
interface GrpcToolsChat extends grpc.MethodDefinition<Message<{ text: string }>, Message<{ text: string }>> {
  path: "/lastcall.test.v1.EchoService/Chat"
  requestStream: true
  responseStream: true
}
interface GrpcToolsService extends grpc.ServiceDefinition<grpc.UntypedServiceImplementation> {
  say: GrpcToolsSay
  count: GrpcToolsCount
  sum: GrpcToolsSum
  chat: GrpcToolsChat
}

const grpcToolsDefinition = Object.fromEntries(
  Object.entries(EchoClient.definition).map(([name, method]) => [name, {
    ...method,
    requestDeserialize: (bytes: Buffer) => ({ fields: method.requestDeserialize(bytes) }),
    responseSerialize: ({ fields }: Message<object>) => method.responseSerialize(fields)
  }])
) as unknown as GrpcToolsService

class FromGrpcTools extends GrpcService.Service<FromGrpcTools>()(grpcToolsDefinition, { id: "test/FromGrpcTools" }) {}
const grpcTools = FromGrpcTools.toLayer({
  say: ({ fields: { text } }) => Effect.succeed({ fields: { text } }),
  count: ({ fields: { to } }) => Stream.range(1, to).pipe(Stream.map((n) => ({ fields: { n } }))),
  sum: (requests) =>
    Stream.runFold(requests, () => 0, (sum, { fields: { n } }) => sum + n).pipe(
      Effect.map((total) => ({ fields: { total } }))
    ),
  chat: (requests) => Stream.map(requests, ({ fields: { text } }) => ({ fields: { text: `${text}!` } }))
})

const loaded = loadSync(join(import.meta.dirname, "proto/lastcall/test/v1/echo.proto"))
const definition = loaded["lastcall.test.v1.EchoService"] as grpc.ServiceDefinition

class FromProtoLoader extends GrpcService.Service<FromProtoLoader>()(definition, { id: "test/FromProtoLoader" }) {}
const protoLoader = FromProtoLoader.toLayer({
  Say: (request) => Effect.succeed({ text: (request as { text: string }).text }),
  Count: (request) => Stream.range(1, (request as { to: number }).to).pipe(Stream.map((n) => ({ n }))),
  Sum: (requests) =>
    Stream.runFold(requests as Stream.Stream<{ n: number }>, () => 0, (sum, { n }) => sum + n).pipe(
      Effect.map((total) => ({ total }))
    ),
  Chat: (requests) => Stream.map(requests as Stream.Stream<{ text: string }>, ({ text }) => ({ text: `${text}!` }))
})

const serve = <S extends GrpcServer.Services[number]>(service: S, layer: Layer.Layer<never>) =>
  Effect.gen(function*() {
    const server = yield* GrpcServer.make("api", {
      services: [service],
      listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
    }).pipe(Effect.provide(layer))
    return { server, client: yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!)) }
  })

const serveAndCall = <S extends GrpcServer.Services[number]>(service: S, layer: Layer.Layer<never>) =>
  Effect.gen(function*() {
    const { client, server } = yield* serve(service, layer)
    assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    const counted = yield* EchoClient.gather(client.count({ to: 3 }))
    assert.deepStrictEqual(counted.messages.map(({ n }) => n), [1, 2, 3])
    const { call, total } = EchoClient.sum(client)
    call.write({ n: 40 })
    call.write({ n: 2 })
    call.end()
    assert.strictEqual(yield* total, 42)
    const chat = client.chat()
    chat.write({ text: "hi" })
    chat.end()
    assert.deepStrictEqual((yield* EchoClient.gather(chat)).messages.map(({ text }) => text), ["hi!"])
    assert.deepInclude((yield* server.stop).counts, { admitted: 4, succeeded: 4 })
  })

describe("a service from", () => {
  it.live("protobuf-es", () => serveAndCall(FromProtobufEs, protobufEs as Layer.Layer<never>))
  it.live("ts-proto with outputServices=grpc-js", () => serveAndCall(FromTsProto, tsProto as Layer.Layer<never>))
  it.live("grpc-tools, as grpc_tools_node_protoc_ts types it", () =>
    serveAndCall(FromGrpcTools, grpcTools as Layer.Layer<never>))
  it.live("proto-loader, untyped", () => serveAndCall(FromProtoLoader, protoLoader as Layer.Layer<never>))

  it.live("protobuf-es, with messages of every size around those that are copied, all at once", () =>
    Effect.gen(function*() {
      const { client } = yield* serve(FromProtobufEs, protobufEs as Layer.Layer<never>)
      const texts = [...Array(140).keys(), 5_000, 70_000].map((size) => String(size).padEnd(size, "é").slice(0, size))
      assert.deepStrictEqual(
        yield* Effect.forEach(texts, (text) => EchoClient.say(client, text), { concurrency: "unbounded" }),
        texts
      )
    }))
})
