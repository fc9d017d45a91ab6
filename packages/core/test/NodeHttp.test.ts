import { assert, it } from "@effect/vitest"
import * as NodeHttp from "@lastcall/core/NodeHttp"
import type { Options } from "@lastcall/core/StopPolicy"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import * as net from "node:net"
import { until } from "./RealTime.ts"

interface Answer {
  readonly status: number | undefined
  readonly connection: string | undefined
  readonly body: string
}

/** A server whose responses the test ends, and a client that keeps its connections. */
const make = Effect.fnUntraced(function*(stop: Options = {}) {
  const scope = yield* Scope.make()
  const pending: Array<http.ServerResponse> = []
  const server = http.createServer((_, response) => void pending.push(response))
  const graceful = yield* Scope.provide(NodeHttp.make(server, { name: "health", stop }), scope)
  yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
  const agent = new http.Agent({ keepAlive: true })
  yield* Effect.addFinalizer(() =>
    Effect.andThen(Effect.sync(() => agent.destroy()), Effect.andThen(graceful.escalate, graceful.stop))
  )
  const { port } = server.address() as AddressInfo
  const get: Effect.Effect<Answer, Error> = Effect.callback((resume) => {
    http.get({ port, host: "127.0.0.1", agent }, (response) => {
      let body = ""
      response.on("data", (chunk: Buffer) => {
        body += chunk.toString()
      })
      response.on(
        "end",
        () => resume(Effect.succeed({ status: response.statusCode, connection: response.headers.connection, body }))
      )
      response.on("error", (error) => resume(Effect.fail(error)))
    }).on("error", (error) => resume(Effect.fail(error)))
  })
  return { pending, graceful, get, server, close: Effect.forkChild(Scope.close(scope, Exit.void)) }
})

it.live("a request in flight is answered during the drain, and its connection is not kept alive", () =>
  Effect.gen(function*() {
    const { close, get, graceful, pending, server } = yield* make()
    const warm = yield* Effect.forkChild(get)
    yield* until(() => pending.length === 1)
    pending[0]!.end("warm")
    assert.strictEqual((yield* Fiber.join(warm)).connection, "keep-alive")

    const request = yield* Effect.forkChild(get)
    yield* until(() => pending.length === 2)
    const closing = yield* close
    yield* until(() => !server.listening)
    assert.strictEqual(graceful.phase(), "Draining")
    pending[1]!.end("ok")
    assert.deepStrictEqual(yield* Fiber.join(request), { status: 200, connection: "close", body: "ok" })
    yield* Fiber.join(closing)
    const report = yield* graceful.stop
    assert.strictEqual(report.outcome, "graceful")
    assert.deepInclude(report.counts, { admitted: 2, succeeded: 2 })
    assert.deepStrictEqual(Object.keys(report.kinds), ["GET"])
  }))

it.live("a response whose headers had gone out before the drain does not hold it by its connection", () =>
  Effect.gen(function*() {
    const { close, get, graceful, pending, server } = yield* make()
    server.keepAliveTimeout = 0
    const request = yield* Effect.forkChild(get)
    yield* until(() => pending.length === 1)
    pending[0]!.writeHead(200)
    pending[0]!.write("half ")
    const closing = yield* close
    yield* until(() => !server.listening)
    pending[0]!.end("done")
    assert.strictEqual((yield* Fiber.join(request)).body, "half done")
    yield* Fiber.join(closing)
    assert.strictEqual((yield* graceful.stop).outcome, "graceful")
  }))

it.live("in a force a request without a response gets 503, and one that is half sent is reset", () =>
  Effect.gen(function*() {
    const { close, get, graceful, pending } = yield* make({ grace: 0 })
    const waiting = yield* Effect.forkChild(get)
    yield* until(() => pending.length === 1)
    const half = yield* Effect.forkChild(Effect.flip(get))
    yield* until(() => pending.length === 2)
    pending[1]!.writeHead(200)
    pending[1]!.write("half ")
    yield* until(() => pending[1]!.writableLength === 0)
    const closing = yield* close
    assert.deepStrictEqual(yield* Fiber.join(waiting), {
      status: 503,
      connection: "close",
      body: "the server is shutting down\n"
    })
    yield* Fiber.join(half)
    // The handler does not know, and goes on as if nothing had happened.
    pending[0]!.setHeader("x-late", "1")
    pending[0]!.writeHead(200)
    pending[0]!.write("late")
    pending[0]!.end()
    yield* Fiber.join(closing)
    assert.deepInclude((yield* graceful.stop).counts, { admitted: 2, interrupted: 2 })
  }))

