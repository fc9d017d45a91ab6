import { assert, describe, it } from "@effect/vitest"
import * as MemorySocket from "@lastcall/testing/MemorySocket"
import * as Effect from "effect/Effect"
import { once } from "node:events"
import * as http from "node:http"
import * as http2 from "node:http2"
import { buffer } from "node:stream/consumers"
import * as EventLoop from "../../grpc/test/EventLoop.ts"

const turns = () => Effect.runPromise(EventLoop.turns(50))

describe("a connection in memory", () => {
  it("carries bytes both ways, counts them, and ends", async () => {
    const [client, server] = MemorySocket.pair()
    client.end("hello")
    assert.strictEqual((await buffer(server)).toString(), "hello")
    assert.strictEqual(client.bytesWritten, 5)
    assert.strictEqual(server.bytesRead, 5)
    server.end("never read")
    await Promise.all([client.destroyed || once(client.resume(), "close"), server.destroyed || once(server, "close")])
  })

  it("delivers in a later turn", async () => {
    const [client, server] = MemorySocket.pair()
    client.write("x")
    assert.isNull(server.read())
    await once(server, "readable")
    assert.strictEqual(server.read().toString(), "x")
  })

  it("holds a writer whose peer does not read", async () => {
    const [client, server] = MemorySocket.pair()
    const chunk = Buffer.alloc(16 * 1024)
    for (let i = 0; i < 20; i++) client.write(chunk)
    await turns()
    assert.isAbove(client.writableLength, 0, "all was taken by a peer that reads nothing")
    assert.isAtMost(server.bytesRead, server.readableHighWaterMark + chunk.length)
    server.resume()
    await once(client, "drain")
    assert.strictEqual(server.bytesRead, 20 * chunk.length)
  })

  it("a peer that is destroyed ends what is read, and fails what is written", async () => {
    const [client, server] = MemorySocket.pair()
    client.allowHalfOpen = true
    client.resume()
    const error = once(client, "error")
    server.destroy()
    await once(client, "end")
    client.write("x")
    assert.strictEqual(((await error)[0] as NodeJS.ErrnoException).code, "ECONNRESET")
  })

  it("what is written after the end fails, and nothing else does", async () => {
    const [client] = MemorySocket.pair()
    client.on("error", (error) => assert.fail(error.message))
    let isCalledBack = false
    client.end("last", () => {
      isCalledBack = true
    })
    assert.isTrue(isCalledBack, "the end is called back at once")
    const error = await new Promise((resolve) => client.write("late", resolve))
    assert.strictEqual((error as NodeJS.ErrnoException).code, "ECONNRESET")
    await turns()
    assert.isFalse(client.destroyed)
  })

  it("serves HTTP/1", async () => {
    const server = http.createServer((request, response) => response.end(`you asked for ${request.url}`))
    const [client, end] = MemorySocket.pair()
    server.emit("connection", end)
    const request = http.get({ path: "/x", createConnection: () => client as never })
    const [response] = await once(request, "response") as [http.IncomingMessage]
    assert.strictEqual((await buffer(response)).toString(), "you asked for /x")
  })

  it("serves HTTP/2", async () => {
    const server = http2.createServer((_, response) => response.end("hello"))
    const [client, end] = MemorySocket.pair()
    server.emit("connection", end)
    const session = http2.connect("http://memory", { createConnection: () => client })
    assert.strictEqual((await buffer(session.request({ ":path": "/" }))).toString(), "hello")
    session.close()
    await once(session, "close")
    assert.isTrue(client.destroyed)
  })
})
