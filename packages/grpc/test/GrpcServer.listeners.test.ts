/** Listeners that fail after they were bound, and what is theirs to close. */
import { assert, describe, it } from "@effect/vitest"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { vi } from "vitest"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"
import * as Sockets from "./Sockets.ts"

const local = GrpcListener.tcp({ port: 0, host: "127.0.0.1" })

describe("a listener", () => {
  it.live("that cannot accept a connection is logged, and goes on", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const listen = vi.spyOn(net.Server.prototype, "listen")
      yield* Effect.addFinalizer(() => Effect.sync(() => listen.mockRestore()))
      const { target } = yield* Effect.provide(EchoServer.make(), logs.layer)
      const netServer = listen.mock.contexts[0] as net.Server
      // as Node does when a process has too many open files
      netServer.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE" }))
      yield* logs.awaitLine("ERROR api: accepting a connection failed")
      assert.include(logs.lines.at(-1), "accept EMFILE")
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("that cannot be released is logged, and does not hold the stop or the listeners after it", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const stuck = GrpcListener.injected("proxy", {
        start: () => () => {
          throw new Error("the proxy is gone")
        }
      })
      const server = yield* GrpcServer.make("api", { services: [], listen: [stuck, local] }).pipe(
        Effect.provide(logs.layer)
      )
      const address = server.addresses()[1]!
      assert.strictEqual((yield* server.stop).outcome, "graceful")
      yield* logs.awaitLine("ERROR api: injected:proxy could not be released")
      assert.isTrue(yield* Sockets.isFree({ port: address._tag === "Tcp" ? address.port : 0 }))
    }))

  it.live("is closed once: a force leaves alone what is at its path by then", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const [file, other] = [path.join(directory, "api.sock"), path.join(directory, "other.sock")]
      const { close, server, target } = yield* EchoServer.make({ say: () => Effect.never }, {
        listen: GrpcListener.unix(file)
      })
      const client = yield* EchoClient.make(target)
      yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* EchoServer.until("it is in flight", () => server.inFlight().length === 1)
      // A link keeps the inode, which a successor's socket may get otherwise.
      fs.linkSync(file, other)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the drain has begun", () => !server.isAdmitting())
      assert.deepStrictEqual(fs.readdirSync(directory), ["other.sock"])
      fs.renameSync(other, file)
      yield* server.escalate
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "forced")
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
    }))

  it.live("whose bind ends when the listeners have been closed leaves nothing behind", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const server = yield* GrpcServer.make("api", { services: [], listen: [], stop: { grace: 0 } })
      const listening = yield* Effect.forkChild(server.listen(GrpcListener.unix(path.join(directory, "api.sock"))), {
        startImmediately: true
      })
      assert.strictEqual((yield* server.stop).outcome, "forced")
      assert.isUndefined(listening.pollUnsafe())
      assert.strictEqual((yield* Effect.flip(Fiber.join(listening))).reason, "ServerStopped")
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))

  it.live("that comes after the announcement is refused at once, and its credentials are not asked for", () =>
    Effect.gen(function*() {
      let isAsked = false
      const keys = Stream.suspend(() => {
        isAsked = true
        return Stream.never as Stream.Stream<{ readonly key: string; readonly cert: string }>
      })
      const { close, server } = yield* EchoServer.make({}, { stop: { drainDelay: "1 hour" } })
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* EchoServer.until("the stop is announced", () => server.phase() === "Announced")
      const listening = yield* Effect.forkChild(
        Effect.flip(server.listen(GrpcListener.tcp({ port: 0, credentials: GrpcCredentials.tls(keys) }))),
        { startImmediately: true }
      )
      assert.isDefined(listening.pollUnsafe())
      assert.strictEqual((yield* Fiber.join(listening)).reason, "ServerStopped")
      assert.isFalse(isAsked)
      yield* server.escalate
      yield* Fiber.join(closing)
    }))
})
