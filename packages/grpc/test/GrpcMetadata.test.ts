import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

describe("metadata", () => {
  it("keys are case-insensitive and have several values, in order", () => {
    const metadata = GrpcMetadata.make({ "X-Tag": ["a", "b"], other: "c" })
    assert.deepStrictEqual(GrpcMetadata.getAll(metadata, "x-tag"), ["a", "b"])
    assert.strictEqual(GrpcMetadata.get(GrpcMetadata.set(metadata, "x-TAG", "z"), "x-tag"), "z")
    assert.deepStrictEqual(GrpcMetadata.getAll(GrpcMetadata.append(metadata, "x-tag", "d"), "x-tag"), ["a", "b", "d"])
    assert.deepStrictEqual(GrpcMetadata.remove(metadata, "X-Tag").entries, [["other", "c"]])
    assert.deepStrictEqual(GrpcMetadata.getAll(GrpcMetadata.merge(metadata, metadata), "other"), ["c", "c"])
  })

  it("texts have no spaces at their ends, which would not arrive", () => {
    const metadata = GrpcMetadata.append(GrpcMetadata.make({ a: " b ", c: " " }), "d", "e f  ")
    assert.deepStrictEqual(metadata.entries, [["a", "b"], ["c", ""], ["d", "e f"]])
  })

  it("text is not found as bytes, nor bytes as text", () => {
    const metadata = GrpcMetadata.make({ "a": "text", "a-bin": new Uint8Array([0, 255]) })
    assert.strictEqual(GrpcMetadata.getBinary(metadata, "a"), undefined)
    assert.strictEqual(GrpcMetadata.get(metadata, "a-bin"), undefined)
    assert.deepStrictEqual(GrpcMetadata.getAll(metadata, "a-bin"), [])
    assert.deepStrictEqual(GrpcMetadata.getAllBinary(metadata, "a"), [])
    assert.deepStrictEqual(GrpcMetadata.getBinary(metadata, "a-bin"), new Uint8Array([0, 255]))
  })

  it("is not copied to be merged with none", () => {
    const metadata = GrpcMetadata.make({ a: "b" })
    assert.lengthOf(GrpcMetadata.empty.entries, 0)
    assert.strictEqual(GrpcMetadata.merge(metadata, GrpcMetadata.empty), metadata)
    assert.strictEqual(GrpcMetadata.merge(GrpcMetadata.empty, metadata), metadata)
  })

  it("a key that HTTP knows once has one value: the last", () => {
    const metadata = GrpcMetadata.make({ ETag: "1", "x-tag": "1" })
    const expected = [["x-tag", "1"], ["etag", "2"]] as const
    assert.deepStrictEqual(GrpcMetadata.append(metadata, "etag", "2").entries, expected)
    assert.deepStrictEqual(GrpcMetadata.merge(metadata, GrpcMetadata.make({ etag: "2" })).entries, expected)
    const both = GrpcMetadata.make({ etag: "2", age: "3" })
    assert.deepStrictEqual(GrpcMetadata.merge(metadata, both).entries, [...expected, ["age", "3"]])
    const foreign: GrpcMetadata.GrpcMetadata = { entries: [["ETag", "1"], ["etag", "2"], ["x-tag", "1"]] }
    assert.deepStrictEqual(GrpcMetadata.toGrpcJs(foreign).toJSON(), { etag: ["2"], "x-tag": ["1"] })
    assert.throws(() => GrpcMetadata.make({ etag: ["1", "2"] }), /HTTP knows it once/)
    assert.throws(() => GrpcMetadata.make({ ETag: "1", etag: "2" }), /HTTP knows it once/)
    assert.deepStrictEqual(GrpcMetadata.make({ etag: ["1"] }).entries, [["etag", "1"]])
  })

  it("that was received is passed on without what is of one hop", () => {
    const received = new grpc.Metadata()
    for (const key of ["content-length", "Connection", "te", "grpc-status", "grpc-timeout", "x"]) received.set(key, "1")
    received.set("grpc-status-details-bin", Buffer.from("details"))
    const sent = GrpcMetadata.toGrpcJs(GrpcMetadata.fromGrpcJs(received))
    assert.hasAllKeys(sent.toJSON(), ["x", "grpc-status-details-bin"])
    assert.deepStrictEqual(GrpcMetadata.toGrpcJs({ entries: [["TE", "x"]] }).toJSON(), {})
  })

  const wrong: ReadonlyArray<readonly [string, GrpcMetadata.Value, RegExp]> = [
    ["grpc-timeout", "1S", /keys that begin with grpc- are gRPC's own/],
    ["GRPC-Status", "0", /keys that begin with grpc- are gRPC's own/],
    [":path", "/", /a key has letters/],
    ["", "x", /a key has letters/],
    ["a b", "x", /a key has letters/],
    ["ümlaut", "x", /a key has letters/],
    ["Content-Type", "text/plain", /a header of HTTP\/2 or of gRPC/],
    ["te", "trailers", /a header of HTTP\/2 or of gRPC/],
    ["connection", "close", /a header of HTTP\/2 or of gRPC/],
    ["User-Agent", "me", /a header of HTTP\/2 or of gRPC/],
    ["host", "x", /a header of HTTP\/2 or of gRPC/],
    ["x-bin", "text", /the value of a -bin key is bytes/],
    ["x", new Uint8Array([1]), /bytes need a key that ends in -bin/],
    ["x", "grün", /no printable ASCII/],
    ["x", "two\r\nlines", /no printable ASCII/]
  ]
  for (const [key, value, message] of wrong) {
    it(`refuses ${JSON.stringify(key)}: ${JSON.stringify(value)}`, () => {
      assert.throws(() => GrpcMetadata.make({ [key]: value }), message)
    })
  }

  it.prop(
    "survives the way to grpc-js and back",
    [Schema.Array(
      Schema.Tuple([Schema.Literals(["a", "b-c", "d_e.f"]), Schema.String.check(Schema.isPattern(/^[!-~]{0,20}$/))])
    )],
    ([entries]) => {
      let metadata = GrpcMetadata.empty
      for (const [key, value] of entries) metadata = GrpcMetadata.append(metadata, key, value)
      const back = GrpcMetadata.fromGrpcJs(GrpcMetadata.toGrpcJs(metadata))
      for (const key of ["a", "b-c", "d_e.f"]) {
        assert.deepStrictEqual(GrpcMetadata.getAll(back, key), GrpcMetadata.getAll(metadata, key))
      }
    }
  )
})

const bytes = new Uint8Array([0, 1, 254, 255])

describe("headers and trailers of a response", () => {
  const answering = Effect.gen(function*() {
    assert.isTrue(yield* GrpcCall.addHeaders(GrpcMetadata.make({ "x-one": ["1", "2"], "x-bytes-bin": bytes })))
    assert.isTrue(yield* GrpcCall.addTrailers(GrpcMetadata.make({ "x-last": "z", "x-end-bin": bytes })))
  })

  const check = ({ headers, status }: { readonly headers: grpc.Metadata; readonly status: grpc.StatusObject }) => {
    assert.deepStrictEqual(headers.get("x-one"), ["1, 2"])
    assert.deepStrictEqual(headers.get("x-bytes-bin"), [Buffer.from(bytes)])
    assert.deepStrictEqual(status.metadata.get("x-last"), ["z"])
    assert.deepStrictEqual(status.metadata.get("x-end-bin"), [Buffer.from(bytes)])
  }

  it.live("of a unary RPC and of a stream that end OK", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        say: ({ text }) => Effect.as(answering, { text }),
        count: () => Stream.fromEffect(Effect.as(answering, { n: 1 }))
      })
      const client = yield* EchoClient.make(server.target)
      const unary = yield* EchoClient.observe(client.say({ text: "" }, {}, () => {}))
      assert.strictEqual(unary.status.code, grpc.status.OK)
      check(unary)
      const stream = yield* EchoClient.observe(client.count({ to: 1 }))
      assert.strictEqual(stream.status.code, grpc.status.OK)
      check(stream)
    }))

  it.live("of RPCs that fail before there is a message", () =>
    Effect.gen(function*() {
      const failing = Effect.andThen(answering, Effect.fail(GrpcError.aborted("no")))
      const server = yield* EchoServer.make({ say: () => failing, count: () => Stream.fromEffect(failing) })
      const client = yield* EchoClient.make(server.target)
      const unary = yield* EchoClient.observe(client.say({ text: "" }, {}, () => {}))
      assert.strictEqual(unary.status.code, grpc.status.ABORTED)
      check(unary)
      const stream = yield* EchoClient.observe(client.count({ to: 1 }))
      assert.strictEqual(stream.status.code, grpc.status.ABORTED)
      check(stream)
    }))

  it.live("headers can be sent before the first message; what comes later is refused", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const late: Array<boolean> = []
      const server = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.gen(function*() {
            yield* GrpcCall.addHeaders(GrpcMetadata.make({ "x-early": "1" }))
            assert.isTrue(yield* GrpcCall.sendHeaders)
            yield* gate.pass
            late.push(yield* GrpcCall.sendHeaders, yield* GrpcCall.addHeaders(GrpcMetadata.make({ "x-late": "1" })))
            return { text }
          })
      })
      const client = yield* EchoClient.make(server.target)
      const call = client.say({ text: "" }, {}, () => {})
      const headers = yield* Effect.callback<grpc.Metadata>((resume) => {
        call.on("metadata", (metadata) => resume(Effect.succeed(metadata)))
      })
      assert.deepStrictEqual(headers.get("x-early"), ["1"])
      yield* gate.open
      assert.strictEqual((yield* EchoClient.observe(call)).status.code, grpc.status.OK)
      assert.deepStrictEqual(late, [false, false])
    }))
})
