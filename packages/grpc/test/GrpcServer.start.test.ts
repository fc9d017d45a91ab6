/** Servers that cannot start: one of their listeners cannot be bound, or the start is interrupted. */
import { assert, describe, it } from "@effect/vitest"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as net from "node:net"
import * as path from "node:path"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Sockets from "./Sockets.ts"

/** An hour of virtual time, which nobody lets pass. */
const stop = { drainDelay: "1 hour", grace: "1 hour" } as const

/** A start that has bound its first listener and is at its second, which ends as the test says. */
const begin = Effect.fnUntraced(function*(handlers: Partial<EchoServer.Handlers> = {}) {
  const file = path.join(yield* Sockets.directory, "api.sock")
  const credentials = Deferred.makeUnsafe<{ readonly key: string; readonly cert: string }>()
  const isAsked = Deferred.makeUnsafe<void>()
  const second = GrpcListener.tcp({
    port: 0,
    host: "127.0.0.1",
    credentials: GrpcCredentials.tls(
      Stream.fromEffect(Effect.andThen(Deferred.succeed(isAsked, undefined), Deferred.await(credentials)))
    )
  })
  const starting = yield* GrpcServer.make("api", {
    services: [EchoServer.Echo],
    listen: [GrpcListener.unix(file), second],
    stop
  }).pipe(Effect.provide(EchoServer.layer(handlers)), Effect.scoped, Effect.forkChild)
  yield* Deferred.await(isAsked)
  assert.isFalse(yield* Sockets.isFree({ path: file }))
  return { file, starting, fail: Deferred.succeed(credentials, { key: "none", cert: "none" }) }
})

describe("a server that cannot start waits for no drain delay", () => {
  it.effect("since an address is in use", () =>
    Effect.gen(function*() {
      const file = path.join(yield* Sockets.directory, "api.sock")
      const other = net.createServer()
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void other.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => other.close())
      )
      const { port } = other.address() as net.AddressInfo
      const error = yield* GrpcServer.make("api", {
        services: [],
        listen: [GrpcListener.unix(file), GrpcListener.tcp({ port, host: "127.0.0.1" })],
        stop
      }).pipe(Effect.flip)
      assert.strictEqual(error.reason, "AddressInUse")
      assert.isTrue(yield* Sockets.isFree({ path: file }))
    }))

  it.effect("and closes at once what it has bound; what is in flight there is drained", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { fail, file, starting } = yield* begin({ say: ({ text }) => Effect.as(gate.pass, { text }) })
      const client = yield* EchoClient.make(`unix:${file}`)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      yield* fail
      yield* Effect.repeat(Sockets.isFree({ path: file }), { until: (isFree) => isFree })
      assert.isUndefined(starting.pollUnsafe())
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      const error = yield* Effect.flip(Fiber.join(starting))
      assert.strictEqual(error.reason, "InvalidCredentials")
    }))

  it.effect("since its start was interrupted", () =>
    Effect.gen(function*() {
      const { file, starting } = yield* begin()
      yield* Fiber.interrupt(starting)
      assert.isTrue(yield* Sockets.isFree({ path: file }))
    }))
})
