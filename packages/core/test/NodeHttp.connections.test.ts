/** What a drain does with connections that have no request in flight. Time is virtual, the sockets are real. */
import { assert, it } from "@effect/vitest"
import * as NodeHttp from "@lastcall/core/NodeHttp"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Buffer } from "node:buffer"
import * as http from "node:http"
import * as https from "node:https"
import type { AddressInfo } from "node:net"
import * as net from "node:net"
import * as tls from "node:tls"
import { until } from "./RealTime.ts"

/** A key that both sides know instead of certificates. */
const psk = Buffer.alloc(32, 1)
const overTls: https.ServerOptions = { ciphers: "PSK", maxVersion: "TLSv1.2", pskCallback: () => psk }
const secure = (socket: net.Socket): tls.TLSSocket =>
  tls.connect({
    socket,
    ciphers: "PSK",
    maxVersion: "TLSv1.2",
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk, identity: "test" })
  })

/** A server whose responses the test ends, and its clients. */
const make = Effect.fnUntraced(function*(options: { readonly tls?: boolean } = {}) {
  const clock = yield* Clock.Clock
  const pending: Array<http.ServerResponse> = []
  const accepted: Array<net.Socket> = []
  let secured = 0
  const onRequest = (_: http.IncomingMessage, response: http.ServerResponse): void => void pending.push(response)
  const server = options.tls === true ? https.createServer(overTls, onRequest) : http.createServer(onRequest)
  // What is idle is not to be closed by Node's own timer.
  server.keepAliveTimeout = 0
  const graceful = yield* NodeHttp.make(server, { name: "pages", stop: { grace: "30 seconds", forceTimeout: 0 } })
  server
    .on("connection", (socket: net.Socket) => void accepted.push(socket))
    .on("secureConnection", () => secured++)
  yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
  const { port } = server.address() as AddressInfo

  /** A client whose connection the server has accepted, and which has sent so much. */
  const connect = Effect.fnUntraced(function*(text: string = "") {
    const before = accepted.length
    const client = net.connect(port, "127.0.0.1").on("error", () => {})
    yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
    let received = ""
    client.on("data", (chunk: Buffer) => {
      received += chunk.toString()
    })
    yield* until(() => accepted.length > before)
    const socket = accepted[before]!
    client.write(text)
    yield* until(() => socket.bytesRead === text.length)
    return { client, received: () => received, socket }
  })

  /** One whose handshake is over, and which has sent so much. */
  const connectSecure = Effect.fnUntraced(function*(text: string = "") {
    const before = secured
    const { client, socket } = yield* connect()
    const over = secure(client).on("error", () => {})
    yield* until(() => secured > before)
    const handshake = socket.bytesRead
    over.write(text)
    yield* until(() => text === "" || socket.bytesRead > handshake)
    return { client: over, socket }
  })

  /** Starts the stop, until the server listens no more. */
  const stop = Effect.gen(function*() {
    const since = clock.currentTimeMillisUnsafe()
    const fiber = yield* Effect.forkChild(graceful.stop, { startImmediately: true })
    yield* until(() => !server.listening)
    return {
      /** Waits for its end: how it was, and how long it took. */
      ended: Effect.map(
        Fiber.join(fiber),
        ({ outcome }) => `${outcome} in ${clock.currentTimeMillisUnsafe() - since}`
      )
    }
  })

  return { connect, connectSecure, pending, server, stop }
})

const wholeRequest = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
const halfRequest = "GET / HTTP/1.1\r\nHost: x\r\n"

/** Sends, and blocks the event loop until it is in the kernel, not read by the server. */
const sendUnread = (client: net.Socket, socket: net.Socket, text: string, millis = 50): Effect.Effect<void> =>
  Effect.sync(() => {
    const before = socket.bytesRead
    client.write(text)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
    assert.strictEqual(socket.bytesRead, before)
  })

/** Goes on in the phase of the event loop that handles input. */
const anInput = (server: http.Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const { port } = server.address() as AddressInfo
    server.once("connection", (socket) => {
      socket.destroy()
      resume(Effect.void)
    })
    net.connect(port, "127.0.0.1").on("error", () => {})
  })

/** So long that what it is about would have happened. */
const aWhile = Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), 20))

it.effect("a connection that has been silent for a second is closed at once", () =>
  Effect.gen(function*() {
    const { connect, stop } = yield* make()
    yield* connect()
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* (yield* stop).ended, "graceful in 0")
  }))

