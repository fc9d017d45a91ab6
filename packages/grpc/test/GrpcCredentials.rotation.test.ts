import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import * as path from "node:path"
import * as tls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"
import * as Sockets from "./Sockets.ts"

const authority = Certificates.authority("the authority")
const successor = Certificates.authority("the next authority")
const first = authority.issue("first")
const second = authority.issue("second")
const third = authority.issue("third")
const mismatched = { key: first.key, cert: second.cert }

const channel = (identity?: Certificates.Identity) =>
  grpc.credentials.createSsl(
    Buffer.from(authority.cert),
    ...(identity === undefined ? [] : [Buffer.from(identity.key), Buffer.from(identity.cert)] as const)
  )

const local = (credentials: GrpcCredentials.GrpcCredentials) =>
  GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials })

/** The common name of the certificate that a new handshake is shown. */
const presented = (port: number): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] })
    socket.once("secureConnect", () => {
      resume(Effect.succeed(String(socket.getPeerCertificate().subject.CN)))
      socket.destroy()
    })
    socket.on("error", (error) => resume(Effect.succeed(error.message)))
  })

const untilPresented = (port: number, name: string): Effect.Effect<void> => {
  let last = ""
  const ask: Effect.Effect<void> = Effect.suspend(() =>
    last === name ? Effect.void : Effect.flatMap(presented(port), (now) => {
      last = now
      return ask
    })
  )
  return Effect.raceFirst(ask, EchoServer.until(`${name} is presented`, () => last === name))
}

/** A queue of updates; the stream says when it has been released. */
const makeUpdates = <A>(...initial: ReadonlyArray<A>) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<A, Cause.Done | Error>()
    for (const keyPair of initial) yield* Queue.offer(queue, keyPair)
    const released = yield* Deferred.make<void>()
    const stream = Stream.ensuring(Stream.fromQueue(queue), Deferred.succeed(released, undefined))
    return { queue, stream, released, isReleased: () => Deferred.isDoneUnsafe(released) }
  })

/** A bidirectional stream that stays open. */
const openChat = (target: string, credentials: grpc.ChannelCredentials) =>
  Effect.gen(function*() {
    const client = yield* EchoClient.make(target, {}, credentials)
    const answers: Array<string> = []
    const chat = client.chat()
    const over = yield* Effect.forkChild(EchoClient.gather(chat, ({ text }) => answers.push(text)), {
      startImmediately: true
    })
    const say = (text: string) => {
      chat.write({ text })
      return EchoServer.until(`${text} is answered`, () => answers.includes(`${text}!`))
    }
    return { client, say, end: Effect.andThen(Effect.sync(() => chat.end()), Fiber.join(over)) }
  })

const refused = (credentials: GrpcCredentials.GrpcCredentials) =>
  Effect.flip(Effect.scoped(Effect.asVoid(GrpcServer.make("api", { services: [], listen: [local(credentials)] }))))

