import { assert, describe, it } from "@effect/vitest"
import type { ConnectionInjector, Server } from "@grpc/grpc-js"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { X509Certificate } from "node:crypto"
import type * as net from "node:net"
import { Duplex } from "node:stream"
import * as GrpcCredentials from "../src/GrpcCredentials.ts"
import type * as GrpcPeer from "../src/GrpcPeer.ts"
import * as Connections from "../src/internal/connections.ts"
import * as Certificates from "./Certificates.ts"
import * as Logs from "./Logs.ts"

/** A socket without a network: its peer says nothing, and takes all. */
class Socket extends Duplex {
  /** A preface and a frame. */
  bytesRead = 33
  readonly remoteAddress: string | undefined
  private readonly certificate: X509Certificate | undefined

  constructor(remoteAddress?: string, certificate?: X509Certificate) {
    super()
    this.remoteAddress = remoteAddress
    this.certificate = certificate
  }

  override _read(): void {}

  override _write(_: unknown, __: string, callback: () => void): void {
    callback()
  }

  getPeerX509Certificate(): X509Certificate | undefined {
    return this.certificate
  }
}

const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
const turns = Effect.repeat(turn, { times: 10 })

const pass = (millis: number) => Effect.andThen(TestClock.adjust(millis), turns)

const unlimited: Connections.Limits = {
  maxConnections: Number.POSITIVE_INFINITY,
  maxConnectionsPerPeer: Number.POSITIVE_INFINITY,
  prefaceMillis: 1_000_000
}

const authority = Certificates.authority("the authority")
const keyPair = authority.issue("server")

/** The connections of a server; `sessions` are those that grpc-js got, and how often its injectors were destroyed. */
const make = Effect.fnUntraced(function*(limits: Partial<Connections.Limits> = {}) {
  const injectors: Array<{ readonly sockets: Array<net.Socket>; destroyed: number }> = []
  const server = {
    createConnectionInjector() {
      const injector = { sockets: [] as Array<net.Socket>, destroyed: 0 }
      injectors.push(injector)
      return {
        injectConnection: (socket: net.Socket) => void injector.sockets.push(socket),
        destroy: () => injector.destroyed++
      } as unknown as ConnectionInjector
    }
  } as unknown as Server
  const connections = yield* Connections.make(server, yield* Clock.Clock, { ...unlimited, ...limits })
  const plain = (yield* connections.makeServer(GrpcCredentials.insecure, "plain"))!
  const secure = (yield* connections.makeServer(GrpcCredentials.tls(keyPair), "secure"))!
  return {
    connections,
    injectors,
    /** A connection that is accepted. */
    accept(remoteAddress?: string) {
      const socket = new Socket(remoteAddress)
      plain.emit("connection", socket)
      return socket
    },
    /** One that has begun its TLS handshake, and what ends it: the socket on top. */
    handshake() {
      const socket = new Socket()
      secure.emit("connection", socket)
      return {
        socket,
        end() {
          const secured = new Socket()
          secured.once("close", () => socket.destroy())
          secure.emit("secureConnection", secured)
          return secured
        }
      }
    },
    secure,
    sockets: () => injectors.flatMap(({ sockets }) => sockets)
  }
})

const begin = Effect.fnUntraced(function*(effect: Effect.Effect<void>) {
  const fiber: Fiber.Fiber<void> = yield* Effect.forkChild(effect, { startImmediately: true })
  yield* turns
  return () => fiber.pollUnsafe() !== undefined
})

