import { assert, describe, it } from "@effect/vitest"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import * as net from "node:net"
import * as Certificates from "./Certificates.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

const authority = Certificates.authority("the authority")
const tls = GrpcChannel.tls({ ca: authority.cert })
const listener = GrpcListener.tcp({
  port: 0,
  host: "127.0.0.1",
  credentials: GrpcCredentials.tls(authority.issue("server"))
})

const bearer = (token: string) => GrpcMetadata.make({ authorization: `Bearer ${token}` })

/** A server that answers with the tokens it got. */
const tokens = (options: { readonly listen?: GrpcListener.GrpcListener } = { listen: listener }) =>
  EchoServer.make({
    say: () =>
      Effect.map(GrpcCall, ({ metadata }) => ({ text: GrpcMetadata.getAll(metadata, "authorization").join(",") })),
    count: ({ to }) =>
      Stream.unwrap(Effect.map(GrpcCall, ({ metadata }) =>
        GrpcMetadata.get(metadata, "authorization") === undefined
          ? Stream.fail(GrpcError.unauthenticated("no token"))
          : Stream.map(Stream.range(1, to), (n) => ({ n }))))
  }, options)

const secure = (
  target: string,
  metadata: GrpcChannel.CallCredentials["metadata"],
  more?: Partial<GrpcChannel.Options>
) => open({ address: target, credentials: tls, callCredentials: { metadata }, ...more })

