/**
 * The sockets of a server, every one owned: from `accept` to `close`, handshaking ones included.
 *
 * grpc-js gets its connections through its public injector and keeps no list that a stop must trust. What ends a
 * connection is the state of its socket: `finish` after a GOAWAY says that its HTTP/2 session is complete and flushed;
 * after a short linger for the peer's own close it is destroyed.
 */
import { type ConnectionInjector, type Server, ServerCredentials } from "@grpc/grpc-js"
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import type * as tls from "node:tls"
import type { GrpcCredentials, GrpcCredentialsError, Tls } from "../GrpcCredentials.ts"
import * as GrpcPeer from "../GrpcPeer.ts"
import * as TlsServer from "./tlsServer.ts"

export interface Connections {
  /**
   * A `net.Server` or `tls.Server` whose connections become ours. Waits for the first of a stream of credentials, until
   * `goaway`: `undefined`. `name` is the listener in words.
   */
  readonly makeServer: (
    credentials: GrpcCredentials,
    name: string
  ) => Effect.Effect<net.Server | undefined, GrpcCredentialsError>
  /** Accepts the connections that wait in the listeners' queues: closing a listener would reset them. */
  readonly acceptWaiting: Effect.Effect<void>
  /** One GOAWAY on every connection, also on those whose handshake ends later. Idempotent. */
  readonly goaway: () => void
  /** Waits, after `goaway`, until every connection has ended. */
  readonly awaitClosed: Effect.Effect<void>
  /** Destroys every socket, synchronously. */
  readonly destroy: () => void
  /** How many sockets are open. */
  readonly size: () => number
}

/** How long a finished connection waits for its peer's close. */
const lingerMillis = 300
/** How long a TLS handshake that is pending when the drain begins may go on. */
const lateHandshakeMillis = 1_000
/** How often at most a server tells that it refuses connections. */
const refusalsMillis = 60_000
/** How long the end of the streams of credentials is waited for, once the server has stopped. */
const updatesMillis = 1_000

/** As long as the longest queue of a listener, Node's default backlog. */
const maxAcceptTurns = 511

/** What is taken from clients at most. */
export interface Limits {
  readonly maxConnections: number
  readonly maxConnectionsPerPeer: number
  readonly prefaceMillis: number
}

/** The client's connection preface and its first frame, an empty SETTINGS. */
const prefaceBytes = 24 + 9

/** A connection whose session is complete and flushed. */
interface Finished {
  readonly socket: net.Socket
  readonly at: number
}

