import { assert, describe, it } from "@effect/vitest"
import { Refused } from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type { StopReport } from "@lastcall/core/StopReport"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as net from "node:net"
import * as path from "node:path"
import * as Certificates from "./Certificates.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

const tcp = (credentials?: GrpcCredentials.GrpcCredentials) =>
  GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials })

/** A server that says hello in HTTP/2, and never closes a connection. */
const rude = Effect.acquireRelease(
  Effect.callback<{ readonly sockets: Array<net.Socket>; readonly server: net.Server }>((resume) => {
    const sockets: Array<net.Socket> = []
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket)
      socket.on("error", () => {})
      socket.resume()
      // An empty SETTINGS frame.
      socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ sockets, server })))
  }),
  ({ server, sockets }) =>
    Effect.sync(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
).pipe(Effect.map(({ server, sockets }) => {
  const { port } = server.address() as net.AddressInfo
  return { sockets, port, target: `127.0.0.1:${port}` }
}))

describe("the release of a channel", () => {
  it.effect("waits for its RPCs, refuses new ones, and leaves no connection", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { server, target } = yield* EchoServer.make({
        say: ({ text }) => Effect.as(gate.pass, { text }),
        count: () => Stream.concat(Stream.make({ n: 1 }), Stream.fromEffect(Effect.as(gate.pass, { n: 2 })))
      })
      const { channel, close, echo } = yield* open({ address: target })
      const saying = yield* Effect.forkChild(echo.say({ text: "hello" }))
      const counting = yield* Effect.forkChild(Stream.runCollect(echo.count({ to: 2 })))
      yield* gate.reached
      yield* EchoServer.until("both are in flight", () => server.inFlight().length === 2)
      assert.strictEqual(server.connections(), 1)
      assert.strictEqual(channel.inFlight().length, 2)

      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () => channel.phase() === "Draining")
      const refused = yield* Effect.flip(echo.say({ text: "late" }))
      assert.strictEqual(refused.code, "UNAVAILABLE")
      assert.instanceOf(refused.cause, Refused)
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(echo.count({ to: 1 })))).code, "UNAVAILABLE")
      assert.strictEqual((yield* Effect.flip(echo.sum(Stream.never))).code, "UNAVAILABLE")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(echo.chat(Stream.never)))).code, "UNAVAILABLE")
      assert.isUndefined(closing.pollUnsafe())

      yield* gate.open
      assert.strictEqual((yield* Fiber.join(saying)).text, "hello")
      assert.deepStrictEqual((yield* Fiber.join(counting)).map(({ n }) => n), [1, 2])
      const report: StopReport = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 2, succeeded: 2, refused: 4 })
      yield* EchoServer.until("no connection is left", () => server.connections() === 0)
    }))

  it.effect("cancels its RPCs when the grace period is over, and leaves no connection", () =>
    Effect.gen(function*() {
      const interrupted: Array<string> = []
      const { server, target } = yield* EchoServer.make({
        say: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push("say"))),
        chat: () => Stream.onExit(Stream.never, () => Effect.sync(() => interrupted.push("chat")))
      })
      const { channel, close, echo } = yield* open({ address: target, name: "echo", stop: { grace: "5 seconds" } })
      const saying = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" })))
      const chatting = yield* Effect.forkChild(Effect.flip(Stream.runDrain(echo.chat(Stream.never))))
      yield* EchoServer.until("both are in flight", () => server.inFlight().length === 2)

      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () => channel.phase() === "Draining")
      yield* TestClock.adjust("4999 millis")
      assert.strictEqual(channel.inFlight().length, 2)
      assert.deepStrictEqual(interrupted, [])
      yield* TestClock.adjust("1 millis")
      for (const error of [yield* Fiber.join(saying), yield* Fiber.join(chatting)]) {
        assert.deepInclude(error, { code: "CANCELLED", message: "echo was stopped" })
      }
      const report = yield* Fiber.join(closing)
      assert.deepInclude(report, { name: "echo", outcome: "forced", forcedBy: "grace" })
      assert.deepInclude(report.counts, { admitted: 2, interrupted: 2 })
      yield* EchoServer.until("no connection is left", () => server.connections() === 0)
      assert.sameMembers(interrupted, ["say", "chat"])
    }))

  it.effect("cancels an RPC that waits for a server that is not there", () =>
    Effect.gen(function*() {
      const port = yield* Sockets.freePort
      const { channel, close, echo } = yield* open({ address: `127.0.0.1:${port}`, stop: { grace: 0 } })
      const saying = yield* Effect.forkChild(Effect.flip(echo.say({ text: "" }, { waitForReady: true })))
      yield* EchoServer.until("it is in flight", () => channel.inFlight().length === 1)
      assert.strictEqual((yield* close).outcome, "forced")
      assert.strictEqual((yield* Fiber.join(saying)).code, "CANCELLED")
    }))

  it.effect("destroys the connection to a server that does not close its side, after half a second", () =>
    Effect.gen(function*() {
      const { sockets, target } = yield* rude
      const made = yield* Sockets.made
      const { channel, close, echo } = yield* open({ address: target })
      const error = yield* Effect.flip(echo.say({ text: "" }, { deadline: 200 }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
      yield* channel.awaitReady
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the client has ended its half", () => sockets.every((socket) => socket.readableEnded))
      assert.strictEqual(channel.phase(), "Draining")
      assert.lengthOf(sockets, 1)
      assert.isFalse(sockets[0]!.destroyed)
      assert.strictEqual(made.filter(({ destroyed }) => !destroyed).length, 1)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      assert.isTrue(made.every(({ destroyed }) => destroyed))
    }))

  it.effect("leaves alone what the program connects to when an RPC has ended", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const other = yield* rude
      const { close, echo } = yield* open({ address: target })
      const own: Array<net.Socket> = []
      const connect = () => {
        own.push(net.connect(other.port, "127.0.0.1"))
      }
      yield* Effect.addFinalizer(() => Effect.sync(() => own.forEach((socket) => socket.destroy())))
      yield* echo.say({ text: "" }, { onHeaders: connect, onTrailers: connect })
      yield* Stream.runForEach(echo.count({ to: 1 }), () => Effect.sync(connect))
      assert.strictEqual((yield* close).outcome, "graceful")
      assert.deepStrictEqual(own.map(({ destroyed }) => destroyed), [false, false, false])
    }))

  it.effect("shares no connection with another channel", () =>
    Effect.gen(function*() {
      const { server, target } = yield* EchoServer.make()
      const first = yield* open({ address: target })
      const second = yield* open({ address: target })
      yield* first.echo.say({ text: "" })
      yield* second.echo.say({ text: "" })
      assert.strictEqual(server.connections(), 2)
      yield* first.close
      yield* EchoServer.until("one connection is left", () => server.connections() === 1)
      assert.strictEqual((yield* second.echo.say({ text: "still" })).text, "still")
    }))

  it.effect("counts how RPCs ended: failed and interrupted ones are not waited for", () =>
    Effect.gen(function*() {
      const reached = Latch.makeUnsafe(false)
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          text === "fail" ? Effect.fail(GrpcError.notFound("no")) : Effect.andThen(reached.open, Effect.never)
      })
      const { close, echo } = yield* open({ address: target, stop: { grace: "Infinity" } })
      yield* Effect.flip(echo.say({ text: "fail" }))
      const hanging = yield* Effect.forkChild(echo.say({ text: "hang" }))
      yield* reached.await
      yield* Fiber.interrupt(hanging)
      const report = yield* close
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 2, failed: 2 })
    }))

  it.live("is part of the stop of the process, after the server whose handlers use it", () =>
    Effect.gen(function*() {
      const address = Deferred.makeUnsafe<string>()
      const process = Deferred.makeUnsafe<Lifecycle.Lifecycle>()
      const behind = yield* EchoServer.make({ say: ({ text }) => Effect.succeed({ text: `${text}, behind` }) })
      const gate = yield* EchoServer.makeGate
      const handlers = Effect.map(
        GrpcClient.make(EchoService),
        (echo): EchoServer.Handlers => ({
          ...EchoServer.defaults,
          // It calls while its server drains.
          say: ({ text }) => Effect.map(Effect.andThen(gate.pass, echo.say({ text })), ({ text }) => ({ text }))
        })
      )
      const gateway = GrpcServer.layer("gateway", {
        services: [EchoServer.Echo],
        listen: [tcp()],
        onListening: (server) => Deferred.succeed(address, GrpcListener.target(server.addresses()[0]!))
      }).pipe(
        Layer.provide(EchoServer.Echo.toLayer(handlers)),
        Layer.provide(GrpcChannel.layer({ address: behind.target, name: "to behind" }))
      )
      const program = Layer.merge(
        gateway,
        Layer.effectDiscard(Effect.flatMap(Lifecycle.Lifecycle, (self) => Deferred.succeed(process, self)))
      )
      const launched = yield* Effect.forkChild(Lifecycle.launch(program, { budget: "10 seconds" }))
      const { echo } = yield* open({ address: yield* Deferred.await(address) })
      const saying = yield* Effect.forkChild(echo.say({ text: "hello" }))
      yield* gate.reached
      const stopping = yield* Deferred.await(process)
      yield* stopping.stop
      yield* EchoServer.until("the servers drain", () => (stopping.phase() === "Draining"))
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(saying)).text, "hello, behind")
      const report = yield* Fiber.join(launched)
      assert.deepStrictEqual(report.resources.map(({ name, outcome }) => [name, outcome]), [
        ["gateway", "graceful"],
        ["to behind", "graceful"]
      ])
      yield* EchoServer.until("no connection is left", () => behind.server.connections() === 0)
    }))
})