describe("credentials from a stream", () => {
  it.live("are replaced without dropping a connection: new handshakes use the new ones, streams go on", () =>
    Effect.gen(function*() {
      const { queue, stream } = yield* makeUpdates(first)
      const { close, port, server, target } = yield* EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) })
      const chat = yield* openChat(target, channel())
      yield* chat.say("before")
      assert.strictEqual(yield* presented(port), "first")

      yield* Queue.offer(queue, second)
      yield* untilPresented(port, "second")
      yield* chat.say("after")
      assert.strictEqual(yield* EchoClient.say(chat.client, "on the old connection"), "on the old connection")
      const client = yield* EchoClient.make(target, {}, channel())
      assert.strictEqual(yield* EchoClient.say(client, "on a new one"), "on a new one")
      yield* EchoServer.until("two connections are open", () => server.connections() === 2)

      assert.strictEqual((yield* chat.end).status.code, grpc.status.OK)
      const report = yield* close
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 3, succeeded: 3 })
    }))

  it.live("that cannot work are logged, and the old ones stay in use until better ones come", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { queue, stream } = yield* makeUpdates(first)
      const { port, target } = yield* Effect.provide(
        EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) }),
        logs.layer
      )
      for (const bad of [mismatched, { key: "", cert: second.cert }, { key: second.key, cert: "no certificate" }]) {
        const before = logs.lines.length
        yield* Queue.offer(queue, bad)
        yield* EchoServer.until("it is logged", () => logs.lines.length > before)
        assert.match(logs.lines[before]!, /^ERROR .*the old credentials stay in use/)
        assert.strictEqual(yield* presented(port), "first")
      }
      const client = yield* EchoClient.make(target, {}, channel())
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      yield* Queue.offer(queue, third)
      yield* untilPresented(port, "third")
    }))

  for (
    const [what, end] of [
      ["ends", Queue.end],
      ["fails", (queue: Queue.Queue<Certificates.Identity, Cause.Done | Error>) => Queue.fail(queue, new Error("lost"))]
    ] as const
  ) {
    it.live(`stay in use when the stream ${what}`, () =>
      Effect.gen(function*() {
        const logs = Logs.make()
        const { queue, released, stream } = yield* makeUpdates(first)
        const { close, port } = yield* Effect.provide(
          EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) }),
          logs.layer
        )
        yield* end(queue)
        yield* Deferred.await(released)
        if (what === "fails") yield* logs.awaitLine("there will be no new credentials")
        assert.strictEqual(yield* presented(port), "first")
        assert.strictEqual((yield* close).outcome, "graceful")
        assert.strictEqual(logs.lines.some((line) => line.startsWith("ERROR")), what === "fails")
      }))
  }

  it.live("fail the server when it is made, if the first cannot work or does not come", () =>
    Effect.gen(function*() {
      for (
        const [stream, detail] of [
          [Stream.make(mismatched, second), "key values mismatch"],
          [Stream.make({ key: "", cert: first.cert }), "key is empty"],
          [Stream.fail(new Error("no agent")), "no agent"],
          [Stream.die(new Error("a defect")), "a defect"],
          [Stream.empty, "ended before its first"]
        ] as const
      ) {
        const error = yield* refused(GrpcCredentials.tls(stream))
        assert.strictEqual(error.reason, "InvalidCredentials")
        assert.include(error.message, detail)
      }
    }))

  it.live("without an authority for clients let nobody in: they fail the server, or are not taken", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const empty = { ...second, clientCa: "" }
      assert.strictEqual((yield* refused(GrpcCredentials.mtls(Stream.make(empty)))).reason, "InvalidCredentials")
      const { queue, stream } = yield* makeUpdates({ ...first, clientCa: authority.cert })
      const { port } = yield* Effect.provide(
        EchoServer.make({}, { listen: local(GrpcCredentials.mtls(stream)) }),
        logs.layer
      )
      yield* Queue.offer(queue, empty)
      yield* logs.awaitLine("clientCa holds no PEM certificate")
      assert.strictEqual(yield* presented(port), "first")
    }))

  it.live("may replace the authority of clients: those that are connected go on, new ones need the new one", () =>
    Effect.gen(function*() {
      const { queue, stream } = yield* makeUpdates({ ...first, clientCa: authority.cert })
      const { port, target } = yield* EchoServer.make({
        say: () => Effect.map(GrpcCall, (call) => ({ text: String(call.peerIdentity?.subject) }))
      }, { listen: local(GrpcCredentials.mtls(stream)) })
      const old = authority.issue("old")
      const chat = yield* openChat(target, channel(old))
      yield* chat.say("before")
      const early = yield* EchoClient.make(target, {}, channel(successor.issue("new")))
      assert.strictEqual((yield* Effect.flip(EchoClient.say(early, ""))).code, grpc.status.UNAVAILABLE)

      yield* Queue.offer(queue, { ...second, clientCa: successor.cert })
      yield* untilPresented(port, "second")
      const client = yield* EchoClient.make(target, {}, channel(successor.issue("new")))
      assert.strictEqual(yield* EchoClient.say(client, ""), "CN=new")
      const late = yield* EchoClient.make(target, {}, channel(old))
      assert.strictEqual((yield* Effect.flip(EchoClient.say(late, ""))).code, grpc.status.UNAVAILABLE)
      yield* chat.say("after")
      assert.strictEqual(yield* EchoClient.say(chat.client, ""), "CN=old")
      assert.strictEqual((yield* chat.end).status.code, grpc.status.OK)
    }))

  it.live("do not let a session from before be resumed", () =>
    Effect.gen(function*() {
      const { queue, stream } = yield* makeUpdates(first)
      const { port } = yield* EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) })
      const handshake = (options: tls.ConnectionOptions) => {
        const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options })
        socket.on("error", () => {})
        return socket.resume()
      }
      const session = yield* Effect.callback<Buffer>((resume) => {
        const socket = handshake({ ALPNProtocols: ["h2"] })
        socket.once("session", (session) => {
          resume(Effect.succeed(session))
          socket.destroy()
        })
      })
      const isResumed = Effect.callback<boolean>((resume) => {
        const socket = handshake({ ALPNProtocols: ["h2"], session })
        socket.once("secureConnect", () => {
          resume(Effect.succeed(socket.isSessionReused()))
          socket.destroy()
        })
      })
      assert.isTrue(yield* isResumed)
      yield* Queue.offer(queue, second)
      yield* untilPresented(port, "second")
      assert.isFalse(yield* isResumed)
    }))
})

