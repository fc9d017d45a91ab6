import { assert, it } from "@effect/vitest"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as http2 from "node:http2"
import * as net from "node:net"

const { flags, types } = Http2Frame

it("a frame is its head and its payload, and is read back", () => {
  const bytes = Http2Frame.encode(types.data, { flags: flags.endStream, streamId: 5, payload: Buffer.from("hello") })
  assert.strictEqual(bytes.toString("hex"), "000005000100000005" + Buffer.from("hello").toString("hex"))
  assert.deepStrictEqual(Http2Frame.parse(bytes), [
    { type: types.data, flags: flags.endStream, streamId: 5, payload: Buffer.from("hello") }
  ])
})

it("frames are read in whatever pieces they come, and one that is not complete is not read", () => {
  const bytes = Buffer.concat([
    Http2Frame.encode(types.ping, { payload: Buffer.alloc(8) }),
    Http2Frame.message(1, Buffer.from("x")),
    Http2Frame.encode(types.settings).subarray(0, 8)
  ])
  const whole = Http2Frame.parse(bytes)
  assert.deepStrictEqual(whole.map(({ type }) => type), [types.ping, types.data])
  const seen: Array<Http2Frame.Http2Frame> = []
  const read = Http2Frame.reader((frame) => seen.push(frame))
  for (const byte of bytes) read(Buffer.from([byte]))
  assert.deepStrictEqual(seen.map(({ payload, type }) => [type, payload.toString("hex")]), [
    [types.ping, "0000000000000000"],
    [types.data, "000000000178"]
  ])
})

it("Node takes an RPC that was written by hand, also with a long path", async () => {
  const path = `/${"long.".repeat(60)}Service/Method`
  const heard = await new Promise<readonly [string | undefined, Buffer]>((resolve) => {
    const server = http2.createServer()
    server.on("stream", (stream, headers) => {
      const chunks: Array<Buffer> = []
      stream.on("error", () => {})
      stream.on("data", (chunk: Buffer) => chunks.push(chunk))
      stream.on("end", () => {
        resolve([headers[":path"], Buffer.concat(chunks)])
        socket.destroy()
        server.close()
      })
    })
    let socket: net.Socket
    server.listen(0, "127.0.0.1", () => {
      socket = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1")
      socket.write(Buffer.concat([
        Http2Frame.preface,
        Http2Frame.openRpc(1, path),
        Http2Frame.message(1, Buffer.from("hi"), true)
      ]))
    })
  })
  assert.strictEqual(heard[0], path)
  assert.strictEqual(heard[1].toString("hex"), "0000000002" + Buffer.from("hi").toString("hex"))
})

it("a GOAWAY says which stream was the last, and why; frames render for people", () => {
  const payload = Buffer.concat([Http2Frame.uint32(7), Http2Frame.uint32(2)])
  const [frame] = Http2Frame.parse(Http2Frame.encode(types.goaway, { payload }))
  assert.deepStrictEqual(Http2Frame.goaway(frame!), { lastStreamId: 7, code: 2 })
  const rendered = Http2Frame.parse(Buffer.concat([
    Http2Frame.encode(types.goaway, { payload }),
    Http2Frame.message(3, undefined, true),
    Http2Frame.encode(types.settings, { flags: flags.ack }),
    Http2Frame.encode(types.rstStream, { streamId: 9, payload: Http2Frame.uint32(8) }),
    Http2Frame.encode(99)
  ])).map(Http2Frame.render)
  assert.deepStrictEqual(rendered, [
    "goaway last=7 code=2",
    "data stream=3 end",
    "settings ack",
    "rstStream stream=9 code=8",
    "type 99"
  ])
})
