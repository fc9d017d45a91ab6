import { assert, describe, it } from "@effect/vitest"
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import type { GrpcError } from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcPeer from "@lastcall/grpc/GrpcPeer"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import * as nodeTls from "node:tls"
import * as Certificates from "./Certificates.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"
import { open } from "./OpenChannel.ts"
import * as Sockets from "./Sockets.ts"

const authority = Certificates.authority("the authority")
const successor = Certificates.authority("the next authority")
const server = authority.issue("server")
const first = { ...authority.issue("first"), ca: authority.cert }
const second = { ...authority.issue("second"), ca: authority.cert }
const third = { ...authority.issue("third"), ca: authority.cert }

const reconnect = { initialBackoff: 1, maxBackoff: 5 }

const listen = (credentials: GrpcCredentials.GrpcCredentials) =>
  GrpcListener.tcp({ port: 0, host: "127.0.0.1", credentials })

/** A server that answers with the name of its client's certificate. */
const whoServer = EchoServer.make({
  say: () => Effect.map(GrpcCall, ({ peerCertificate }) => ({ text: String(peerCertificate?.subject.CN) })),
  chat: (texts) =>
    Stream.mapEffect(texts, () => Effect.map(GrpcCall, (call) => ({ text: String(call.peerCertificate?.subject.CN) })))
}, { listen: listen(GrpcCredentials.mtls({ ...server, clientCa: authority.cert })) })

/** Two of them at one address: new connections come to the first until it is closed, then to the second. */
const pair = Effect.gen(function*() {
  const one = yield* whoServer
  const other = yield* whoServer
  let to = one.port
  const sockets = new Set<net.Socket>()
  const network = yield* Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const network = net.createServer((client) => {
        const behind = net.connect(to, "127.0.0.1")
        for (const [socket, peer] of [[client, behind], [behind, client]] as const) {
          sockets.add(socket)
          socket.on("error", () => peer.destroy())
          socket.on("close", () => peer.destroy())
          socket.pipe(peer)
        }
      }).listen(0, "127.0.0.1", () => resume(Effect.succeed(network)))
    }),
    (network) =>
      Effect.sync(() => {
        network.close()
        for (const socket of sockets) socket.destroy()
      })
  )
  return {
    address: `127.0.0.1:${(network.address() as net.AddressInfo).port}`,
    closeUsed: Effect.suspend(() => {
      to = other.port
      return one.close
    })
  }
})

/** A queue of updates; the stream says when it has been released. */
const makeUpdates = <A>(...initial: ReadonlyArray<A>) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<A, Cause.Done | Error>()
    for (const update of initial) yield* Queue.offer(queue, update)
    const released = Deferred.makeUnsafe<void>()
    return {
      queue,
      stream: Stream.ensuring(Stream.fromQueue(queue), Deferred.succeed(released, undefined)),
      isReleased: () => Deferred.isDoneUnsafe(released)
    }
  })

const made = (credentials: GrpcChannel.Credentials) =>
  Effect.scoped(Effect.asVoid(GrpcChannel.make({ address: "127.0.0.1:1", credentials })))

