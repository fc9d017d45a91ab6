import { assert, describe, it } from "@effect/vitest"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { mkdtempSync, rmSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as tls from "node:tls"
import * as Certificates from "../../grpc/test/Certificates.ts"
import * as EventLoop from "../../grpc/test/EventLoop.ts"
import * as RawServers from "./RawServers.ts"

const { types } = Http2Frame
const { until } = RawServers
const path = "/test.Service/Method"

const isGoaway = ({ type }: Http2Frame.Http2Frame) => type === types.goaway

describe("over TCP", () => {
  it.live("silent says nothing, sees the server's FIN, and does not answer it", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      const peer = yield* HostilePeer.silent(server.address)
      yield* until("it is accepted", () => server.sockets.length === 1)
      assert.isFalse(peer.isEnded())
      server.sockets[0]!.end()
      yield* peer.awaitEnded
      assert.isTrue(peer.isEnded())
      yield* Effect.sleep(20)
      assert.isFalse(server.sockets[0]!.readableEnded)
      assert.isFalse(peer.isClosed())
      assert.strictEqual(server.received().length, 0)
      assert.strictEqual(peer.received().length, 0)
    }))

  it.live("it sees that its connection was reset", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      const peer = yield* HostilePeer.silent(server.address)
      yield* until("it is accepted", () => server.sockets.length === 1)
      server.sockets[0]!.resetAndDestroy()
      yield* peer.awaitClosed
      assert.isTrue(peer.isClosed())
      assert.isTrue(peer.isEnded())
    }))

  it.live("closing the scope closes the connection; so does leaving", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      const scope = yield* Scope.make()
      yield* Scope.provide(HostilePeer.silent(server.address), scope)
      yield* until("it is accepted", () => server.sockets.length === 1)
      yield* Scope.close(scope, Exit.void)
      yield* until("the server sees it", () => server.sockets[0]!.readableEnded || server.sockets[0]!.destroyed)
      const peer = yield* HostilePeer.silent(server.address)
      yield* until("it is accepted", () => server.sockets.length === 2)
      yield* peer.leave
      yield* peer.awaitClosed
    }))

  it.live("a port that nobody listens at is a typed error", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { address } = yield* Scope.provide(RawServers.tcp, scope)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(HostilePeer.silent(address))
      assert.strictEqual(error._tag, "HostilePeerError")
      assert.strictEqual(error.code, "ECONNREFUSED")
      assert.include(error.message, "could not connect")
    }))

  it.live("a Unix socket is an address too", () =>
    Effect.gen(function*() {
      const folder = mkdtempSync(join(tmpdir(), "lastcall-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const socketPath = join(folder, "s")
      const heard: Array<Buffer> = []
      const server = net.createServer((socket) => void socket.on("data", (chunk) => heard.push(chunk)))
      yield* Effect.callback<void>((resume) => void server.listen(socketPath, () => resume(Effect.void)))
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
      const peer = yield* HostilePeer.saying({ path: socketPath }, Buffer.from("hello"))
      yield* until("it is heard", () => Buffer.concat(heard).toString() === "hello")
      yield* peer.leave
    }))

  it.live("halfPreface sends 11 bytes of the magic", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      yield* HostilePeer.halfPreface(server.address)
      yield* until("they came", () => server.received().length >= 11)
      assert.strictEqual(server.received().toString(), "PRI * HTTP/")
    }))

  it.effect("slowWriting sends a byte for each interval of the clock", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      yield* HostilePeer.slowWriting(server.address, { path, every: "1 second" })
      yield* TestClock.adjust("10 seconds")
      yield* until("10 bytes came", () => server.received().length === 10)
      yield* TestClock.adjust("1 second")
      yield* until("one more came", () => server.received().length === 11)
      assert.strictEqual(server.received().toString(), "PRI * HTTP/")
    }))

  it.effect("slowWriting sends a whole request in the end, and no more", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      yield* HostilePeer.slowWriting(server.address, { path })
      yield* TestClock.adjust("2 seconds")
      yield* until("the RPC is open", () => server.streams.length === 1)
      assert.strictEqual(server.streams[0]!.sentHeaders, undefined)
      server.streams[0]!.resume()
      yield* until("the request is complete", () => server.streams[0]!.readableEnded)
    }))
})

describe("over TLS", () => {
  const identity = Certificates.authority("test").issue("localhost")

  const secured = Effect.acquireRelease(
    Effect.callback<{ readonly server: tls.Server; readonly port: number; readonly sockets: Array<tls.TLSSocket> }>(
      (resume) => {
        const sockets: Array<tls.TLSSocket> = []
        const server = tls.createServer({ ...identity, ALPNProtocols: ["h2"] }, (socket) => {
          sockets.push(socket)
          socket.on("error", () => {})
        })
        server.listen(
          0,
          "127.0.0.1",
          () => resume(Effect.succeed({ server, port: (server.address() as net.AddressInfo).port, sockets }))
        )
      }
    ),
    ({ server, sockets }) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  )

  it.live("stallingTls stops in the middle of its ClientHello: neither done nor refused", () =>
    Effect.gen(function*() {
      const plain = yield* RawServers.tcp
      yield* HostilePeer.stallingTls(plain.address)
      yield* until("the bytes came", () => plain.received().length >= 43)
      const hello = plain.received()
      assert.strictEqual(hello[0], 0x16)
      assert.isBelow(hello.length, 5 + hello.readUInt16BE(3))

      const { port, server } = yield* secured
      const errors: Array<Error> = []
      let accepted = 0
      server.on("connection", () => accepted++)
      server.on("tlsClientError", (error) => errors.push(error))
      const peer = yield* HostilePeer.stallingTls({ port })
      yield* until("it is accepted", () => accepted === 1)
      yield* Effect.sleep(50)
      assert.deepStrictEqual(errors, [])
      assert.isFalse(peer.isEnded())
    }))

  it.live("lateTls shakes hands when it is told to, and not before", () =>
    Effect.gen(function*() {
      const { port, server, sockets } = yield* secured
      let accepted = 0
      server.on("connection", () => accepted++)
      const peer = yield* HostilePeer.lateTls({ port })
      yield* until("it is accepted", () => accepted === 1)
      assert.strictEqual(sockets.length, 0)
      const secure = yield* peer.handshake
      yield* until("the handshake has ended", () => sockets.length === 1)
      assert.strictEqual(sockets[0]!.alpnProtocol, "h2")
      sockets[0]!.write("hello")
      yield* until("it reads", () => secure.received().toString() === "hello")
    }))

  it.live("a handshake with one that is gone is a typed error", () =>
    Effect.gen(function*() {
      const plain = yield* RawServers.tcp
      const peer = yield* HostilePeer.lateTls(plain.address)
      yield* until("it is accepted", () => plain.sockets.length === 1)
      const shaking = yield* Effect.forkChild(Effect.flip(peer.handshake), { startImmediately: true })
      plain.sockets[0]!.resetAndDestroy()
      assert.strictEqual((yield* Fiber.join(shaking))._tag, "HostilePeerError")
    }))

  it.live("tlsWithoutPreface ends its handshake and says nothing", () =>
    Effect.gen(function*() {
      const { port, sockets } = yield* secured
      yield* HostilePeer.tlsWithoutPreface({ port })
      yield* until("the handshake has ended", () => sockets.length === 1)
      let heard = 0
      sockets[0]!.on("data", () => heard++)
      yield* Effect.sleep(20)
      assert.strictEqual(heard, 0)
    }))
})