it.effect("a connection that is kept alive and idle is closed at once", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    const { received } = yield* connect(wholeRequest)
    yield* until(() => pending.length === 1)
    pending[0]!.end("done")
    yield* until(() => received().endsWith("done") && pending[0]!.closed)
    assert.include(received(), "Connection: keep-alive")
    assert.strictEqual(yield* (yield* stop).ended, "graceful in 0")
  }))

it.effect("a new connection that stays silent is closed after a second, also while a request is in flight elsewhere", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    yield* connect(wholeRequest)
    const silent = yield* connect()
    const stopping = yield* stop
    yield* TestClock.adjust("999 millis")
    yield* aWhile
    assert.isFalse(silent.socket.destroyed)
    yield* TestClock.adjust("1 millis")
    yield* until(() => silent.socket.destroyed)
    pending[0]!.end()
    assert.strictEqual(yield* stopping.ended, "graceful in 1000")
  }))

it.effect("a new connection may still send its request, and is served", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    const { client, received } = yield* connect()
    const stopping = yield* stop
    yield* TestClock.adjust("900 millis")
    client.write(wholeRequest)
    yield* until(() => pending.length === 1)
    yield* TestClock.adjust("5 seconds")
    pending[0]!.end("done")
    assert.strictEqual(yield* stopping.ended, "graceful in 5900")
    yield* until(() => client.readableEnded)
    assert.match(received(), /^HTTP\/1.1 200 OK\r\n[^]*Connection: close\r\n[^]*done/)
  }))

for (const phase of ["its timers", "its I/O"]) {
  it.effect(`a request that is sent while the event loop is blocked, in ${phase}, before the drain begins is served`, () =>
    Effect.gen(function*() {
      const { connect, pending, server, stop } = yield* make()
      const { client, received, socket } = yield* connect()
      yield* TestClock.adjust("10 seconds")
      yield* phase === "its timers" ? aWhile : anInput(server)
      yield* sendUnread(client, socket, wholeRequest)
      const stopping = yield* stop
      yield* until(() => pending.length === 1 || socket.destroyed)
      assert.isFalse(socket.destroyed)
      pending[0]!.end("done")
      assert.strictEqual(yield* stopping.ended, "graceful in 0")
      yield* until(() => client.readableEnded)
      assert.match(received(), /^HTTP\/1.1 200 OK\r\n[^]*Connection: close\r\n[^]*done/)
    }))
}

for (const [what, before, rest] of [["the whole", "", wholeRequest], ["the rest", halfRequest, "\r\n"]] as const) {
  it.live(`${what} of a request that is sent while the event loop is blocked until the drain's first second is over is served`, () =>
    Effect.gen(function*() {
      const { connect, pending, stop } = yield* make()
      const { client, socket } = yield* connect(before)
      const stopping = yield* stop
      // In the last phase of a turn: the timer of the drain then is due before there is any input.
      yield* Effect.callback<void>((resume) => void setTimeout(() => setImmediate(() => resume(Effect.void)), 900))
      yield* sendUnread(client, socket, rest, 200)
      yield* until(() => pending.length === 1 || socket.destroyed)
      assert.isFalse(socket.destroyed)
      pending[0]!.end()
      assert.match(yield* stopping.ended, /^graceful/)
    }))
}

it.effect("a request that is not whole is given up a second after the drain began", () =>
  Effect.gen(function*() {
    const { connect, stop } = yield* make()
    const { socket } = yield* connect(halfRequest)
    yield* TestClock.adjust("10 seconds")
    const stopping = yield* stop
    yield* TestClock.adjust("999 millis")
    yield* aWhile
    assert.isFalse(socket.destroyed)
    yield* TestClock.adjust("1 millis")
    assert.strictEqual(yield* stopping.ended, "graceful in 1000")
  }))

it.effect("a request that is not whole has its second, also where nothing else is in flight any more", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    yield* connect(wholeRequest)
    const half = yield* connect(halfRequest)
    const stopping = yield* stop
    yield* TestClock.adjust("500 millis")
    pending[0]!.end()
    yield* until(() => pending[0]!.closed)
    yield* aWhile
    assert.isFalse(half.socket.destroyed)
    yield* TestClock.adjust("500 millis")
    assert.strictEqual(yield* stopping.ended, "graceful in 1000")
  }))