describe("addresses", () => {
  it("are gRPC targets", () => {
    assert.strictEqual(GrpcChannel.dns("api.internal", 50051), "dns:///api.internal:50051")
    assert.strictEqual(GrpcChannel.dns("::1", 80), "dns:///[::1]:80")
    assert.strictEqual(GrpcChannel.ipv4("10.0.0.1:1", "10.0.0.2:2"), "ipv4:10.0.0.1:1,10.0.0.2:2")
    assert.strictEqual(GrpcChannel.ipv6("[::1]:1", "[2001:db8::1]:2"), "ipv6:[::1]:1,[2001:db8::1]:2")
    assert.strictEqual(GrpcChannel.unix("/run/app.sock"), "unix:/run/app.sock")
  })

  it("that are none are refused", () => {
    for (
      const make of [
        () => GrpcChannel.dns("", 1),
        () => GrpcChannel.dns("a", 65_536),
        () => GrpcChannel.ipv4("a:1"),
        () => GrpcChannel.ipv4("10.0.0.1"),
        () => GrpcChannel.ipv6("::1:1")
      ]
    ) assert.throws(make, GrpcChannel.GrpcChannelOptionError)
  })

  it.effect("of every kind are dialled", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const { port, server } = yield* EchoServer.make()
      yield* server.listen(GrpcListener.unix(file))
      const addresses = [
        `127.0.0.1:${port}`,
        GrpcChannel.dns("127.0.0.1", port),
        GrpcChannel.dns("localhost", port),
        GrpcChannel.ipv4(`127.0.0.1:${port}`),
        GrpcChannel.unix(file)
      ]
      for (const address of addresses) {
        const { close, echo } = yield* open({ address })
        assert.strictEqual((yield* echo.say({ text: address })).text, address)
        yield* close
      }
      yield* EchoServer.until("no connection is left", () => server.connections() === 0)
    }))
})

