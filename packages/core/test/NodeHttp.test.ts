import { assert, it } from "@effect/vitest"
import * as NodeHttp from "@lastcall/core/NodeHttp"
import type { Options } from "@lastcall/core/StopPolicy"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as http from "node:http"
import type { AddressInfo, Socket } from "node:net"

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

/** Waits in real time, a turn of the event loop at a time. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() =>
    condition()
      ? Effect.void
      : Effect.andThen(
        Effect.callback<void>((resume) => void setTimeout(() => resume(Effect.void), 1)),
        until(condition)
      )
  )

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