export const make = Effect.fnUntraced(function*(
  server: Server,
  clock: Clock,
  limits: Limits
): Effect.fn.Return<Connections, never, Scope.Scope> {
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  /** The streams of credentials that are read. Released after the stop, which the caller adds to the scope later. */
  const updates = yield* Effect.acquireRelease(
    Effect.sync(() => new Set<Fiber.Fiber<void>>()),
    (fibers) =>
      Effect.raceFirst(
        Effect.suspend(() => Fiber.interruptAll(fibers)),
        Effect.sleep(Duration.millis(updatesMillis))
      )
  )
  const forkUpdates = (effect: Effect.Effect<void>): Fiber.Fiber<void> => {
    const fiber = runFork(effect)
    updates.add(fiber)
    fiber.addObserver(() => updates.delete(fiber))
    return fiber
  }

  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  /** Sockets as accepted, each removed by its `close`. Under TLS the secured socket of `sessions` lies on top of one. */
  const accepted = new Set<net.Socket>()
  /** Sockets that carry HTTP/2. */
  const sessions = new Set<net.Socket>()
  /** Those that finished in the drain, in that order, from `firstFinished` on: its linger is over first. */
  const finished: Array<Finished> = []
  let firstFinished = 0
  /** Opened where `awaitClosed` has to look again; not at each close, which would cost the square of the connections. */
  const changed = Latch.makeUnsafe(false)
  let acceptedEver = 0
  let injector: ConnectionInjector | undefined
  let goneAwayAt: number | undefined
  const goneAway = Latch.makeUnsafe(false)

  /** How many connections each remote address has. A Unix socket has no address. */
  const perPeer = new Map<string, number>()

  /** Refused since this was told of last. */
  let refused = 0
  let toldRefusedAt = Number.NEGATIVE_INFINITY

  const refuse = (socket: net.Socket, name: string, limit: string): void => {
    socket.destroy()
    refused++
    if (now() - toldRefusedAt < refusalsMillis) return
    const connections = refused === 1 ? "a connection was" : `${refused} connections were`
    runFork(Effect.logWarning(`${name}: ${connections} refused: ${limit}`))
    refused = 0
    toldRefusedAt = now()
  }

  /** Whether the connection is within the limits; one that is not is closed at once. */
  const own = (socket: net.Socket, name: string): boolean => {
    acceptedEver++
    const peer = socket.remoteAddress
    const ofPeer = peer === undefined ? 0 : perPeer.get(peer) ?? 0
    socket.on("error", ignore)
    const limit = accepted.size >= limits.maxConnections
      ? `maxConnections is ${limits.maxConnections}`
      : ofPeer >= limits.maxConnectionsPerPeer
      ? `maxConnectionsPerPeer is ${limits.maxConnectionsPerPeer} (${peer})`
      : undefined
    if (limit !== undefined) {
      refuse(socket, name, limit)
      return false
    }
    accepted.add(socket)
    if (peer !== undefined) perPeer.set(peer, ofPeer + 1)
    socket.once("close", () => {
      accepted.delete(socket)
      if (peer !== undefined) release(peer)
      if (accepted.size === 0) changed.openUnsafe()
    })
    return true
  }

  const release = (peer: string): void => {
    const left = (perPeer.get(peer) ?? 1) - 1
    if (left === 0) perPeer.delete(peer)
    else perPeer.set(peer, left)
  }

  /** Destroys a socket after a time, unless it has closed by then or what is asked of it is the case. */
  const destroyAfter = (socket: net.Socket, millis: number, unless: () => boolean): void => {
    const fiber = runFork(Effect.map(Effect.sleep(Duration.millis(millis)), () => {
      if (!unless()) socket.destroy()
    }))
    socket.once("close", () => fiber.interruptUnsafe())
  }

  const inject = (socket: net.Socket): void => {
    sessions.add(socket)
    socket.on("error", ignore)
    destroyAfter(socket, limits.prefaceMillis, () => socket.bytesRead >= prefaceBytes)
    socket.once("finish", () => {
      // Too old or idle for too long: its peer does not get to keep it either.
      if (goneAwayAt === undefined) return destroyAfter(socket, lingerMillis, () => false)
      if (finished.push({ socket, at: now() }) === firstFinished + 1) changed.openUnsafe()
    })
    socket.once("close", () => {
      sessions.delete(socket)
      if (sessions.size === 0) changed.openUnsafe()
    })
    if (goneAwayAt === undefined) {
      injector ??= server.createConnectionInjector(ServerCredentials.createInsecure())
      injector.injectConnection(socket)
      return
    }
    // A handshake that ended late: its client is told at once that nothing of it was processed, and may go elsewhere.
    const late = server.createConnectionInjector(ServerCredentials.createInsecure())
    late.injectConnection(socket)
    late.destroy()
  }

  /** Whether the policy lets the peer in. */
  const isAllowed = ({ client }: Tls, name: string, socket: tls.TLSSocket): boolean => {
    if (client._tag === "AnyClient" || client.allow === undefined) return true
    let who = "a client"
    try {
      const peer = GrpcPeer.fromCertificate(socket.getPeerX509Certificate()!)
      who = GrpcPeer.describe(peer)
      if (client.allow(peer)) return true
      runFork(Effect.logWarning(`${name}: ${who} is not let in`))
    } catch (cause) {
      runFork(Effect.logError(`${name}: ${who} is not let in, the policy threw`, cause))
    }
    return false
  }

  const goaway = (): void => {
    if (goneAwayAt !== undefined) return
    goneAwayAt = now()
    goneAway.openUnsafe()
    // `destroy` closes each session gracefully: one GOAWAY(last stream), and what is in flight goes on. `drain` would do
    // the same but holds the server in a timer for its grace time.
    injector?.destroy()
    changed.openUnsafe()
  }

  /** Destroys what has had its time, and says when to look again. */
  const reap = (): number => {
    for (; firstFinished < finished.length; firstFinished++) {
      const { at, socket } = finished[firstFinished]!
      if (socket.destroyed) continue
      const until = at + lingerMillis
      if (until > now()) return until
      socket.destroy()
    }
    if (sessions.size === 0 && goneAwayAt !== undefined) {
      const until = goneAwayAt + lateHandshakeMillis
      if (until > now()) return until
      destroyAll(accepted)
    }
    return Number.POSITIVE_INFINITY
  }

  const awaitClosed: Effect.Effect<void> = Effect.suspend(() => {
    if (accepted.size === 0 && sessions.size === 0) return Effect.void
    changed.closeUnsafe()
    const next = reap()
    const again = next === Number.POSITIVE_INFINITY
      ? changed.await
      : Effect.raceFirst(changed.await, Effect.sleep(Duration.millis(Math.max(0, next - now()))))
    return Effect.flatMap(again, () => awaitClosed)
  })

  // libuv accepts one connection of a listener in a turn. A queue is empty when two turns brought none: the first may have
  // been half over when it began.
  const accept = (turnsLeft: number, idle: number): Effect.Effect<void> => {
    if (turnsLeft === 0 || idle === 2) return Effect.void
    const before = acceptedEver
    return Effect.flatMap(turn, () => accept(turnsLeft - 1, acceptedEver === before ? idle + 1 : 0))
  }

  return {
    acceptWaiting: Effect.suspend(() => accept(maxAcceptTurns, 0)),
    goaway,
    awaitClosed,
    size: () => accepted.size,
    destroy() {
      destroyAll(sessions)
      destroyAll(accepted)
    },
    makeServer(credentials, name) {
      if (credentials._tag === "Insecure") {
        return Effect.sync(() =>
          net.createServer((socket) => {
            if (own(socket, name)) inject(socket)
          })
        )
      }
      const make = Effect.map(TlsServer.make(credentials, name, forkUpdates), (server) =>
        server
          .on("connection", (socket) => own(socket, name))
          .on("secureConnection", (socket) => {
            if (isAllowed(credentials, name, socket)) inject(socket)
            else socket.destroy()
          })
          // Node reports a handshake that took too long, and leaves its connection open.
          .on("tlsClientError", (_, socket) => socket.destroy()))
      // Waits only where they come from a stream.
      return Effect.raceFirst(make, Effect.as(goneAway.await, undefined))
    }
  }
})

/** A turn of the event loop: I/O that is ready is handled, time does not pass. */
const turn: Effect.Effect<void> = Effect.callback((resume) => {
  setImmediate(() => resume(Effect.void))
})

const ignore = (): void => {}

const destroyAll = (sockets: Iterable<net.Socket>): void => {
  for (const socket of sockets) socket.destroy()
}