describe("the stream of credentials and the stop", () => {
  it.effect("scenario 71: certificates are rotated in the drain delay and in the drain: nothing is dropped", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { isReleased, queue, stream } = yield* makeUpdates(first)
      const { close, port, server, target } = yield* EchoServer.make(
        { say: ({ text }) => Effect.as(gate.pass, { text }) },
        { listen: local(GrpcCredentials.tls(stream)), stop: { drainDelay: "5 seconds", grace: "10 seconds" } }
      )
      const chat = yield* openChat(target, channel())
      yield* chat.say("before the stop")
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* EchoServer.until("the stop is announced", () => server.phase() === "Announced")

      yield* Queue.offer(queue, second)
      yield* untilPresented(port, "second")
      const client = yield* EchoClient.make(target, {}, channel())
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const late = yield* Sockets.connect({ port })
      yield* EchoServer.until("a handshake is pending", () => server.connections() >= 3)

      yield* TestClock.adjust("5 seconds")
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      yield* Queue.offer(queue, third)
      yield* EchoServer.until("the update is taken", () => Queue.sizeUnsafe(queue) === 0)
      yield* chat.say("in the drain")
      const secured = tls.connect({ socket: late, rejectUnauthorized: false, ALPNProtocols: ["h2"] })
      secured.on("error", () => {})
      secured.resume()
      yield* EchoServer.until("the late handshake ends, and its connection", () => secured.destroyed)
      assert.isFalse(isReleased())

      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      assert.strictEqual((yield* chat.end).status.code, grpc.status.OK)
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 2, succeeded: 2 })
      assert.isTrue(isReleased())
    }))

  it.live("the stream has been released when the server's scope has closed", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { isReleased, stream } = yield* makeUpdates(first)
      const { close } = yield* Effect.provide(
        EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) }),
        logs.layer
      )
      assert.isFalse(isReleased())
      yield* close
      assert.isTrue(isReleased())
      assert.notInclude(logs.lines.join(), "credentials")
    }))

  it.live("the stream is released by a stop too, while the scope is open", () =>
    Effect.gen(function*() {
      const { released, stream } = yield* makeUpdates(first)
      const server = yield* GrpcServer.make("api", { services: [], listen: [local(GrpcCredentials.tls(stream))] })
      yield* server.stop
      yield* Deferred.await(released)
    }))

  it.live("the stream is released when the listener cannot be bound", () =>
    Effect.gen(function*() {
      const { port } = yield* EchoServer.make()
      const { released, stream } = yield* makeUpdates(first)
      const listener = GrpcListener.tcp({ port, host: "127.0.0.1", credentials: GrpcCredentials.tls(stream) })
      const error = yield* Effect.flip(GrpcServer.make("api", { services: [], listen: [listener] }))
      assert.strictEqual(error.reason, "AddressInUse")
      yield* Deferred.await(released)
    }))

  it.live("a server that waits for its first credentials can be interrupted, and releases the stream", () =>
    Effect.gen(function*() {
      const { released, stream } = yield* makeUpdates<Certificates.Identity>()
      const making = yield* Effect.forkChild(
        GrpcServer.make("api", { services: [], listen: [local(GrpcCredentials.tls(stream))] }),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(making)
      yield* Deferred.await(released)
    }))

  it.effect("scenario 42: a stop does not wait for the first credentials of a listener", () =>
    Effect.gen(function*() {
      const { released, stream } = yield* makeUpdates<Certificates.Identity>()
      const server = yield* GrpcServer.make("api", { services: [], listen: [] })
      const listening = yield* Effect.forkChild(server.listen(local(GrpcCredentials.tls(stream))), {
        startImmediately: true
      })
      assert.strictEqual((yield* server.stop).outcome, "graceful")
      assert.strictEqual((yield* Effect.flip(Fiber.join(listening))).reason, "ServerStopped")
      yield* Deferred.await(released)
    }))

  it.effect("scenario 42: first credentials that come after the announcement bind nothing", () =>
    Effect.gen(function*() {
      const port = yield* Sockets.freePort
      const { queue, released, stream } = yield* makeUpdates<Certificates.Identity>()
      const { close, server } = yield* EchoServer.make({}, { stop: { drainDelay: "5 seconds" } })
      const listener = GrpcListener.tcp({ port, host: "127.0.0.1", credentials: GrpcCredentials.tls(stream) })
      const listening = yield* Effect.forkChild(server.listen(listener), { startImmediately: true })
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* EchoServer.until("the stop is announced", () => server.phase() === "Announced")
      yield* Queue.offer(queue, first)
      assert.strictEqual((yield* Effect.flip(Fiber.join(listening))).reason, "ServerStopped")
      yield* Deferred.await(released)
      assert.isTrue(yield* Sockets.isFree({ port }))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.effect("a stream that does not let itself be released holds the scope for a second at most", () =>
    Effect.gen(function*() {
      const stream = Stream.concat(
        Stream.make(first),
        Stream.fromEffect(Effect.uninterruptible(Effect.never as Effect.Effect<Certificates.Identity>))
      )
      const { close, server } = yield* EchoServer.make({}, { listen: local(GrpcCredentials.tls(stream)) })
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* EchoServer.until("the server has stopped", () => server.phase() === "Stopped")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))
})

describe("credentials from files", () => {
  const write = (directory: string, { cert, key }: Certificates.Identity) => {
    fs.writeFileSync(path.join(directory, "tls.key"), key)
    fs.writeFileSync(path.join(directory, "tls.crt"), cert)
  }
  const paths = (directory: string) => ({
    key: path.join(directory, "tls.key"),
    cert: path.join(directory, "tls.crt")
  })

  it.effect("are read when the listener is bound, and a minute later: what has changed is used", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const credentials = GrpcCredentials.tls(GrpcCredentials.files(paths(directory)))
      write(directory, first)
      const { port, target } = yield* EchoServer.make({}, { listen: local(credentials) })
      const chat = yield* openChat(target, channel())
      yield* chat.say("before")
      write(directory, second)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* presented(port), "first")
      yield* TestClock.adjust("1 second")
      yield* untilPresented(port, "second")
      yield* chat.say("after")
      yield* chat.end
    }))

  it.effect("that are half replaced, or cannot be read, are logged, and the old ones stay in use until the rest is there", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const directory = yield* Sockets.directory
      const credentials = GrpcCredentials.tls(GrpcCredentials.files({ ...paths(directory), every: "10 seconds" }))
      write(directory, first)
      const { port } = yield* Effect.provide(EchoServer.make({}, { listen: local(credentials) }), logs.layer)

      fs.writeFileSync(paths(directory).key, second.key)
      yield* TestClock.adjust("10 seconds")
      yield* logs.awaitLine("key values mismatch")
      assert.strictEqual(yield* presented(port), "first")

      fs.rmSync(paths(directory).cert)
      yield* TestClock.adjust("10 seconds")
      yield* logs.awaitLine("tls.crt cannot be read")
      assert.strictEqual(yield* presented(port), "first")

      fs.writeFileSync(paths(directory).cert, second.cert)
      yield* TestClock.adjust("10 seconds")
      yield* untilPresented(port, "second")
    }))

  it.effect("that do not change are no update", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const clientCa = path.join(directory, "ca.crt")
      write(directory, first)
      fs.writeFileSync(clientCa, authority.cert)
      const seen: Array<GrpcCredentials.KeyPair> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(
          GrpcCredentials.files({ ...paths(directory), clientCa, every: "10 seconds" }),
          (keyPair) => Effect.sync(() => seen.push(keyPair))
        ),
        { startImmediately: true }
      )
      yield* EchoServer.until("they are read", () => seen.length === 1)
      // The readings are real I/O: one may not be over when the next is due.
      const changes = [
        [clientCa, successor.cert],
        [paths(directory).key, second.key],
        [paths(directory).cert, second.cert]
      ] as const
      const pass = Effect.andThen(TestClock.adjust("10 seconds"), TestClock.withLive(Effect.sleep("1 millis")))
      for (let i = 0; i < 10; i++) yield* pass
      for (const [index, [file, text]] of changes.entries()) {
        fs.writeFileSync(`${file}.next`, text)
        fs.renameSync(`${file}.next`, file)
        while (seen.length < index + 2) yield* pass
        for (let i = 0; i < 10; i++) yield* pass
      }
      const last = { ...second, clientCa: successor.cert }
      assert.deepStrictEqual(seen, [
        { ...first, clientCa: authority.cert },
        { ...last, ...first },
        { ...last, cert: first.cert },
        last
      ])
      yield* Fiber.interrupt(reading)
    }))

  it.effect("of a channel are an update when the authority has changed", () =>
    Effect.gen(function*() {
      const ca = path.join(yield* Sockets.directory, "ca.crt")
      fs.writeFileSync(ca, authority.cert)
      const seen: Array<unknown> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(GrpcCredentials.files({ ca, every: "10 seconds" }), (pems) =>
          Effect.sync(() => seen.push(pems))),
        { startImmediately: true }
      )
      yield* EchoServer.until("it is read", () =>
        seen.length === 1)
      fs.writeFileSync(`${ca}.next`, successor.cert)
      fs.renameSync(`${ca}.next`, ca)
      yield* Effect.gen(function*() {
        while (seen.length < 2) {
          yield* TestClock.adjust("10 seconds")
          yield* TestClock.withLive(Effect.sleep("1 millis"))
        }
      }).pipe(Effect.raceFirst(EchoServer.until("it is read again", () => seen.length === 2)))
      assert.deepStrictEqual(seen, [{ ca: authority.cert }, { ca: successor.cert }])
      yield* Fiber.interrupt(reading)
    }))

  it.live("that are not there fail the server when it is made, and say which", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      write(directory, first)
      const clientCa = path.join(directory, "ca.crt")
      const error = yield* refused(GrpcCredentials.mtls(GrpcCredentials.files({ ...paths(directory), clientCa })))
      assert.strictEqual(error.reason, "InvalidCredentials")
      assert.include(error.message, `${clientCa} cannot be read`)
      fs.writeFileSync(clientCa, authority.cert)
      yield* Effect.scoped(EchoServer.make({}, {
        listen: local(GrpcCredentials.mtls(GrpcCredentials.files({ ...paths(directory), clientCa })))
      }))
    }))
})