it.effect("a request that is not whole may become so while another is in flight, and does not hold the drain after it", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    yield* connect(wholeRequest)
    const late = yield* connect(halfRequest)
    const never = yield* connect(halfRequest)
    const stopping = yield* stop
    yield* TestClock.adjust("5 seconds")
    yield* aWhile
    late.client.write("\r\n")
    yield* until(() => pending.length === 2)
    pending[0]!.end()
    yield* until(() => pending[0]!.closed)
    yield* aWhile
    assert.isFalse(never.socket.destroyed)
    pending[1]!.end("late")
    yield* until(() => late.client.readableEnded)
    assert.include(late.received(), "late")
    assert.strictEqual(yield* stopping.ended, "graceful in 5000")
  }))

it.effect("a request that became whole while the event loop was blocked is served, also where another then ends", () =>
  Effect.gen(function*() {
    const { connect, pending, stop } = yield* make()
    yield* connect(wholeRequest)
    const late = yield* connect(halfRequest)
    const stopping = yield* stop
    yield* TestClock.adjust("5 seconds")
    yield* aWhile
    yield* Effect.andThen(sendUnread(late.client, late.socket, "\r\n"), Effect.sync(() => pending[0]!.end()))
    yield* until(() => pending.length === 2 || late.socket.destroyed)
    assert.isFalse(late.socket.destroyed)
    pending[1]!.end("late")
    assert.strictEqual(yield* stopping.ended, "graceful in 5000")
  }))

it.effect("a connection that was upgraded holds the drain until it ends", () =>
  Effect.gen(function*() {
    const { connect, server, stop } = yield* make()
    let upgraded = 0
    server.on("upgrade", () => upgraded++)
    const { client, socket } = yield* connect("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    yield* until(() => upgraded === 1)
    const stopping = yield* stop
    yield* TestClock.adjust("5 seconds")
    yield* aWhile
    assert.isFalse(socket.destroyed)
    client.destroy()
    socket.destroy()
    assert.strictEqual(yield* stopping.ended, "graceful in 5000")
  }))

for (const event of ["checkContinue", "checkExpectation"] as const) {
  it.effect(`a request that only a listener for ${event} sees holds the drain until it ends`, () =>
    Effect.gen(function*() {
      const { connect, server, stop } = yield* make()
      const unseen: Array<http.ServerResponse> = []
      server.on(event, (_: http.IncomingMessage, response: http.ServerResponse) => void unseen.push(response))
      const expect = event === "checkContinue" ? "100-continue" : "x"
      const { client, received } = yield* connect(
        `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: ${expect}\r\n\r\n`
      )
      yield* until(() => unseen.length === 1)
      const silent = yield* connect()
      const stopping = yield* stop
      yield* TestClock.adjust("5 seconds")
      yield* until(() => silent.socket.destroyed)
      yield* aWhile
      unseen[0]!.end("done")
      assert.strictEqual(yield* stopping.ended, "graceful in 5000")
      yield* until(() => client.readableEnded)
      assert.include(received(), "done")
    }))
}

it.effect("under TLS what has been silent for a second is closed at once, before its handshake and after it", () =>
  Effect.gen(function*() {
    const { connect, connectSecure, stop } = yield* make({ tls: true })
    yield* connect()
    yield* connectSecure()
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* (yield* stop).ended, "graceful in 0")
  }))

it.effect("under TLS a handshake and a request that are not over are given up a second after the drain began", () =>
  Effect.gen(function*() {
    const { connect, connectSecure, stop } = yield* make({ tls: true })
    // The header of a record that is to follow.
    yield* connect("\u0016\u0003\u0001\u0000\u007f\u0001")
    yield* connectSecure(halfRequest)
    yield* TestClock.adjust("10 seconds")
    const stopping = yield* stop
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* stopping.ended, "graceful in 1000")
  }))

it.effect("under TLS a connection that was upgraded holds the drain until it ends", () =>
  Effect.gen(function*() {
    const { connectSecure, server, stop } = yield* make({ tls: true })
    const upgraded: Array<{ readonly destroyed: boolean; readonly destroy: () => unknown }> = []
    server.on("upgrade", (_: http.IncomingMessage, socket) => void upgraded.push(socket))
    yield* connectSecure("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    yield* until(() => upgraded.length === 1)
    const stopping = yield* stop
    yield* TestClock.adjust("5 seconds")
    yield* aWhile
    assert.isFalse(upgraded[0]!.destroyed)
    upgraded[0]!.destroy()
    assert.strictEqual(yield* stopping.ended, "graceful in 5000")
  }))