describe("what is accepted", () => {
  it.effect("goes to grpc-js, and is counted until it closes", () =>
    Effect.gen(function*() {
      const { accept, connections, injectors, sockets } = yield* make()
      const one = accept()
      const two = accept()
      assert.deepStrictEqual<ReadonlyArray<unknown>>(sockets(), [one, two])
      assert.lengthOf(injectors, 1)
      assert.strictEqual(connections.size(), 2)
      one.destroy()
      yield* turns
      assert.strictEqual(connections.size(), 1)
    }))

  it.effect("may fail: an error of its socket does not end the process", () =>
    Effect.gen(function*() {
      const { accept, handshake, secure } = yield* make({ maxConnections: 3 })
      accept().emit("error", new Error("reset"))
      const handshaking = handshake()
      handshaking.end().emit("error", new Error("reset"))
      accept()
      const refused = accept()
      assert.isTrue(refused.destroyed)
      refused.emit("error", new Error("reset"))
      assert.isDefined(secure)
    }))

  it.effect("is at most as many as the limit says, the others are closed at once; there is room when one has gone", () =>
    Effect.gen(function*() {
      const { accept, connections, sockets } = yield* make({ maxConnections: 2 })
      const one = accept()
      const two = accept()
      assert.isFalse(one.destroyed || two.destroyed)
      assert.isTrue(accept().destroyed)
      yield* turns
      assert.isTrue(accept().destroyed)
      assert.strictEqual(connections.size(), 2)
      assert.lengthOf(sockets(), 2)
      one.destroy()
      yield* turns
      assert.isFalse(accept().destroyed)
      assert.isTrue(accept().destroyed)
    }))

  it.effect("is at most as many of one address as the limit says", () =>
    Effect.gen(function*() {
      const { accept } = yield* make({ maxConnectionsPerPeer: 2 })
      const isRefused = (address?: string) => accept(address).destroyed
      const one = accept("192.0.2.1")
      const two = accept("192.0.2.1")
      assert.isTrue(isRefused("192.0.2.1"))
      yield* turns
      // Those that were refused have not taken a place, and have not left one.
      assert.isTrue(isRefused("192.0.2.1"))
      assert.isFalse(isRefused("192.0.2.2"))
      one.destroy()
      yield* turns
      assert.isFalse(isRefused("192.0.2.1"))
      assert.isTrue(isRefused("192.0.2.1"))
      two.destroy()
      yield* turns
      assert.isFalse(isRefused("192.0.2.1"))
      assert.isTrue(isRefused("192.0.2.1"))
      assert.isFalse(isRefused("192.0.2.2"))
      assert.isTrue(isRefused("192.0.2.2"))
      const lone = accept("192.0.2.3")
      lone.destroy()
      yield* turns
      assert.deepStrictEqual([1, 2, 3].map(() => isRefused("192.0.2.3")), [false, false, true])
    }))

  it.effect("is told of where it was refused, once a minute with the number since: a flood must not fill the log", () => {
    const { layer, lines } = Logs.make()
    return Effect.gen(function*() {
      const { accept, handshake } = yield* make({ maxConnections: 3, maxConnectionsPerPeer: 1 })
      accept("192.0.2.1")
      accept("192.0.2.1")
      const first = "WARN plain: a connection was refused: maxConnectionsPerPeer is 1 (192.0.2.1)"
      assert.deepStrictEqual(lines, [first])
      accept("192.0.2.2")
      accept("192.0.2.3")
      accept("192.0.2.4")
      handshake()
      yield* pass(59_999)
      accept("192.0.2.4")
      assert.deepStrictEqual(lines, [first])
      yield* pass(1)
      handshake()
      accept("192.0.2.4")
      assert.deepStrictEqual(lines, [first, "WARN secure: 4 connections were refused: maxConnections is 3"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is not limited by address where it has none, as on a Unix socket", () =>
    Effect.gen(function*() {
      const { accept } = yield* make({ maxConnectionsPerPeer: 1 })
      for (let i = 0; i < 3; i++) {
        const socket = accept()
        assert.isFalse(socket.destroyed)
        socket.destroy()
        yield* turns
      }
      assert.isFalse(accept().destroyed || accept().destroyed)
    }))

  it.effect("is closed where it has not said the preface and a first frame, 33 bytes, in time", () =>
    Effect.gen(function*() {
      const { accept } = yield* make({ prefaceMillis: 500 })
      const silent = accept()
      silent.bytesRead = 32
      const client = accept()
      yield* pass(499)
      assert.isFalse(silent.destroyed)
      yield* pass(1)
      assert.isTrue(silent.destroyed)
      assert.isFalse(client.destroyed)
    }))

  it.effect("is destroyed 300 ms after its session has ended, if its peer does not close it", () =>
    Effect.gen(function*() {
      const { accept } = yield* make()
      const socket = accept()
      socket.end()
      yield* turns
      yield* pass(299)
      assert.isFalse(socket.destroyed)
      yield* pass(1)
      assert.isTrue(socket.destroyed)
    }))

  it.effect("is accepted too where it waits in the queue of a listener: one in a turn, or in every second one", () =>
    Effect.gen(function*() {
      for (const every of [1, 2]) {
        const { accept, connections } = yield* make()
        let turn = 0
        const arrive = () => {
          if (turn++ % every === 0) accept()
          if (turn < 40 * every) setImmediate(arrive)
        }
        setImmediate(arrive)
        yield* connections.acceptWaiting
        assert.strictEqual(connections.size(), 40)
      }
    }))

  it.effect("is waited for two turns where the queue is empty", () =>
    Effect.gen(function*() {
      const { connections } = yield* make()
      let turns = 0
      let isOver = false
      const count = () => {
        turns++
        if (!isOver) setImmediate(count)
      }
      setImmediate(count)
      yield* connections.acceptWaiting
      isOver = true
      assert.isAtLeast(turns, 2)
      assert.isAtMost(turns, 4)
    }))

  it.effect("is not waited for without end: a queue has 511 places", () =>
    Effect.gen(function*() {
      const { accept, connections } = yield* make({ maxConnections: 10 })
      let count = 0
      let isOver = false
      const arrive = () => {
        count++
        accept()
        if (!isOver && count < 2_000) setImmediate(arrive)
      }
      setImmediate(arrive)
      yield* connections.acceptWaiting
      isOver = true
      assert.isAbove(count, 505)
      assert.isBelow(count, 520)
    }))
})

describe("the GOAWAY", () => {
  it.effect("is one on every connection, and one for each whose handshake ends later", () =>
    Effect.gen(function*() {
      const { accept, connections, handshake, injectors } = yield* make()
      const socket = accept()
      const handshaking = handshake()
      assert.deepStrictEqual(injectors.map(({ destroyed }) => destroyed), [0])
      connections.goaway()
      connections.goaway()
      assert.deepStrictEqual(injectors.map(({ destroyed }) => destroyed), [1])
      const late = handshaking.end()
      assert.deepStrictEqual<ReadonlyArray<unknown>>(injectors, [
        { sockets: [socket], destroyed: 1 },
        { sockets: [late], destroyed: 1 }
      ])
    }))

  it.effect("is none where there is no connection", () =>
    Effect.gen(function*() {
      const { connections, injectors } = yield* make()
      connections.goaway()
      assert.deepStrictEqual(injectors, [])
    }))
})

describe("the end of the connections", () => {
  it.effect("is at once where there are none", () =>
    Effect.gen(function*() {
      const { connections } = yield* make()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      assert.isTrue(isOver())
    }))

  it.effect("is when all have closed, before their time is over", () =>
    Effect.gen(function*() {
      const { accept, connections } = yield* make()
      const one = accept()
      const two = accept()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      assert.isFalse(isOver())
      one.end()
      yield* turns
      one.destroy()
      yield* turns
      assert.isFalse(isOver())
      two.destroy()
      yield* turns
      assert.isTrue(isOver())
    }))

  it.effect("is when both sockets of a secured one have closed, in whatever order", () =>
    Effect.gen(function*() {
      for (const isSecuredFirst of [false, true]) {
        const { connections, secure } = yield* make()
        const socket = new Socket()
        const secured = new Socket()
        secure.emit("connection", socket)
        secure.emit("secureConnection", secured)
        connections.goaway()
        const isOver = yield* begin(connections.awaitClosed)
        const [first, second] = isSecuredFirst ? [secured, socket] : [socket, secured]
        first.destroy()
        yield* turns
        assert.isFalse(isOver())
        second.destroy()
        yield* turns
        assert.isTrue(isOver())
      }
    }))

  it.effect("is 300 ms after each has ended its session, whatever its peer does", () =>
    Effect.gen(function*() {
      const { accept, connections } = yield* make()
      const sockets = [accept(), accept(), accept(), accept()] as const
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(1_000_000)
      sockets[0].end()
      yield* turns
      yield* pass(100)
      sockets[1].end()
      sockets[2].end()
      yield* turns
      sockets[1].destroy()
      yield* pass(199)
      assert.isFalse(sockets[0].destroyed)
      yield* pass(1)
      assert.isTrue(sockets[0].destroyed)
      assert.isFalse(sockets[2].destroyed)
      yield* pass(99)
      assert.isFalse(sockets[2].destroyed)
      yield* pass(1)
      assert.isTrue(sockets[2].destroyed)
      assert.isFalse(isOver())
      yield* pass(1_000_000)
      assert.isFalse(sockets[3].destroyed)
      sockets[3].end()
      yield* turns
      yield* pass(299)
      assert.isFalse(sockets[3].destroyed)
      assert.isFalse(isOver())
      yield* pass(1)
      assert.isTrue(isOver())
      assert.strictEqual(connections.size(), 0)
    }))

  it.effect("is awaited by whoever asks, also a second time, and later", () =>
    Effect.gen(function*() {
      const { accept, connections } = yield* make()
      const socket = accept()
      connections.goaway()
      socket.end()
      yield* pass(100)
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(199)
      assert.isFalse(isOver())
      yield* pass(1)
      assert.isTrue(isOver())
      assert.isTrue((yield* begin(connections.awaitClosed))())
    }))

  it.effect("waits a second for handshakes", () =>
    Effect.gen(function*() {
      const { connections, handshake } = yield* make()
      const { socket } = handshake()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(999)
      assert.isFalse(socket.destroyed)
      yield* pass(1)
      assert.isTrue(socket.destroyed)
      assert.isTrue(isOver())
    }))

  it.effect("waits longer for handshakes while there are sessions, and not when there are none any more", () =>
    Effect.gen(function*() {
      const { accept, connections, handshake } = yield* make()
      const session = accept()
      const { socket } = handshake()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(5_000)
      assert.isFalse(socket.destroyed)
      session.destroy()
      yield* turns
      assert.isTrue(socket.destroyed)
      assert.isTrue(isOver())
    }))

  it.effect("waits for the session of a handshake that ended late", () =>
    Effect.gen(function*() {
      const { connections, handshake } = yield* make()
      const handshaking = handshake()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(500)
      const late = handshaking.end()
      yield* pass(5_000)
      assert.isFalse(handshaking.socket.destroyed)
      late.end()
      yield* turns
      yield* pass(300)
      assert.isTrue(late.destroyed)
      assert.isTrue(handshaking.socket.destroyed)
      assert.isTrue(isOver())
    }))

  it.effect("is not before the GOAWAY", () =>
    Effect.gen(function*() {
      const { connections, handshake } = yield* make()
      const { socket } = handshake()
      const isOver = yield* begin(connections.awaitClosed)
      yield* pass(5_000)
      assert.isFalse(socket.destroyed)
      connections.goaway()
      yield* turns
      assert.isFalse(isOver())
      yield* pass(1_000)
      assert.isTrue(isOver())
    }))

  it.effect("is at once where they are destroyed, handshaking ones too", () =>
    Effect.gen(function*() {
      const { accept, connections, handshake } = yield* make()
      const session = accept()
      const handshaking = handshake()
      const secured = handshake().end()
      connections.goaway()
      const isOver = yield* begin(connections.awaitClosed)
      connections.destroy()
      assert.isTrue(session.destroyed && handshaking.socket.destroyed && secured.destroyed)
      yield* turns
      assert.isTrue(isOver())
    }))
})

describe("who is let in", () => {
  const { cert } = authority.issue("web", { uris: ["spiffe://example.org/web"] })

  const connect = (allow: ((peer: GrpcPeer.GrpcPeer) => boolean) | undefined, certificate: string | undefined) =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { connections, sockets } = yield* Effect.provide(make(), logs.layer)
      const credentials = GrpcCredentials.mtls({ ...keyPair, clientCa: authority.cert }, { allow })
      const server = (yield* connections.makeServer(credentials, "api"))!
      const socket = new Socket(undefined, certificate === undefined ? undefined : new X509Certificate(certificate))
      server.emit("secureConnection", socket)
      yield* turns
      return { isIn: sockets().length === 1, isDestroyed: socket.destroyed, lines: logs.lines }
    })

  it.effect("is whom the policy allows, and all where there is none", () =>
    Effect.gen(function*() {
      const isWeb = (peer: GrpcPeer.GrpcPeer) => peer.spiffeId === "spiffe://example.org/web"
      const isIn = { isIn: true, isDestroyed: false, lines: [] }
      assert.deepStrictEqual<unknown>(yield* connect(isWeb, cert), isIn)
      assert.deepStrictEqual<unknown>(yield* connect(undefined, cert), isIn)
      assert.deepStrictEqual<unknown>(yield* connect(() => false, cert), {
        isIn: false,
        isDestroyed: true,
        lines: ["WARN api: spiffe://example.org/web is not let in"]
      })
    }))

  it.effect("is nobody where the policy throws, or there is no certificate", () =>
    Effect.gen(function*() {
      const throws = yield* connect(() => {
        throw new Error("broken")
      }, cert)
      assert.isFalse(throws.isIn)
      assert.isTrue(throws.isDestroyed)
      assert.include(throws.lines.join(), "ERROR api: spiffe://example.org/web is not let in, the policy threw")
      const nobody = yield* connect(() => true, undefined)
      assert.isFalse(nobody.isIn)
      assert.isTrue(nobody.isDestroyed)
      assert.include(nobody.lines.join(), "ERROR api: a client is not let in, the policy threw")
    }))

  it.effect("a handshake that fails, or takes too long, is closed", () =>
    Effect.gen(function*() {
      const { secure } = yield* make()
      const socket = new Socket()
      secure.emit("tlsClientError", new Error("timeout"), socket)
      assert.isTrue(socket.destroyed)
    }))
})

describe("credentials that come as a stream", () => {
  it.effect("are waited for until the GOAWAY", () =>
    Effect.gen(function*() {
      const { connections } = yield* make()
      let server: net.Server | undefined | "none" = "none"
      const isOver = yield* begin(
        Effect.map(Effect.orDie(connections.makeServer(GrpcCredentials.tls(Stream.never), "api")), (made) => {
          server = made
        })
      )
      yield* pass(5_000)
      assert.isFalse(isOver())
      connections.goaway()
      yield* turns
      assert.isTrue(isOver())
      assert.isUndefined(server)
    }))

  it.effect("that are there make a server, as those do that are no stream", () =>
    Effect.gen(function*() {
      const { connections } = yield* make()
      assert.isDefined(yield* connections.makeServer(GrpcCredentials.tls(Stream.make(keyPair)), "api"))
      connections.goaway()
      assert.isDefined(yield* connections.makeServer(GrpcCredentials.tls(keyPair), "api"))
    }))

  it.effect("are released with the scope, which waits for that for a second", () =>
    Effect.gen(function*() {
      for (const millis of [0, 500, 5_000]) {
        let isReleased = false
        const stream = Stream.concat(Stream.make(keyPair), Stream.never).pipe(
          Stream.ensuring(Effect.andThen(
            Effect.sleep(millis),
            Effect.sync(() => {
              isReleased = true
            })
          ))
        )
        const scope = yield* Scope.make()
        const { connections } = yield* Scope.provide(make(), scope)
        yield* connections.makeServer(GrpcCredentials.tls(stream), "api")
        assert.isFalse(isReleased)
        const isOver = yield* begin(Scope.close(scope, Exit.void))
        yield* pass(0)
        assert.strictEqual(isOver(), millis === 0)
        yield* pass(499)
        assert.strictEqual(isOver(), millis === 0)
        yield* pass(1)
        assert.strictEqual(isOver(), millis <= 500)
        assert.strictEqual(isReleased, millis <= 500)
        yield* pass(499)
        assert.strictEqual(isOver(), millis <= 500)
        yield* pass(1)
        assert.isTrue(isOver())
      }
    }))
})