describe("the time of a handshake", () => {
  for (
    const [what, hello] of [
      ["says nothing", Buffer.alloc(0)],
      ["sends half a ClientHello", Buffer.from("16030100ff010000fb0303", "hex")]
    ] as const
  ) {
    it.live(`is bounded: a peer that ${what} is disconnected`, () =>
      Effect.gen(function*() {
        const { port, server } = yield* EchoServer.make({}, {
          listen: local(GrpcCredentials.tls(first, { handshakeTimeout: "50 millis" }))
        })
        const peer = yield* Sockets.connect({ port })
        peer.resume()
        peer.write(hello)
        yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
        yield* EchoServer.until("the peer is gone", () => server.connections() === 0)
        yield* EchoServer.until("the peer sees the end", () => peer.destroyed)
      }))
  }

  it.live("is bounded while bytes come in drips", () =>
    Effect.gen(function*() {
      const { port, server } = yield* EchoServer.make({}, {
        listen: local(GrpcCredentials.tls(first, { handshakeTimeout: "100 millis" }))
      })
      const peer = yield* Sockets.connect({ port })
      const dripping = setInterval(() => peer.write(Buffer.from([0x16])), 5)
      peer.on("error", () => {})
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(dripping)))
      yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
      yield* EchoServer.until("the peer is gone", () => server.connections() === 0)
    }))

  it.live("may be without bound", () =>
    Effect.gen(function*() {
      const { port, server, target } = yield* EchoServer.make({}, {
        listen: local(GrpcCredentials.tls(first, { handshakeTimeout: "Infinity" }))
      })
      const silent = yield* Sockets.connect({ port })
      silent.resume()
      yield* EchoServer.until("the peer is accepted", () => server.connections() === 1)
      // Of a timer that is too long Node makes one of a millisecond.
      yield* Effect.sleep("20 millis")
      assert.strictEqual(server.connections(), 1)
      const client = yield* EchoClient.make(target, {}, channel())
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))
})