describe("credentials", () => {
  const authority = Certificates.authority("the authority")
  const stranger = Certificates.authority("a stranger")
  const identity = authority.issue("server")
  const client = authority.issue("client")
  const ca = authority.cert

  it.effect("TLS: the server must prove that it is the one that was dialled", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({}, { listen: tcp(GrpcCredentials.tls(identity)) })
      const good = yield* open({ address: target, credentials: GrpcChannel.tls({ ca }) })
      assert.strictEqual((yield* good.echo.say({ text: "hello" })).text, "hello")
      const bad = [
        GrpcChannel.tls({ ca: stranger.cert }),
        GrpcChannel.tls({ ca }, { serverName: "elsewhere.example" }),
        GrpcChannel.insecure
      ]
      for (const credentials of bad) {
        const { echo } = yield* open({ address: target, credentials })
        assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "UNAVAILABLE")
      }
    }))

  it.effect("mTLS: the server knows who calls", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({
        say: () => Effect.map(GrpcCall, ({ peerCertificate }) => ({ text: String(peerCertificate?.subject.CN) }))
      }, { listen: tcp(GrpcCredentials.mtls({ ...identity, clientCa: ca })) })
      const known = yield* open({ address: target, credentials: GrpcChannel.mtls({ ca, ...client }) })
      assert.strictEqual((yield* known.echo.say({ text: "" })).text, "client")
      const unknown = yield* open({ address: target, credentials: GrpcChannel.tls({ ca }) })
      assert.strictEqual((yield* Effect.flip(unknown.echo.say({ text: "" }))).code, "UNAVAILABLE")
    }))

  it.effect("that cannot work are a typed error", () =>
    Effect.gen(function*() {
      const credentials = GrpcChannel.mtls({ ca, key: client.key, cert: "no certificate" })
      const error = yield* Effect.flip(GrpcChannel.make({ address: "127.0.0.1:1", credentials }))
      assert.instanceOf(error, GrpcCredentials.GrpcCredentialsError)
    }))
})

