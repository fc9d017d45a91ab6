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
import * as Latch from "effect/Latch"
import * as net from "node:net"
import * as tls from "node:tls"
import { type GrpcCredentials, toTlsOptions } from "../GrpcCredentials.ts"

export interface Connections {
  /** A `net.Server` or `tls.Server` whose connections become ours. */
  readonly makeServer: (credentials: GrpcCredentials) => net.Server
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
/** How long any TLS handshake may take; Node's default is two minutes. */
const handshakeMillis = 10_000

/** As long as the longest queue of a listener, Node's default backlog. */
const maxAcceptTurns = 511

interface Connection {
  readonly socket: net.Socket
  finishedAt: number | undefined
}

export const make = (server: Server, clock: Clock): Connections => {
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  /** Sockets as accepted, each removed by its `close`. Under TLS the secured socket of `sessions` lies on top of one. */
  const accepted = new Set<net.Socket>()
  /** Sockets that carry HTTP/2. */
  const sessions = new Set<Connection>()
  const changed = Latch.makeUnsafe(false)
  let acceptedEver = 0
  let injector: ConnectionInjector | undefined
  let goneAwayAt: number | undefined

  const own = (socket: net.Socket): void => {
    acceptedEver++
    accepted.add(socket)
    socket.on("error", ignore)
    socket.once("close", () => {
      accepted.delete(socket)
      changed.openUnsafe()
    })
  }

  const inject = (socket: net.Socket): void => {
    const connection: Connection = { socket, finishedAt: undefined }
    sessions.add(connection)
    socket.on("error", ignore)
    socket.once("finish", () => {
      connection.finishedAt = now()
      changed.openUnsafe()
    })
    socket.once("close", () => {
      sessions.delete(connection)
      changed.openUnsafe()
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

  const goaway = (): void => {
    if (goneAwayAt !== undefined) return
    goneAwayAt = now()
    // `destroy` closes each session gracefully: one GOAWAY(last stream), and what is in flight goes on. `drain` would do
    // the same but holds the server in a timer for its grace time.
    injector?.destroy()
    changed.openUnsafe()
  }

  /** Destroys what has had its time, and says when to look again. */
  const reap = (): number => {
    let next = Number.POSITIVE_INFINITY
    for (const { finishedAt, socket } of sessions) {
      if (finishedAt === undefined) continue
      const until = finishedAt + lingerMillis
      if (until <= now()) socket.destroy()
      else next = Math.min(next, until)
    }
    if (sessions.size === 0 && accepted.size > 0 && goneAwayAt !== undefined) {
      const until = goneAwayAt + lateHandshakeMillis
      if (until <= now()) destroyAll(accepted)
      else next = Math.min(next, until)
    }
    return next
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
      for (const { socket } of sessions) socket.destroy()
      destroyAll(accepted)
    },
    makeServer(credentials) {
      if (credentials._tag === "Insecure") {
        return net.createServer({ noDelay: true }, (socket) => {
          own(socket)
          inject(socket)
        })
      }
      return tls.createServer({ ...toTlsOptions(credentials), noDelay: true, handshakeTimeout: handshakeMillis })
        .on("connection", own)
        .on("secureConnection", inject)
        .on("tlsClientError", ignore)
    }
  }
}

/** A turn of the event loop: I/O that is ready is handled, time does not pass. */
const turn: Effect.Effect<void> = Effect.callback((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

const ignore = (): void => {}

const destroyAll = (sockets: Iterable<net.Socket>): void => {
  for (const socket of sockets) socket.destroy()
}
