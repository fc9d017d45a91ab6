/** What Node's http2 does not send must never reach it: it throws where nothing catches. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import { Duplex } from "node:stream"
import { onlyOnce, reserved } from "../src/internal/headerFields.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

describe("the keys that Node's http2", () => {
  const refused = (code: string): ReadonlyArray<string> => {
    const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const session = http2.connect("http://localhost", { createConnection: () => silent })
    session.on("error", () => {})
    const names = Object.entries(http2.constants).flatMap(([constant, name]) =>
      constant.startsWith("HTTP2_HEADER_") && typeof name === "string" && !name.startsWith(":") ? [name] : []
    )
    const found = [...new Set([...names, ...onlyOnce])].filter((name) => {
      try {
        session.request({ [name]: ["1", "2"] }).on("error", () => {})
        return false
      } catch (error) {
        return (error as { readonly code?: unknown }).code === code
      }
    })
    session.destroy()
    return found.filter((name) => !reserved.has(name)).toSorted()
  }

  it("sends once are those that are known to be such, or are reserved", () => {
    assert.deepStrictEqual(refused("ERR_HTTP2_HEADER_SINGLE_VALUE"), [...onlyOnce].toSorted())
  })

  it("never sends are reserved", () => {
    assert.deepStrictEqual(refused("ERR_HTTP2_INVALID_CONNECTION_HEADERS"), [])
  })
})

/** As they come from elsewhere: `GrpcMetadata.make` would refuse them. */
const foreign = (...more: ReadonlyArray<readonly [string, string]>): grpc.Metadata => {
  const metadata = new grpc.Metadata()
  for (const key of [...reserved, "x:y"]) metadata.add(key, key === "content-length" ? "7" : "x")
  for (const [key, value] of more) metadata.add(key, value)
  return metadata
}
const twice = foreign(["etag", "0"], ["etag", "1"], ["etag", "2"], ["x-tag", "1"], ["x-tag", "2"])
const passedOn = GrpcMetadata.fromGrpcJs(twice)

const check = (metadata: grpc.Metadata) => {
  assert.deepStrictEqual(metadata.get("etag"), ["2"])
  assert.deepStrictEqual(metadata.get("x-tag"), ["1, 2"])
  for (const key of [...reserved, "x:y"]) if (key !== "content-type") assert.deepStrictEqual(metadata.get(key), [])
}

/** The deadline is what an RPC has that would not be answered. */
const soon = () => ({ deadline: Date.now() + 3_000 })

describe("an RPC whose answer has keys twice that there are only once, and keys of HTTP/2", () => {
  const aborted = new GrpcError.GrpcError({ code: "ABORTED", message: "no", trailers: passedOn })
  for (
    const [what, answer, code, inHeaders] of [
      ["headers of a success", GrpcCall.addHeaders(passedOn), grpc.status.OK, true],
      [
        "headers that were added in two steps",
        Effect.andThen(
          GrpcCall.addHeaders(GrpcMetadata.make({ etag: "0" })),
          GrpcCall.addHeaders(passedOn)
        ),
        grpc.status.OK,
        true
      ],
      [
        "headers of a failure",
        Effect.andThen(GrpcCall.addHeaders(passedOn), Effect.fail(GrpcError.aborted("no"))),
        grpc.status.ABORTED,
        true
      ],
      ["trailers of a success", GrpcCall.addTrailers(passedOn), grpc.status.OK, false],
      ["trailers of an error", Effect.fail(aborted), grpc.status.ABORTED, false],
      [
        "trailers of an error and of middleware",
        Effect.andThen(GrpcCall.addTrailers(GrpcMetadata.make({ etag: "0" })), Effect.fail(aborted)),
        grpc.status.ABORTED,
        false
      ],
      [
        "trailers of an error and of middleware, after the headers",
        GrpcCall.addTrailers(GrpcMetadata.make({ etag: "0" })).pipe(
          Effect.andThen(GrpcCall.sendHeaders),
          Effect.andThen(Effect.fail(aborted))
        ),
        grpc.status.ABORTED,
        false
      ]
    ] as const
  ) {
    it.live(`is answered with the last of them, and the server goes on: ${what}`, () =>
      Effect.gen(function*() {
        const { server, target } = yield* EchoServer.make({
          say: ({ text }) => text === "" ? Effect.as(answer, { text }) : Effect.succeed({ text }),
          count: () => Stream.fromEffect(Effect.as(answer, { n: 1 }))
        })
        const client = yield* EchoClient.make(target)
        for (const call of [() => client.say({ text: "" }, soon(), () => {}), () => client.count({ to: 1 }, soon())]) {
          const { headers, status } = yield* EchoClient.observe(call())
          assert.strictEqual(status.code, code)
          check(inHeaders ? headers : status.metadata)
        }
        assert.strictEqual(yield* EchoClient.say(client, "hello", soon()), "hello")
        yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      }))
  }

  it.live("is answered with the error's, where a middleware and the handler say when to come again", () =>
    Effect.gen(function*() {
      const after = (seconds: string) => GrpcMetadata.make({ "retry-after": seconds })
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        middleware: [GrpcMiddleware.make((rpc) => Effect.andThen(GrpcCall.addTrailers(after("1")), rpc))]
      }).pipe(Effect.provide(EchoServer.layer({
        say: () => Effect.fail(GrpcError.withTrailers(GrpcError.unavailable("later"), after("2")))
      })))
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const { status } = yield* EchoClient.observe(client.say({ text: "" }, soon(), () => {}))
      assert.strictEqual(status.details, "later")
      assert.deepStrictEqual(status.metadata.get("retry-after"), ["2"])
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))

  it.live("is answered with the last of them by a grpc-js implementation, too", () =>
    Effect.gen(function*() {
      const failure = { code: grpc.status.ABORTED, details: "no", metadata: twice }
      const native = GrpcService.native(EchoClient.definition, {
        say(call: grpc.ServerUnaryCall<unknown, unknown>, callback: grpc.sendUnaryData<unknown>) {
          call.sendMetadata(twice)
          setImmediate(() => callback(null, { text: "" }, twice))
        },
        count: () => Promise.reject(Object.assign(new Error("no"), failure)),
        sum() {},
        chat() {}
      } as unknown as grpc.UntypedServiceImplementation)
      const server = yield* GrpcServer.make("api", {
        services: [native],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
      })
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const said = yield* EchoClient.observe(client.say({ text: "" }, soon(), () => {}))
      assert.strictEqual(said.status.code, grpc.status.OK)
      check(said.headers)
      check(said.status.metadata)
      const { status } = yield* EchoClient.observe(client.count({ to: 1 }, soon()))
      assert.strictEqual(status.details, "no")
      check(status.metadata)
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))
})

describe("an RPC of a client with such metadata", () => {
  it.live("is sent with the last of them, and the others on its connection go on", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      let received: ReadonlyArray<readonly [string, GrpcMetadata.Value]> = []
      const { target } = yield* EchoServer.make({
        say: ({ text }) => Effect.as(gate.pass, { text }),
        sum: (requests) =>
          Stream.runDrain(requests).pipe(
            Effect.andThen(GrpcCall.metadata),
            Effect.map(({ entries }) => {
              received = entries
              return { total: 0 }
            })
          )
      })
      const channel = yield* GrpcChannel.make({ address: target })
      const client = yield* GrpcClient.make(EchoService, {
        metadata: GrpcMetadata.make({ authorization: "of the client", "x-tag": "0" })
      }).pipe(Effect.provideService(GrpcChannel.GrpcChannel, channel))
      const other = yield* Effect.forkChild(client.say({ text: "hello" }))
      yield* gate.reached
      yield* client.sum(Stream.empty, {
        deadline: "3 seconds",
        metadata: GrpcMetadata.fromGrpcJs(foreign(["authorization", "of the RPC"], ["etag", "1"], ["etag", "2"]))
      })
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(other)).text, "hello")
      const { "user-agent": _, ...seen } = Object.fromEntries(received)
      assert.deepStrictEqual(seen, { authorization: "of the RPC", etag: "2", "x-tag": "0" })
    }))
})