it.live("a connection that was upgraded is destroyed in a force", () =>
  Effect.gen(function*() {
    const { close, graceful, server } = yield* make({ grace: 0, forceTimeout: 0 })
    server.on("upgrade", (_, socket) =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
    const { port } = server.address() as AddressInfo
    const socket = yield* Effect.callback<Socket>((resume) => {
      http.get({ port, host: "127.0.0.1", headers: { Connection: "upgrade", Upgrade: "x" } })
        .on("upgrade", (_, socket) =>
          resume(Effect.succeed(socket as Socket)))
    })
    socket.on("error", () => {})
    socket.resume()
    yield* Fiber.join(yield* close)
    assert.strictEqual((yield* graceful.stop).outcome, "forced")
    yield* until(() => socket.destroyed)
  }))

it.live("a server that does not listen stops at once", () =>
  Effect.gen(function*() {
    const stop = yield* NodeHttp.make(http.createServer(), { name: "idle" })
    assert.strictEqual((yield* stop.stop).outcome, "graceful")
  }))

/** A client that says what it is told to say. */
const connect = Effect.fnUntraced(function*(server: net.Server) {
  const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1")
  client.on("error", () => {})
  yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
  let received = ""
  client.on("data", (chunk: Buffer) => {
    received += chunk.toString()
  })
  return { client, received: () => received }
})

/** A server whose connections come from a listener of the program's own, also when its stop is over. */
const unbound = Effect.gen(function*() {
  const pending: Array<http.ServerResponse> = []
  const server = http.createServer((_, response) => void pending.push(response))
  const graceful = yield* NodeHttp.make(server, { name: "pages" })
  const listener = net.createServer((socket) => server.emit("connection", socket))
  yield* Effect.callback<void>((resume) => void listener.listen(0, "127.0.0.1", () => resume(Effect.void)))
  yield* Effect.addFinalizer(() => Effect.sync(() => listener.close()))
  return { ...yield* connect(listener), graceful, pending, server }
})

it.live("a request on a connection that is still in use is served during the drain, and is the last one there", () =>
  Effect.gen(function*() {
    const { graceful, pending, server } = yield* make()
    const { client, received } = yield* connect(server)
    client.write("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    yield* until(() => pending.length === 1)
    pending[0]!.setHeader("x-page", "1").flushHeaders()
    const stopping = yield* Effect.forkChild(graceful.stop)
    yield* until(() => !server.listening)
    client.write("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    yield* until(() => pending.length === 2)
    pending[1]!.setHeader("x-page", "2").end()
    pending[0]!.end()
    assert.deepInclude((yield* Fiber.join(stopping)).counts, { admitted: 2, succeeded: 2 })
    yield* until(() => client.readableEnded)
    const [, first, second] = received().split("HTTP/1.1 200 OK")
    assert.include(first, "Connection: keep-alive")
    assert.include(second, "Connection: close")
  }))

it.live("a request that comes when the stop is over gets 503, and whoever handles it may go on", () =>
  Effect.gen(function*() {
    const { client, graceful, pending, received } = yield* unbound
    yield* graceful.stop
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    yield* until(() => client.readableEnded)
    assert.match(received(), /^HTTP\/1.1 503 /)
    assert.include(received(), "Connection: close")
    assert.include(received(), "Content-Type: text/plain")
    assert.include(received(), "the server is shutting down\n")
    const late = pending[0]!
    assert.isTrue(late.write("late"))
    assert.strictEqual(late.setHeader("x-late", "1").appendHeader("x-late", "2").writeHead(200).end("late"), late)
    late.removeHeader("x-late")
    late.flushHeaders()
  }))

it.live("a request that was answered before it could be refused keeps its answer", () =>
  Effect.gen(function*() {
    const { client, graceful, received, server } = yield* unbound
    yield* graceful.stop
    server.prependListener("request", (_, response) => void response.writeHead(200).end("mine"))
    client.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    yield* until(() => client.readableEnded)
    assert.match(received(), /^HTTP\/1.1 200 [^]*mine/)
  }))

it.live("a request whose client hangs up counts as failed", () =>
  Effect.gen(function*() {
    const { client, graceful, pending } = yield* unbound
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    yield* until(() => pending.length === 1)
    client.destroy()
    yield* until(() => pending[0]!.closed)
    const report = yield* graceful.stop
    assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    assert.strictEqual(report.outcome, "graceful")
  }))

it.live("while it serves, connections are kept alive, also those that are idle when another request ends", () =>
  Effect.gen(function*() {
    const { get, pending, server } = yield* make()
    let connections = 0
    server.on("connection", () => connections++)
    const answer = Effect.fnUntraced(function*(expected: number) {
      const request = yield* Effect.forkChild(get)
      yield* until(() => pending.length === expected)
      return request
    })
    const [first, second] = [yield* answer(1), yield* answer(2)]
    pending[0]!.end("1")
    yield* Fiber.join(first)
    pending[1]!.end("2")
    yield* Fiber.join(second)
    yield* until(() => pending[1]!.closed)
    const [third, fourth] = [yield* answer(3), yield* answer(4)]
    pending[2]!.end("3")
    pending[3]!.end("4")
    assert.strictEqual((yield* Fiber.join(third)).body, "3")
    assert.strictEqual((yield* Fiber.join(fourth)).body, "4")
    assert.strictEqual(connections, 2)
  }))

it.live("it listens to the server until the scope closes", () =>
  Effect.gen(function*() {
    const server = http.createServer()
    const count = () => ["request", "connection", "secureConnection"].map((event) => server.listenerCount(event))
    const before = count()
    yield* Effect.scoped(NodeHttp.make(server, { name: "pages" }))
    assert.deepStrictEqual(count(), before)
  }))