describe("certificates from a stream", () => {
  it.live("are used by new connections; streams go on, and no RPC fails", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { address, closeUsed } = yield* pair
      const { queue, stream } = yield* makeUpdates<GrpcChannel.Identity>(first)
      const { close, echo } = yield* Effect.provide(
        open({ address, credentials: GrpcChannel.mtls(stream), reconnect }),
        logs.layer
      )
      const asks = yield* Queue.unbounded<{ readonly text: string }, Cause.Done>()
      const answers: Array<string> = []
      const chatting = yield* Effect.forkChild(
        Stream.runForEach(echo.chat(Stream.fromQueue(asks)), ({ text }) => Effect.sync(() => answers.push(text)))
      )
      yield* Queue.offer(asks, { text: "before" })
      yield* EchoServer.until("the stream is answered", () => answers.length === 1)

      const names = new Map<string, number>()
      const failures: Array<GrpcError> = []
      let isOver = false
      const caller: Effect.Effect<void> = Effect.suspend(() =>
        isOver ? Effect.void : echo.say({ text: "" }).pipe(
          Effect.tap(({ text }) => Effect.sync(() => names.set(text, (names.get(text) ?? 0) + 1))),
          Effect.catch((error) => Effect.sync(() => failures.push(error))),
          Effect.andThen(caller)
        )
      )
      const load = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(caller))
      yield* EchoServer.until("there is load", () => (names.get("first") ?? 0) > 10)
      yield* Queue.offer(queue, second)
      yield* logs.awaitLine("new credentials are in use")
      const before = names.get("first")!
      yield* EchoServer.until("the old connection is used on", () => names.get("first")! > before + 10)
      assert.isUndefined(names.get("second"))

      const stopping = yield* Effect.forkChild(closeUsed)
      yield* EchoServer.until("the new certificate is used", () => (names.get("second") ?? 0) > 10)
      yield* Queue.offer(asks, { text: "after" })
      yield* EchoServer.until("the stream is answered", () => answers.length === 2)
      assert.deepStrictEqual(answers, ["first", "first"])
      yield* Queue.end(asks)
      yield* Fiber.join(chatting)
      isOver = true
      for (const fiber of load) yield* Fiber.join(fiber)
      assert.deepStrictEqual(failures, [])
      assert.strictEqual((yield* Fiber.join(stopping)).outcome, "graceful")
      assert.strictEqual((yield* close).outcome, "graceful")
    }))

  it.live("that cannot work are logged, and the old ones stay in use until better ones come", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { address, closeUsed } = yield* pair
      const { queue, stream } = yield* makeUpdates<GrpcChannel.Identity>(first)
      const { echo } = yield* Effect.provide(
        open({ address, credentials: GrpcChannel.mtls(stream) }),
        logs.layer
      )
      const bad: ReadonlyArray<GrpcChannel.Identity> = [
        { ...second, key: first.key },
        { ...second, key: " " },
        { ...second, cert: "no certificate" },
        { ...second, ca: "" },
        { ca: authority.cert } as GrpcChannel.Identity
      ]
      for (const one of bad) {
        const before = logs.lines.length
        yield* Queue.offer(queue, one)
        yield* EchoServer.until("it is logged", () => logs.lines.length > before)
        assert.match(logs.lines[before]!, /^ERROR .*the old credentials stay in use/)
      }
      assert.strictEqual((yield* echo.say({ text: "" })).text, "first")
      yield* Queue.offer(queue, third)
      yield* logs.awaitLine("new credentials are in use")
      yield* closeUsed
      assert.strictEqual((yield* echo.say({ text: "" }, { waitForReady: true })).text, "third")
    }))

  it.live("the authorities too: a server of the next one is believed from then on, one of the old one no more", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const old = yield* EchoServer.make({}, { listen: listen(GrpcCredentials.tls(server)) })
      const next = yield* EchoServer.make({}, { listen: listen(GrpcCredentials.tls(successor.issue("server"))) })
      const { queue, stream } = yield* makeUpdates<GrpcChannel.Trust>({ ca: authority.cert })
      const credentials = GrpcChannel.tls(stream)
      const { close, echo } = yield* Effect.provide(
        open({ address: GrpcChannel.ipv4(next.target, old.target), credentials, reconnect }),
        logs.layer
      )
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
      assert.strictEqual(old.server.connections(), 1)
      assert.strictEqual(next.server.connections(), 0)
      yield* Queue.offer(queue, { ca: successor.cert })
      yield* logs.awaitLine("new credentials are in use")
      assert.strictEqual((yield* echo.say({ text: "on the old connection" })).text, "on the old connection")
      yield* old.close
      assert.strictEqual((yield* echo.say({ text: "hello" }, { waitForReady: true })).text, "hello")
      assert.strictEqual(next.server.connections(), 1)
      assert.strictEqual((yield* close).outcome, "graceful")
    }))

  for (
    const [what, end] of [
      ["ends", Queue.end],
      ["fails", (queue: Queue.Queue<GrpcChannel.Identity, Cause.Done | Error>) => Queue.fail(queue, new Error("lost"))]
    ] as const
  ) {
    it.live(`stay in use when the stream ${what}`, () =>
      Effect.gen(function*() {
        const logs = Logs.make()
        const { target } = yield* whoServer
        const { isReleased, queue, stream } = yield* makeUpdates<GrpcChannel.Identity>(first)
        const { echo } = yield* Effect.provide(
          open({ address: target, credentials: GrpcChannel.mtls(stream) }),
          logs.layer
        )
        yield* end(queue)
        yield* EchoServer.until("the stream is over", isReleased)
        if (what === "fails") yield* logs.awaitLine("there will be no new credentials")
        else assert.deepStrictEqual(logs.lines, [])
        assert.strictEqual((yield* echo.say({ text: "" })).text, "first")
      }))
  }

  it.live("are released when the channel has stopped, also while RPCs drain", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { target } = yield* EchoServer.make(
        { say: ({ text }) => Effect.as(gate.pass, { text }) },
        { listen: listen(GrpcCredentials.tls(server)) }
      )
      const { isReleased, stream } = yield* makeUpdates<GrpcChannel.Trust>({ ca: authority.cert })
      const { channel, close, echo } = yield* open({ address: target, credentials: GrpcChannel.tls(stream) })
      const saying = yield* Effect.forkChild(echo.say({ text: "hello" }))
      yield* gate.reached
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () => channel.phase() === "Draining")
      assert.isFalse(isReleased())
      yield* gate.open
      yield* Fiber.join(saying)
      yield* Fiber.join(closing)
      assert.isTrue(isReleased())
    }))

  it.live("without a first one there is no channel", () =>
    Effect.gen(function*() {
      const failures = [
        [Stream.empty, "ended before its first"],
        [Stream.fail(new Error("lost")), "lost"],
        [Stream.make({ ...first, key: second.key }), "key values mismatch"]
      ] as const
      for (const [stream, detail] of failures) {
        const error = yield* Effect.flip(made(GrpcChannel.mtls(stream)))
        assert.instanceOf(error, GrpcCredentials.GrpcCredentialsError)
        assert.include(error.message, detail)
      }
    }))

  it.effect("one that does not come is waited for, interruptibly", () =>
    Effect.gen(function*() {
      const { isReleased, stream } = yield* makeUpdates<GrpcChannel.Identity>()
      const making = yield* Effect.forkChild(made(GrpcChannel.mtls(stream)), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(making.pollUnsafe())
      yield* Fiber.interrupt(making)
      assert.isTrue(isReleased())
    }))

  it.live("without authorities those that Node trusts count", () =>
    Effect.gen(function*() {
      const { target } = yield* whoServer
      const identity = Stream.concat(Stream.make({ key: first.key, cert: first.cert }), Stream.never)
      const stranger = yield* open({ address: target, credentials: GrpcChannel.mtls(identity) })
      assert.strictEqual((yield* Effect.flip(stranger.echo.say({ text: "" }))).code, "UNAVAILABLE")

      const trusted = nodeTls.getCACertificates("default")
      yield* Effect.acquireRelease(
        Effect.sync(() => nodeTls.setDefaultCACertificates([...trusted, authority.cert])),
        () => Effect.sync(() => nodeTls.setDefaultCACertificates(trusted))
      )
      const { echo } = yield* open({ address: target, credentials: GrpcChannel.mtls(identity) })
      assert.strictEqual((yield* echo.say({ text: "" })).text, "first")
    }))
})

describe("certificates from files", () => {
  it.live("are read again", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const directory = yield* Sockets.directory
      const file = (name: string) => path.join(directory, name)
      const write = (identity: Certificates.Identity) => {
        fs.writeFileSync(file("key.pem"), identity.key)
        fs.writeFileSync(file("cert.pem"), identity.cert)
      }
      fs.writeFileSync(file("ca.pem"), authority.cert)
      write(first)
      const { address, closeUsed } = yield* pair
      const { echo } = yield* Effect.provide(
        open({
          address,
          credentials: GrpcChannel.mtls(
            GrpcCredentials.files({ key: file("key.pem"), cert: file("cert.pem"), ca: file("ca.pem"), every: 5 })
          )
        }),
        logs.layer
      )
      assert.strictEqual((yield* echo.say({ text: "" })).text, "first")
      write(second)
      yield* logs.awaitLine("new credentials are in use")
      yield* closeUsed
      assert.strictEqual((yield* echo.say({ text: "" }, { waitForReady: true })).text, "second")
    }))

  it.live("authorities alone, and files that are not there", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const ca = path.join(directory, "ca.pem")
      const credentials = GrpcChannel.tls(GrpcCredentials.files({ ca }))
      assert.include((yield* Effect.flip(made(credentials))).message, `${ca} cannot be read`)
      fs.writeFileSync(ca, authority.cert)
      const { target } = yield* EchoServer.make({}, { listen: listen(GrpcCredentials.tls(server)) })
      const { echo } = yield* open({ address: target, credentials })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
    }))
})