describe("over HTTP/2", () => {
  it.live("neverClosing acknowledges settings and pings, sees GOAWAY and FIN, and stays", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.neverClosing(server.address)
      yield* until("the session is up", () => server.sessions.length === 1)
      const session = server.sessions[0]!
      yield* Effect.callback<void>((resume) => void session.ping(() => resume(Effect.void)))
      yield* until("the settings are acknowledged", () => !session.pendingSettingsAck)
      session.close()
      const goaway = yield* peer.awaitFrame(isGoaway)
      assert.deepStrictEqual(Http2Frame.goaway(goaway), { lastStreamId: 0, code: 0 })
      yield* peer.awaitEnded
      yield* Effect.sleep(20)
      assert.isFalse(server.sockets[0]!.destroyed)
    }))

  it.live("frozen answers until it has seen so many frames, and then neither reads nor answers", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.frozen(server.address, { after: 4, path })
      yield* until("the RPC is open", () => server.streams.length === 1)
      const session = server.sessions[0]!
      yield* until("two frames came", () => peer.frames().length >= 2)
      let answers = 0
      // settings and their acknowledgement have come; these are the third and the fourth, and one too many
      for (const _ of [3, 4, 5]) {
        session.ping((error) => {
          if (error === null) answers++
        })
        yield* Effect.sleep(20)
      }
      yield* until("the fourth came", () => peer.frames().length >= 4)
      assert.strictEqual(peer.frames().length, 4)
      assert.strictEqual(answers, 2)
    }))

  it.live("frozen takes no notice of what came in one piece with the frame that it froze at", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.tcp
      const peer = yield* HostilePeer.frozen(server.address, { after: 2 })
      yield* until("the preface came", () => server.received().length === Http2Frame.preface.byteLength)
      const ping = (n: number) => Http2Frame.encode(types.ping, { payload: Buffer.alloc(8, n) })
      server.sockets[0]!.write(Buffer.concat([Http2Frame.encode(types.settings), ping(1), ping(2), ping(3)]))
      yield* until("it has seen two", () => peer.frames().length >= 2)
      yield* Effect.sleep(50)
      assert.deepStrictEqual(peer.frames().map(({ type }) => type), [types.settings, types.ping])
      const answers = Http2Frame.parse(server.received().subarray(Http2Frame.preface.byteLength))
      assert.deepStrictEqual(answers.map(({ payload, type }) => [type, payload.toString("hex")]), [
        [types.settings, ""],
        [types.ping, "01".repeat(8)]
      ])
    }))

  it.live("neverReading lets the server's answer fill the buffers, whatever the windows", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.neverReading(server.address, path)
      yield* until("the RPC is open", () => server.streams.length === 1)
      const stream = server.streams[0]!
      stream.respond()
      stream.resume()
      for (let i = 0; i < 1_000; i++) stream.write(Buffer.alloc(100_000))
      yield* Effect.sleep(100)
      assert.isTrue(stream.writableNeedDrain)
      assert.strictEqual(peer.received().length, 0)
      assert.isAbove(server.sockets[0]!.writableLength + stream.writableLength, 1_000_000)
    }))

  it.effect("ignoringGoaway opens streams after the GOAWAY, one for each interval", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.ignoringGoaway(server.address, { path })
      yield* until("the RPC is open", () => server.streams.length === 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(peer.opened(), 1)
      server.sessions[0]!.goaway()
      yield* peer.awaitFrame(isGoaway)
      yield* Effect.yieldNow
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(peer.opened(), 11)
    }))

  it.effect("resetting opens RPCs and resets them, one for each interval", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.resetting(server.address, { path })
      yield* TestClock.adjust("20 millis")
      assert.strictEqual(peer.opened(), 20)
      yield* until("all are reset", () =>
        server.streams.length === 20 && server.streams.every((stream) => stream.rstCode === 8))
    }))

  it.effect("endlessStream sends beyond the first window, as the server reads, and goes on after a GOAWAY", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      yield* HostilePeer.endlessStream(server.address, { path, message: Buffer.alloc(10_000) })
      yield* until("the RPC is open", () => server.streams.length === 1)
      const stream = server.streams[0]!
      let bytes = 0
      const received = (least: number) =>
        Effect.gen(function*() {
          for (let i = 0; bytes < least; i++) {
            assert.isBelow(i, 5_000)
            yield* TestClock.adjust("10 millis")
            yield* EventLoop.turn
          }
        })
      yield* TestClock.adjust("1 second")
      stream.pause()
      yield* TestClock.adjust("1 second")
      stream.on("data", (chunk: Buffer) => {
        bytes += chunk.length
      })
      stream.resume()
      yield* received(200_000)
      server.sessions[0]!.goaway()
      yield* received(bytes + 100_000)
      assert.isFalse(stream.readableEnded)
    }))

  it.live("awaitFrame finds what has come, and dies when the connection closes without it", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.neverClosing(server.address)
      const settings = yield* peer.awaitFrame(({ type }) => type === types.settings)
      assert.strictEqual(yield* peer.awaitFrame(({ type }) => type === types.settings), settings)
      const waiting = yield* Effect.forkChild(Effect.exit(peer.awaitFrame(isGoaway)), { startImmediately: true })
      yield* peer.leave
      const exit = yield* Fiber.join(waiting)
      assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
      assert.include(String(exit), "settings")
    }))
})
