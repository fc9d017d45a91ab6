import { assert, it } from "@effect/vitest"
import * as TcpProxy from "@lastcall/testing/TcpProxy"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as net from "node:net"
import * as RawServers from "./RawServers.ts"

const { until } = RawServers

const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<
      { readonly socket: net.Socket; readonly received: () => string; readonly error: () => string | undefined }
    >(
      (resume) => {
        let received = ""
        let error: string | undefined
        const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
        socket.on("data", (chunk) => {
          received += chunk.toString()
        })
        socket.on("error", (cause: NodeJS.ErrnoException) => {
          error = cause.code
        })
        socket.once("connect", () => resume(Effect.succeed({ socket, received: () => received, error: () => error })))
      }
    ),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

it.live("bytes go through in both directions, in order, and are counted", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const proxy = yield* TcpProxy.make({ target: server.address })
    const client = yield* connect(proxy.port)
    let sent = ""
    for (let i = 0; i < 500; i++) {
      sent += `${i},`
      client.socket.write(`${i},`)
    }
    yield* until("all came", () => server.received().length === sent.length)
    assert.strictEqual(server.received().toString(), sent)
    server.sockets[0]!.write("hello")
    yield* until("the answer came", () => client.received() === "hello")
    assert.deepStrictEqual(proxy.delivered(), { toServer: sent.length, toClients: 5 })
    assert.deepStrictEqual([proxy.accepted(), proxy.open()], [1, 1])
  }))

it.effect("each byte takes the delay in each direction, by the clock, and none overtakes another", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const proxy = yield* TcpProxy.make({ target: server.address, delay: "100 millis" })
    const client = yield* connect(proxy.port)
    yield* until("it is connected", () => server.sockets.length === 1)
    /** Writes, and waits until the proxy has read it: its delay has begun. */
    const write = (socket: net.Socket, text: string) =>
      Effect.andThen(
        Effect.callback<void>((resume) => void socket.write(text, () => resume(Effect.void))),
        settle
      )
    yield* write(client.socket, "one")
    yield* TestClock.adjust("60 millis")
    yield* write(client.socket, "two")
    yield* TestClock.adjust("39 millis")
    assert.strictEqual(server.received().length, 0)
    yield* TestClock.adjust("1 millis")
    yield* until("the first came", () => server.received().toString() === "one")
    yield* TestClock.adjust("59 millis")
    assert.strictEqual(server.received().toString(), "one")
    yield* TestClock.adjust("1 millis")
    yield* until("the second came", () => server.received().toString() === "onetwo")
    yield* write(server.sockets[0]!, "back")
    yield* TestClock.adjust("99 millis")
    assert.strictEqual(client.received(), "")
    yield* TestClock.adjust("1 millis")
    yield* until("the answer came", () => client.received() === "back")
  }))

/** Long enough for what was written on the loopback to be read. */
const settle = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 30)
})

it.live("a half that is closed is closed on the other side, and the other half goes on", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const proxy = yield* TcpProxy.make({ target: server.address, delay: 5 })
    const client = yield* connect(proxy.port)
    client.socket.end("bye")
    yield* until("the server sees the end", () => server.sockets[0]?.readableEnded === true)
    assert.strictEqual(server.received().toString(), "bye")
    server.sockets[0]!.write("still here")
    yield* until("the answer came", () => client.received() === "still here")
    server.sockets[0]!.end()
    yield* until("both are closed", () => proxy.open() === 0 && client.socket.destroyed)
  }))

it.live("where nobody listens the client is reset; the server may come later", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { address } = yield* Scope.provide(RawServers.tcp, scope)
    yield* Scope.close(scope, Exit.void)
    const proxy = yield* TcpProxy.make({ target: address })
    const client = yield* connect(proxy.port)
    yield* until("it is closed", () => client.socket.destroyed)
    assert.strictEqual(client.error(), "ECONNRESET")
    const server = net.createServer()
    yield* Effect.callback<void>((resume) => void server.listen(address.port, "127.0.0.1", () => resume(Effect.void)))
    yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
    const later = yield* connect(proxy.port)
    server.once("connection", (socket) => socket.end("here"))
    yield* until("it answers", () => later.received() === "here")
    assert.strictEqual(proxy.accepted(), 2)
  }))

it.live("one side that is reset takes the other with it", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const proxy = yield* TcpProxy.make({ target: server.address })
    const client = yield* connect(proxy.port)
    yield* until("it is connected", () => server.sockets.length === 1)
    server.sockets[0]!.resetAndDestroy()
    yield* until("the client sees it", () => client.socket.destroyed || client.socket.readableEnded)
    const other = yield* connect(proxy.port)
    yield* until("it is connected", () => server.sockets.length === 2)
    other.socket.resetAndDestroy()
    yield* until("the server sees it", () => server.sockets[1]!.destroyed || server.sockets[1]!.readableEnded)
    yield* until("nothing is left", () => proxy.open() === 0)
  }))

it.live("closing the scope closes every connection and the port", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const scope = yield* Scope.make()
    const proxy = yield* Scope.provide(TcpProxy.make({ target: server.address, delay: "1 hour" }), scope)
    const client = yield* connect(proxy.port)
    client.socket.write("never delivered")
    yield* until("it is connected", () => server.sockets.length === 1)
    yield* Scope.close(scope, Exit.void)
    yield* until("the client sees it", () => client.socket.destroyed || client.socket.readableEnded)
    const refused = yield* Effect.callback<string | undefined>((resume) => {
      const socket = net.connect(proxy.port, "127.0.0.1")
      socket.once("error", (cause: NodeJS.ErrnoException) => resume(Effect.succeed(cause.code)))
      socket.once("connect", () => resume(Effect.succeed("connected")))
    })
    assert.strictEqual(refused, "ECONNREFUSED")
    assert.strictEqual(server.received().length, 0)
  }))

it.effect("a server's reset takes the delay, and what it said before is delivered", () =>
  Effect.gen(function*() {
    const server = yield* RawServers.tcp
    const proxy = yield* TcpProxy.make({ target: server.address, delay: "100 millis" })
    const client = yield* connect(proxy.port)
    const isOver = () => client.socket.destroyed || client.socket.readableEnded
    yield* until("it is connected", () => server.sockets.length === 1)
    server.sockets[0]!.write("answer")
    yield* settle
    yield* TestClock.adjust("20 millis")
    server.sockets[0]!.resetAndDestroy()
    yield* settle
    yield* TestClock.adjust("79 millis")
    yield* settle
    assert.deepStrictEqual([client.received(), isOver(), proxy.open()], ["", false, 1])
    yield* TestClock.adjust("1 millis")
    yield* until("the answer came", () => client.received() === "answer")
    yield* TestClock.adjust("19 millis")
    yield* settle
    assert.isFalse(isOver())
    yield* TestClock.adjust("1 millis")
    yield* until("the client sees the end", isOver)
    assert.strictEqual(client.received(), "answer")
  }))