describe("load balancing", () => {
  it.live("round_robin: a server that stops gracefully under load is invisible", () =>
    Effect.gen(function*() {
      const served: [number, number] = [0, 0]
      const replica = (index: 0 | 1) =>
        EchoServer.make({
          say: ({ text }) => {
            served[index]++
            return Effect.as(Effect.sleep(Number(text)), { text })
          }
        })
      const first = yield* replica(0)
      const second = yield* replica(1)
      const { channel, close, echo } = yield* open({
        address: GrpcChannel.ipv4(first.target, second.target),
        loadBalancing: "round_robin"
      })
      let sent = 0
      let failures: ReadonlyArray<GrpcError.GrpcError> = []
      let isOver = false
      const caller = (index: number): Effect.Effect<void> =>
        Effect.suspend(() => {
          if (isOver) return Effect.void
          sent++
          return echo.say({ text: String((index + sent) % 5) }).pipe(
            Effect.catch((error) => Effect.sync(() => failures = [...failures, error])),
            Effect.andThen(caller(index))
          )
        })
      const load = yield* Effect.forEach(Array.from({ length: 20 }, (_, i) => i), (i) => Effect.forkChild(caller(i)))
      yield* EchoServer.until("both serve", () => served[0] > 50 && served[1] > 50)
      const report = yield* first.close
      const before = served[1]
      yield* EchoServer.until("the other serves on", () => served[1] > before + 50)
      isOver = true
      for (const fiber of load) yield* Fiber.join(fiber)
      assert.deepStrictEqual(failures, [])
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(served[0] + served[1], sent)
      yield* close
      assert.strictEqual(channel.phase(), "Stopped")
    }))

  it.effect("pick_first uses one of the addresses", () =>
    Effect.gen(function*() {
      const first = yield* EchoServer.make()
      const second = yield* EchoServer.make()
      const { echo } = yield* open({ address: GrpcChannel.ipv4(first.target, second.target) })
      for (let i = 0; i < 10; i++) yield* echo.say({ text: "" })
      assert.deepStrictEqual([first.server.connections(), second.server.connections()], [1, 0])
    }))
})

describe("retries", () => {
  /** A server that fails as often as it is told, and counts. */
  const failing = (times: number) =>
    Effect.gen(function*() {
      let attempts = 0
      const { target } = yield* EchoServer.make({
        say: ({ text }) =>
          ++attempts <= times ? Effect.fail(GrpcError.aborted(`attempt ${attempts}`)) : Effect.succeed({ text })
      })
      return { target, attempts: () => attempts }
    })

  const retry: GrpcChannel.RetryPolicy = {
    maxAttempts: 7,
    initialBackoff: "1 millis",
    maxBackoff: "2 millis",
    backoffMultiplier: 1.5,
    codes: ["ABORTED"]
  }

  it.effect("by a policy: as often as it says, more than five times too", () =>
    Effect.gen(function*() {
      const six = yield* failing(6)
      const { echo } = yield* open({ address: six.target, retry })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
      assert.strictEqual(six.attempts(), 7)
      const seven = yield* failing(7)
      const other = yield* open({ address: seven.target, retry })
      assert.strictEqual((yield* Effect.flip(other.echo.say({ text: "" }))).message, "attempt 7")
    }))

  it.effect("not of other codes, and not without a policy", () =>
    Effect.gen(function*() {
      const { attempts, target } = yield* failing(1)
      const without = yield* open({ address: target })
      assert.strictEqual((yield* Effect.flip(without.echo.say({ text: "" }))).code, "ABORTED")
      const other = yield* failing(1)
      const { echo } = yield* open({ address: other.target, retry: { ...retry, codes: ["UNAVAILABLE"] } })
      assert.strictEqual((yield* Effect.flip(echo.say({ text: "" }))).code, "ABORTED")
      assert.deepStrictEqual([attempts(), other.attempts()], [1, 1])
    }))
})

describe("limits", () => {
  it.effect("of messages fail the RPC", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make()
      const text = "x".repeat(2_000)
      for (const limit of [{ maxSendBytes: 1_000 }, { maxReceiveBytes: 1_000 }]) {
        const { echo } = yield* open({ address: target, ...limit })
        assert.strictEqual((yield* Effect.flip(echo.say({ text }))).code, "RESOURCE_EXHAUSTED")
        assert.strictEqual((yield* echo.say({ text: "short" })).text, "short")
      }
      const unlimited = yield* open({ address: target, maxSendBytes: Infinity, maxReceiveBytes: Infinity })
      assert.strictEqual((yield* unlimited.echo.say({ text })).text, text)
    }))
})

describe("keepalive", () => {
  it.live("finds out that a server is dead", () =>
    Effect.gen(function*() {
      const reached = Latch.makeUnsafe(false)
      const { port } = yield* EchoServer.make({ say: () => Effect.andThen(reached.open, Effect.never) })
      const network = yield* Sockets.frozenNetwork(port)
      const { echo } = yield* open({
        address: `127.0.0.1:${network.port}`,
        keepalive: { time: 20, timeout: 20 },
        stop: { grace: 0 }
      })
      const error = yield* Effect.flip(echo.say({ text: "" }, { deadline: "8 seconds" }))
      assert.strictEqual(error.code, "UNAVAILABLE")
      assert.isFalse(reached.isOpen())
    }))
})
