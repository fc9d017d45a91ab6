/** Peers that do not behave: bare sockets on the server's port. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

export interface Peer {
  readonly socket: net.Socket
  /** All bytes that the server sent. */
  readonly received: () => Buffer
  /** The server sent its FIN. */
  readonly isEnded: () => boolean
  /** The connection is gone. */
  readonly isClosed: () => boolean
}

/** The client's connection preface and an empty SETTINGS frame. */
export const preface: Buffer = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
])

const goawayType = 7

/** The GOAWAY frames among the bytes of a server, as [last stream, error code]. */
export const goaways = (bytes: Buffer): ReadonlyArray<readonly [number, number]> => {
  const found: Array<readonly [number, number]> = []
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === goawayType) found.push([bytes.readUInt32BE(at + 9), bytes.readUInt32BE(at + 13)])
  }
  return found
}

/**
 * Connects, sends these bytes, and then neither answers nor closes: not even its half of TCP when the server has closed
 * its own.
 */
export const make = (port: number, hello: Buffer = Buffer.alloc(0)): Effect.Effect<Peer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Peer>((resume) => {
      const chunks: Array<Buffer> = []
      let ended = false
      let closed = false
      const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
      socket.on("data", (chunk) => chunks.push(chunk))
      socket.on("error", () => {})
      socket.on("end", () => {
        ended = true
      })
      socket.on("close", () => {
        closed = true
      })
      socket.once("connect", () => {
        if (hello.length > 0) socket.write(hello)
        resume(Effect.succeed({
          socket,
          received: () => Buffer.concat(chunks),
          isEnded: () => ended,
          isClosed: () => closed
        }))
      })
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )
