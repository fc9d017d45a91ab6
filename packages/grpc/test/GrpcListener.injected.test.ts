import { assert, describe, it } from "@effect/vitest"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import type { GrpcLimits } from "@lastcall/grpc/GrpcLimits"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as MemorySocket from "@lastcall/testing/MemorySocket"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as http2 from "node:http2"
import * as net from "node:net"
import * as tls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

type Inject = (connection: GrpcListener.Connection) => void

/** A source of connections in the test's hand. */
const source = () => {
  const state = { inject: undefined as Inject | undefined, stopped: 0 }
  const start = (inject: Inject) => {
    state.inject = inject
    return () => void state.stopped++
  }
  return { state, start }
}

const serve = (listener: GrpcListener.GrpcListener, limits?: GrpcLimits) =>
  Effect.provide(
    GrpcServer.make("api", { services: [EchoServer.Echo], listen: [listener], limits, stop: { grace: 0 } }),
    EchoServer.layer()
  )

const closed = (socket: MemorySocket.MemorySocket): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    socket.resume().once("close", () => resume(Effect.void))
  })

describe("injected connections", () => {
  it.live("of another server are served, and the source is stopped once, when the drain begins", () =>
    Effect.gen(function*() {
      const front = yield* Effect.acquireRelease(
        Effect.callback<net.Server>((resume) => {
          const server = net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { start, state } = source()
      const server = yield* serve(GrpcListener.injected("proxy", { start }))
      front.on("connection", state.inject!)
      assert.deepStrictEqual(server.addresses(), [{ _tag: "Injected", name: "proxy" }])
      assert.strictEqual(GrpcListener.target(server.addresses()[0]!), "injected:proxy")

      const client = yield* EchoClient.make(`127.0.0.1:${(front.address() as net.AddressInfo).port}`)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.strictEqual(server.connections(), 1)
      assert.strictEqual(state.stopped, 0)
      const report = yield* server.stop
      assert.strictEqual(state.stopped, 1)
      assert.strictEqual(report.counts.succeeded, 1)
    }))

  it.live("that come after the listener has closed are destroyed", () =>
    Effect.gen(function*() {
      const { start, state } = source()
      const server = yield* serve(GrpcListener.injected("late", { start }))
      yield* server.stop
      const [client, end] = MemorySocket.pair()
      state.inject!(end)
      assert.isTrue(end.destroyed)
      assert.strictEqual(server.connections(), 0)
      yield* closed(client)
    }))

  it.live("that have closed before they are handed over hold no place", () =>
    Effect.gen(function*() {
      const { start, state } = source()
      const server = yield* serve(GrpcListener.injected("gone", { start }))
      const [, end] = MemorySocket.pair()
      yield* Effect.callback<void>((resume) => void end.once("close", () => resume(Effect.void)).destroy())
      state.inject!(end)
      assert.strictEqual(server.connections(), 0)
    }))

  it.live("are limited as others are", () =>
    Effect.gen(function*() {
      const { start, state } = source()
      const server = yield* serve(GrpcListener.injected("many", { start }), { maxConnections: 1 })
      const [, first] = MemorySocket.pair()
      const [client, second] = MemorySocket.pair()
      state.inject!(first)
      state.inject!(second)
      yield* closed(client)
      assert.strictEqual(server.connections(), 1)
    }))

  it.live("are destroyed in a force", () =>
    Effect.gen(function*() {
      const { start, state } = source()
      const server = yield* serve(GrpcListener.injected("silent", { start }))
      const [client, end] = MemorySocket.pair()
      state.inject!(end)
      assert.strictEqual((yield* server.stop).outcome, "forced")
      yield* closed(client)
      assert.strictEqual(server.connections(), 0)
    }))

  it.live("speak TLS, with the credentials of the listener", () =>
    Effect.gen(function*() {
      const authority = Certificates.authority("test")
      const { start, state } = source()
      yield* serve(GrpcListener.injected("secure", {
        start,
        credentials: GrpcCredentials.tls(authority.issue("localhost"))
      }))
      const [client, end] = MemorySocket.pair()
      state.inject!(end)
      const status = yield* Deferred.make<unknown>()
      const session = yield* Effect.acquireRelease(
        Effect.sync(() =>
          http2.connect("https://localhost", {
            createConnection: () =>
              tls.connect({ socket: client, ca: authority.cert, servername: "localhost", ALPNProtocols: ["h2"] })
          })
        ),
        (session) => Effect.sync(() => session.destroy())
      )
      session.request({ ":method": "POST", ":path": "/none/None", "content-type": "application/grpc", te: "trailers" })
        .on("response", (headers) => Deferred.doneUnsafe(status, Effect.succeed(headers["grpc-status"])))
        .end()
      assert.strictEqual(yield* Deferred.await(status), "12")
    }))

  it.live("of a source that cannot start: the server does not listen, and says why", () =>
    Effect.gen(function*() {
      const listener = GrpcListener.injected("broken", {
        start() {
          throw new Error("no tunnel")
        }
      })
      const error = yield* Effect.flip(Effect.scoped(serve(listener)))
      assert.strictEqual(error.reason, "Unknown")
      assert.strictEqual(error.message, "cannot listen on injected:broken: no tunnel (Unknown)")
    }))
})
