/** What must not compile; `tsc` checks the `@ts-expect-error` lines, vitest that the rest runs. */
import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

class Echo extends GrpcService.Service<Echo>()(EchoService) {}

class Database extends Context.Service<Database, { readonly name: string }>()("test/Database") {}

interface Person {
  readonly name: string
}

/** As ts-proto with `outputServices=grpc-js` writes it. */
const PeopleService = {
  find: {
    path: "/demo.People/Find",
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: Person): Buffer => Buffer.from(JSON.stringify(value)),
    requestDeserialize: (value: Buffer): Person => JSON.parse(value.toString()),
    responseSerialize: (value: Person): Buffer => Buffer.from(JSON.stringify(value)),
    responseDeserialize: (value: Buffer): Person => JSON.parse(value.toString())
  },
  all: {
    path: "/demo.People/All",
    requestStream: false,
    responseStream: true,
    requestSerialize: (value: Person): Buffer => Buffer.from(JSON.stringify(value)),
    requestDeserialize: (value: Buffer): Person => JSON.parse(value.toString()),
    responseSerialize: (value: Person): Buffer => Buffer.from(JSON.stringify(value)),
    responseDeserialize: (value: Buffer): Person => JSON.parse(value.toString())
  }
} as const

class People extends GrpcService.Service<People>()(PeopleService) {}

const rest = {
  count: () => Stream.empty,
  sum: () => Effect.succeed({ total: 0 }),
  chat: () => Stream.empty
}

describe("the types of a service", () => {
  it("handlers have the types of the descriptor, and requirements are inferred", () => {
    const live = Echo.toLayer({
      say: ({ text }) => Effect.map(Database, ({ name }) => ({ text: `${name}${text.toUpperCase()}` })),
      count: ({ to }) => Stream.fromEffect(Effect.map(GrpcCall.GrpcCall, () => ({ n: to }))),
      sum: (requests) =>
        Stream.runFold(requests, () => 0, (total, { n }) => total + n).pipe(Effect.map((total) => ({ total }))),
      chat: (requests) => requests.pipe(Stream.map(({ text }) => ({ text })))
    })
    // `GrpcCall` is the server's, `Database` is left.
    const typed: Layer.Layer<Echo, never, Database> = live
    // @ts-expect-error: the layer needs a Database
    const closed: Layer.Layer<Echo> = live
    assert.strictEqual<unknown>(typed, closed)
  })

  it("a missing method, a wrong response, a wrong error do not compile", () => {
    const { chat: _, ...incomplete } = { ...rest, say: () => Effect.succeed({ text: "" }) }
    // @ts-expect-error: chat is missing
    Echo.of(incomplete)
    // @ts-expect-error: chat is missing
    Echo.toLayer(incomplete)
    // @ts-expect-error: text is a string
    Echo.of({ ...rest, say: () => Effect.succeed({ text: 5 }) })
    // @ts-expect-error: a handler fails with GrpcError only
    Echo.of({ ...rest, say: () => Effect.fail(new Error("no")) })
    // @ts-expect-error: count is a stream
    Echo.of({ ...rest, say: () => Effect.succeed({ text: "" }), count: () => Effect.succeed({ n: 1 }) })
    // @ts-expect-error: say is not a stream
    Echo.of({ ...rest, say: () => Stream.make({ text: "" }) })
    Echo.of({ ...rest, say: () => Effect.fail(GrpcError.notFound("no")) })
  })

  it("a grpc-js ServiceDefinition types its handlers", () => {
    People.of({ find: ({ name }) => Effect.succeed({ name: name.trim() }), all: (person) => Stream.make(person) })
    // @ts-expect-error: a Person has a name
    People.of({ find: () => Effect.succeed({}), all: (person) => Stream.make(person) })
  })

  it("two declarations of one service are two types", () => {
    class Other extends GrpcService.Service<Other>()(EchoService, { id: "test/Other" }) {}
    const layer = Other.toLayer({ ...rest, say: () => Effect.succeed({ text: "" }) })
    const typed: Layer.Layer<Other> = layer
    // @ts-expect-error: Other is not Echo
    const other: Layer.Layer<Echo> = layer
    assert.strictEqual<unknown>(typed, other)
  })

  it("a server needs the implementations of its services", () => {
    const server = GrpcServer.layer("api", { services: [Echo, People], listen: [GrpcListener.tcp({ port: 0 })] })
    const typed: Layer.Layer<never, GrpcListener.GrpcListenerError, Echo | People> = server
    // @ts-expect-error: People is missing
    const partly: Layer.Layer<never, GrpcListener.GrpcListenerError, Echo> = server
    assert.strictEqual<unknown>(typed, partly)
  })
})