describe("call credentials", () => {
  it.live("are made for each RPC, of every kind, and told which it is", () =>
    Effect.gen(function*() {
      const { target } = yield* tokens()
      const seen: Array<string> = []
      const { echo } = yield* secure(target, ({ path, serviceUrl }) =>
        Effect.sync(() => {
          seen.push(`${path} ${serviceUrl}`)
          return bearer(String(seen.length))
        }))
      assert.strictEqual((yield* echo.say({ text: "" })).text, "Bearer 1")
      assert.strictEqual((yield* echo.say({ text: "" })).text, "Bearer 2")
      assert.lengthOf(yield* Stream.runCollect(echo.count({ to: 3 })), 3)
      const url = `https://127.0.0.1/lastcall.test.v1.EchoService`
      assert.deepStrictEqual(seen, [
        `/lastcall.test.v1.EchoService/Say ${url}`,
        `/lastcall.test.v1.EchoService/Say ${url}`,
        `/lastcall.test.v1.EchoService/Count ${url}`
      ])
    }))

  it.live("are made again for each attempt", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.flatMap(GrpcCall, ({ metadata }) => {
            seen.push(GrpcMetadata.get(metadata, "authorization")!)
            return seen.length < 3 ? Effect.fail(GrpcError.unauthenticated("expired")) : Effect.succeed({ text })
          })
      }, { listen: listener })
      let made = 0
      const { echo } = yield* secure(target, () => Effect.sync(() => bearer(String(++made))), {
        retry: {
          maxAttempts: 3,
          initialBackoff: 1,
          maxBackoff: 1,
          backoffMultiplier: 1,
          codes: ["UNAUTHENTICATED"]
        }
      })
      yield* echo.say({ text: "" })
      assert.deepStrictEqual(seen, ["Bearer 1", "Bearer 2", "Bearer 3"])
    }))

  it.live("that fail end the RPC with UNAUTHENTICATED, and the server sees nothing of it", () =>
    Effect.gen(function*() {
      const { server, target } = yield* tokens()
      const { channel, echo } = yield* secure(target, () => Effect.fail(GrpcError.unavailable("no token today")))
      for (const failing of [echo.say({ text: "" }), Stream.runDrain(echo.count({ to: 1 })), echo.sum(Stream.never)]) {
        const error = yield* Effect.flip(failing)
        assert.strictEqual(error.code, "UNAUTHENTICATED")
        assert.include(error.message, "UNAVAILABLE no token today")
      }
      assert.strictEqual(channel.inFlight().length, 0)
      assert.strictEqual(server.inFlight().length, 0)
    }))

  it.live("that die, or throw, end it with INTERNAL, and are logged", () =>
    Effect.gen(function*() {
      const { target } = yield* tokens()
      const logs = Logs.make()
      const dying = yield* Effect.provide(secure(target, () => Effect.die(new Error("a bug"))), logs.layer)
      assert.strictEqual((yield* Effect.flip(dying.echo.say({ text: "" }))).code, "INTERNAL")
      yield* logs.awaitLine("the call credentials of /lastcall.test.v1.EchoService/Say died")
      const throwing = yield* secure(target, () => {
        throw new Error("a bug")
      })
      assert.strictEqual((yield* Effect.flip(throwing.echo.say({ text: "" }))).code, "INTERNAL")
    }))

  it.live("are interrupted when the RPC is: by its caller, its deadline, the stop of the channel", () =>
    Effect.gen(function*() {
      const { target } = yield* tokens()
      const reached = Latch.makeUnsafe(false)
      let begun = 0
      let interrupted = 0
      const { channel, close, echo } = yield* secure(
        target,
        () => {
          begun++
          return Effect.onInterrupt(Effect.andThen(reached.open, Effect.never), () => Effect.sync(() => interrupted++))
        },
        { stop: { grace: 0 } }
      )
      const saying = yield* Effect.forkChild(echo.say({ text: "" }))
      yield* reached.await
      yield* Fiber.interrupt(saying)
      yield* EchoServer.until("they are interrupted", () => interrupted === 1)

      const late = yield* Effect.flip(echo.say({ text: "" }, { deadline: 200 }))
      assert.strictEqual(late.code, "DEADLINE_EXCEEDED")
      yield* EchoServer.until("they are interrupted", () => interrupted === begun)

      reached.closeUnsafe()
      const cut = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" })))
      yield* reached.await
      assert.strictEqual(channel.inFlight().length, 1)
      yield* close
      assert.strictEqual((yield* Fiber.join(cut)).code, "CANCELLED")
      assert.strictEqual(interrupted, begun)
    }))

  it.live("are made while the channel drains, too", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      let attempts = 0
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          ++attempts === 1
            ? Effect.andThen(gate.pass, Effect.fail(GrpcError.aborted("once more")))
            : Effect.succeed({ text })
      }, { listen: listener })
      let made = 0
      const { channel, close, echo } = yield* secure(target, () =>
        Effect.delay(Effect.sync(() => bearer(String(++made))), 1), {
        retry: { maxAttempts: 2, initialBackoff: 1, maxBackoff: 1, backoffMultiplier: 1, codes: ["ABORTED"] }
      })
      const saying = yield* Effect.forkChild(echo.say({ text: "hello" }))
      yield* gate.reached
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () =>
        channel.phase() === "Draining")
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(saying)).text, "hello")
      assert.strictEqual(made, 2)
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("leave alone what the RPC says of itself", () =>
    Effect.gen(function*() {
      const { target } = yield* tokens()
      const { echo } = yield* secure(target, () => Effect.succeed(bearer("of the channel")))
      const own = yield* echo.say({ text: "" }, { metadata: bearer("of the RPC") })
      assert.strictEqual(own.text, "Bearer of the RPC")
    }))

  it.live("have the context of the channel, and what they connect to is their own", () =>
    Effect.gen(function*() {
      class Vault extends Context.Service<Vault, { readonly token: string }>()("test/Vault") {}
      const { target } = yield* tokens()
      const { port } = yield* EchoServer.make()
      const sockets: Array<net.Socket> = []
      yield* Effect.addFinalizer(() => Effect.sync(() => sockets.forEach((socket) => socket.destroy())))
      const { close, echo } = yield* Effect.gen(function*() {
        const vault = yield* Effect.context<Vault>()
        return yield* secure(target, () =>
          Effect.provide(
            Effect.map(Vault, ({ token }) => {
              sockets.push(net.connect(port, "127.0.0.1"))
              return bearer(token)
            }),
            vault
          ))
      }).pipe(Effect.provideService(Vault, { token: "secret" }))
      assert.strictEqual((yield* echo.say({ text: "" })).text, "Bearer secret")
      yield* close
      assert.deepStrictEqual(sockets.map(({ destroyed }) => destroyed), [false])
    }))

  it.live("are not sent over plaintext", () =>
    Effect.gen(function*() {
      const metadata = () => Effect.succeed(bearer("secret"))
      for (const credentials of [undefined, GrpcChannel.insecure]) {
        const exit = yield* Effect.exit(
          GrpcChannel.make({ address: "127.0.0.1:1", credentials, callCredentials: { metadata } })
        )
        assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), "channel option callCredentials is")
      }
      const { target } = yield* tokens({})
      const { echo } = yield* open({ address: target, callCredentials: { metadata, overPlaintext: true } })
      assert.strictEqual((yield* echo.say({ text: "" })).text, "Bearer secret")
    }))

  it.live("are not made before there is a connection", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = `${directory}/api.sock`
      let made = 0
      const { channel, echo } = yield* open({
        address: GrpcChannel.unix(file),
        callCredentials: { overPlaintext: true, metadata: () => Effect.sync(() => bearer(String(++made))) },
        reconnect: { initialBackoff: 5, maxBackoff: 10 }
      })
      const saying = yield* Effect.forkChild(echo.say({ text: "" }, { waitForReady: true }))
      yield* EchoServer.until("there is no server", () => channel.state() === "TRANSIENT_FAILURE")
      assert.strictEqual(made, 0)
      yield* tokens({ listen: GrpcListener.unix(file) })
      assert.strictEqual((yield* Fiber.join(saying)).text, "Bearer 1")
    }))
})