describe("whom a channel believes", () => {
  const api = authority.issue("api", { uris: ["spiffe://example.org/api"] })

  const allowed = (allow: (peer: GrpcPeer.GrpcPeer) => boolean) =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({}, { listen: listen(GrpcCredentials.tls(api)) })
      const { echo } = yield* open({ address: target, credentials: GrpcChannel.tls({ ca: authority.cert }, { allow }) })
      return yield* Effect.result(echo.say({ text: "hello" }))
    })

  it.live("is decided by the SPIFFE ID of the server", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* allowed(GrpcPeer.hasSpiffeId("spiffe://example.org/api")))._tag, "Success")
      const refused = yield* allowed(GrpcPeer.hasSpiffeId("spiffe://example.org/web"))
      assert.isTrue(refused._tag === "Failure" && refused.failure.code === "UNAVAILABLE")
      assert.include(
        refused._tag === "Failure" ? refused.failure.message : "",
        "spiffe://example.org/api is not allowed"
      )
    }))

  it.live("not by its host, and not of another authority", () =>
    Effect.gen(function*() {
      const { target } = yield* EchoServer.make({}, { listen: listen(GrpcCredentials.tls(api)) })
      const options = { serverName: "elsewhere.example", allow: () => true }
      const { echo } = yield* open({ address: target, credentials: GrpcChannel.tls({ ca: authority.cert }, options) })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
      const other = yield* open({ address: target, credentials: GrpcChannel.tls({ ca: successor.cert }, options) })
      assert.strictEqual((yield* Effect.flip(other.echo.say({ text: "" }))).code, "UNAVAILABLE")
    }))

  it.live("a policy that throws lets nobody in", () =>
    Effect.gen(function*() {
      const refused = yield* allowed(() => {
        throw new Error("a bug")
      })
      assert.include(refused._tag === "Failure" ? refused.failure.message : "", "a bug")
    }))
})

describe("certificates from memory", () => {
  const wrong: ReadonlyArray<readonly [string, GrpcChannel.Credentials]> = [
    ["ca holds no PEM certificate", GrpcChannel.tls({ ca: "" })],
    ["cert holds no PEM certificate", GrpcChannel.mtls({ ...first, cert: "" })],
    ["key is empty", GrpcChannel.mtls({ ...first, key: "" })],
    ["key values mismatch", GrpcChannel.mtls({ ...first, key: second.key })]
  ]
  for (const [detail, credentials] of wrong) {
    it.effect(`that cannot work are a typed error: ${detail}`, () =>
      Effect.gen(function*() {
        assert.include((yield* Effect.flip(made(credentials))).message, detail)
      }))
  }
})
