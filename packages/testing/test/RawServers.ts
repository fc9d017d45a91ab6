/** Bare servers of Node on a port of their own, with what they see of their peers. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as http2 from "node:http2"
import * as net from "node:net"

/** Waits in real time until the outside world has come to a state. */
export const until = (what: string, condition: () => boolean): Effect.Effect<void> => {
  const started = performance.now()
  const poll: Effect.Effect<void> = Effect.suspend(() => {
    if (condition()) return Effect.void
    if (performance.now() - started > 10_000) return Effect.die(new Error(`waited in vain until ${what}`))
    return Effect.andThen(nextTurn, poll)
  })
  return poll
}

const nextTurn = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 1)
})

export interface RawServer<S extends net.Server | http2.Http2Server> {
  readonly server: S
  readonly address: { readonly port: number }
  readonly sockets: ReadonlyArray<net.Socket>
  /** All bytes that came over TCP; empty where HTTP/2 reads them. */
  readonly received: () => Buffer
}

const listen = <S extends net.Server | http2.Http2Server>(server: S): Effect.Effect<RawServer<S>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<RawServer<S>>((resume) => {
      const sockets: Array<net.Socket> = []
      const chunks: Array<Buffer> = []
      server.on("connection", (socket: net.Socket) => {
        sockets.push(socket)
        socket.on("error", () => {})
      })
      if (!("setTimeout" in server)) {
        server.on("connection", (socket: net.Socket) => void socket.on("data", (chunk) => chunks.push(chunk)))
      }
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as net.AddressInfo
        resume(Effect.succeed({ server, address: { port }, sockets, received: () => Buffer.concat(chunks) }))
      })
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  )

/** Reads whatever comes, and closes its half only when told to. */
export const tcp: Effect.Effect<RawServer<net.Server>, never, Scope.Scope> = Effect.suspend(() =>
  listen(net.createServer({ allowHalfOpen: true }))
)

export interface Http2 extends RawServer<http2.Http2Server> {
  readonly sessions: ReadonlyArray<http2.ServerHttp2Session>
  readonly streams: ReadonlyArray<http2.ServerHttp2Stream>
}

/** Speaks HTTP/2; what is done with a stream is the test's. */
export const http: Effect.Effect<Http2, never, Scope.Scope> = Effect.suspend(() => {
  const sessions: Array<http2.ServerHttp2Session> = []
  const streams: Array<http2.ServerHttp2Stream> = []
  const server = http2.createServer()
  server.on("session", (session) => {
    sessions.push(session)
    session.on("error", () => {})
  })
  server.on("stream", (stream) => {
    streams.push(stream)
    stream.on("error", () => {})
  })
  return Effect.map(listen(server), (raw) => ({ ...raw, sessions, streams }))
})
