/**
 * Clients that do not behave, each a scoped value: they are what holds a stop in production.
 *
 * Each connects, misbehaves on its own, and neither closes its connection nor its half of TCP, whatever the server does,
 * until its scope closes. What is sent and seen is on the wire: the frames are made by hand, since an HTTP/2 library is too
 * polite. Times are of the `Clock`. An option that makes no sense is a defect, a `TestOptionError`, and nothing connects.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import * as tls from "node:tls"
import * as Http2Frame from "./Http2Frame.ts"
import * as CheckedOption from "./internal/checkedOption.ts"
import { type SocketAddress, toConnectOptions } from "./SocketAddress.ts"

/**
 * A peer that is connected, and what it has seen.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostilePeer {
  /** All bytes that came from the server and were read; of a TLS peer, decrypted. */
  readonly received: () => Buffer
  /** The same as frames; empty if the server does not speak HTTP/2. */
  readonly frames: () => ReadonlyArray<Http2Frame.Http2Frame>
  /** Waits until a frame matches, among those that have come as well. Dies if the connection closes without one. */
  readonly awaitFrame: (
    matches: (frame: Http2Frame.Http2Frame) => boolean
  ) => Effect.Effect<Http2Frame.Http2Frame>
  /** Whether the server has closed its half of TCP, or the connection is gone. Peers that do not read do not know. */
  readonly isEnded: () => boolean
  readonly awaitEnded: Effect.Effect<void>
  /**
   * Whether the connection is gone. A peer that says nothing does not learn that the server has destroyed its side: to TCP
   * that is a FIN, until the peer sends something.
   */
  readonly isClosed: () => boolean
  readonly awaitClosed: Effect.Effect<void>
  /** Sends bytes as they are. */
  readonly send: (bytes: Uint8Array) => Effect.Effect<void>
  /** Goes away, without a word of HTTP/2. */
  readonly leave: Effect.Effect<void>
}

/**
 * The peer could not connect, or its TLS handshake failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class HostilePeerError extends Data.TaggedError("HostilePeerError")<{
  /** Such as ECONNREFUSED. */
  readonly code: string
  readonly cause: Error
}> {
  override get message(): string {
    return `the peer could not connect: ${this.code}`
  }
}

type Connect = Effect.Effect<HostilePeer, HostilePeerError, Scope.Scope>

/**
 * Connects and never says a word. At a TLS listener: a handshake that never starts.
 *
 * **Example** (It does not hold a stop)
 *
 * ```ts
 * import * as GrpcListener from "@lastcall/grpc/GrpcListener"
 * import * as GrpcServer from "@lastcall/grpc/GrpcServer"
 * import * as HostilePeer from "@lastcall/testing/HostilePeer"
 * import * as Effect from "effect/Effect"
 *
 * export const report = Effect.gen(function*() {
 *   const server = yield* GrpcServer.make("api", {
 *     services: [],
 *     listen: [GrpcListener.tcp({ host: "127.0.0.1", port: 0 })]
 *   })
 *   const address = server.addresses()[0]!
 *   if (address._tag !== "Tcp") return yield* Effect.die("not a port")
 *   const peer = yield* HostilePeer.silent(address)
 *   const report = yield* server.stop
 *   yield* peer.awaitEnded
 *   return report
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const silent = (address: SocketAddress): Connect => Effect.map(connect(address), watch)

/**
 * Sends these bytes, and nothing after them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const saying = (address: SocketAddress, bytes: Uint8Array): Connect =>
  Effect.tap(silent(address), (peer) => peer.send(bytes))

/**
 * Sends half of HTTP/2's preface.
 *
 * @category constructors
 * @since 0.1.0
 */
export const halfPreface = (address: SocketAddress): Connect => saying(address, Http2Frame.preface.subarray(0, 11))

/** The first 43 bytes of a ClientHello of 517. */
const halfClientHello = Buffer.concat([
  Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
  Buffer.alloc(32, 7)
])

/**
 * Begins a TLS handshake and stalls in the middle of its ClientHello.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stallingTls = (address: SocketAddress): Connect => saying(address, halfClientHello)

/**
 * A peer whose TLS handshake has not begun.
 *
 * @category models
 * @since 0.1.0
 */
export interface LateTls extends HostilePeer {
  /** Shakes hands now. The peer that it returns is the same connection, decrypted, and says nothing. */
  readonly handshake: Effect.Effect<HostilePeer, HostilePeerError>
}

/**
 * Connects to a TLS listener and begins its handshake when it is told to: after a drain has begun, for instance. By default
 * it asks for `h2` and takes any certificate.
 *
 * @category constructors
 * @since 0.1.0
 */
export const lateTls = (
  address: SocketAddress,
  options: tls.ConnectionOptions = {}
): Effect.Effect<LateTls, HostilePeerError, Scope.Scope> =>
  Effect.map(connect(address), (socket) => ({
    ...watch(socket, { reads: false }),
    handshake: Effect.callback<HostilePeer, HostilePeerError>((resume) => {
      const secure = tls.connect({ ALPNProtocols: ["h2"], rejectUnauthorized: false, ...options, socket })
      const peer = watch(secure)
      secure.once("error", (cause) => resume(Effect.fail(toError(cause))))
      secure.once("close", () => resume(Effect.fail(toError(new Error("the server closed the connection")))))
      secure.once("secureConnect", () => resume(Effect.succeed(peer)))
    })
  }))

/**
 * Shakes hands, and never speaks HTTP/2.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tlsWithoutPreface = (address: SocketAddress, options?: tls.ConnectionOptions): Connect =>
  Effect.flatMap(lateTls(address, options), (peer) => peer.handshake)

/**
 * Speaks HTTP/2 as it should, acknowledgements included, until it has seen so many frames, 1 or more, and freezes: it reads
 * nothing more and says nothing more, as a process that was stopped or a network that was parted. With a path it opens an RPC
 * first. Frames that come in one piece with the last one are neither answered nor among `frames`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const frozen = (
  address: SocketAddress,
  options: { readonly after: number; readonly path?: string | undefined }
): Connect =>
  Effect.gen(function*() {
    const after = CheckedOption.count("HostilePeer.frozen", "after", options.after, 1)
    const socket = yield* connect(address)
    let isFrozen = false
    const peer = watch(socket, {
      isFrozen: () => isFrozen,
      onFrame: polite(socket, () => {
        if (peer.frames().length < after) return
        isFrozen = true
        socket.pause()
      })
    })
    socket.write(Http2Frame.preface)
    if (options.path !== undefined) socket.write(request(options.path))
    return peer
  })

/**
 * Opens an RPC with an empty request and never reads: what the server answers fills the buffers of TCP.
 *
 * @category constructors
 * @since 0.1.0
 */
export const neverReading = (address: SocketAddress, path: string): Connect =>
  Effect.map(connect(address), (socket) => {
    const peer = watch(socket, { reads: false })
    socket.write(Buffer.concat([Http2Frame.preface, wideOpen, request(path)]))
    return peer
  })

/**
 * An HTTP/2 peer that is idle, answers pings, and never closes its half of TCP, not even after GOAWAY and FIN.
 *
 * @category constructors
 * @since 0.1.0
 */
export const neverClosing = (address: SocketAddress): Connect =>
  Effect.map(connect(address), (socket) => {
    const peer = watch(socket, { onFrame: polite(socket) })
    socket.write(Http2Frame.preface)
    return peer
  })

/**
 * A peer that opens streams.
 *
 * @category models
 * @since 0.1.0
 */
export interface Opening extends HostilePeer {
  /** How many streams it has opened so far. */
  readonly opened: () => number
}

/**
 * Takes no notice of GOAWAY: from then on it opens an RPC for each interval (finite, longer than 0; default: 10 ms) on the same
 * connection.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ignoringGoaway = (
  address: SocketAddress,
  options: { readonly path: string; readonly every?: Duration.Input | undefined }
): Effect.Effect<Opening, HostilePeerError, Scope.Scope> =>
  Effect.gen(function*() {
    const every = interval("ignoringGoaway", options.every)
    const socket = yield* connect(address)
    const peer = watch(socket, { onFrame: polite(socket) })
    let opened = 1
    socket.write(Buffer.concat([Http2Frame.preface, wideOpen, request(options.path)]))
    yield* Effect.forkScoped(Effect.andThen(
      peer.awaitFrame(({ type }) => type === Http2Frame.types.goaway),
      repeatedly(every, () => {
        socket.write(request(options.path, 2 * opened + 1))
        opened++
      })
    ))
    return { ...peer, opened: () => opened }
  })

/**
 * Rapid reset (CVE-2023-44487): opens an RPC and resets it in the same moment, again and again, one pair for each interval
 * (finite, longer than 0; default: 1 ms).
 *
 * @category constructors
 * @since 0.1.0
 */
export const resetting = (
  address: SocketAddress,
  options: { readonly path: string; readonly every?: Duration.Input | undefined }
): Effect.Effect<Opening, HostilePeerError, Scope.Scope> =>
  Effect.gen(function*() {
    const every = interval("resetting", options.every, "1 millis")
    const socket = yield* connect(address)
    const peer = watch(socket, { onFrame: polite(socket) })
    let opened = 0
    socket.write(Http2Frame.preface)
    yield* Effect.forkScoped(repeatedly(every, () => {
      const streamId = 2 * opened + 1
      opened++
      socket.write(Buffer.concat([
        Http2Frame.openRpc(streamId, options.path),
        Http2Frame.encode(Http2Frame.types.rstStream, { streamId, payload: Http2Frame.uint32(cancel) })
      ]))
    }))
    return { ...peer, opened: () => opened }
  })

/** The error code CANCEL. */
const cancel = 8

/**
 * A client stream that never ends: a message for each interval (finite, longer than 0; default: 10 ms), as long as the server's
 * windows allow, whatever the server says.
 *
 * @category constructors
 * @since 0.1.0
 */
export const endlessStream = (
  address: SocketAddress,
  options: {
    readonly path: string
    /** The message on the wire. Default: an empty one. */
    readonly message?: Uint8Array | undefined
    readonly every?: Duration.Input | undefined
  }
): Connect =>
  Effect.gen(function*() {
    const every = interval("endlessStream", options.every)
    const socket = yield* connect(address)
    const body = Http2Frame.message(1, options.message)
    const bytes = body.byteLength - 9
    const windows = { connection: initialWindow, stream: initialWindow }
    let initial = initialWindow
    const peer = watch(socket, {
      onFrame: polite(socket, ({ flags, payload, streamId, type }) => {
        if (type === Http2Frame.types.windowUpdate) {
          windows[streamId === 0 ? "connection" : "stream"] += payload.readUInt32BE(0)
        }
        if (type !== Http2Frame.types.settings || (flags & ack) !== 0) return
        for (let at = 0; at < payload.byteLength; at += 6) {
          if (payload.readUInt16BE(at) !== initialWindowSize) continue
          windows.stream += payload.readUInt32BE(at + 2) - initial
          initial = payload.readUInt32BE(at + 2)
        }
      })
    })
    socket.write(Buffer.concat([Http2Frame.preface, wideOpen, Http2Frame.openRpc(1, options.path)]))
    yield* Effect.forkScoped(repeatedly(every, () => {
      if (Math.min(windows.connection, windows.stream) < bytes) return
      windows.connection -= bytes
      windows.stream -= bytes
      socket.write(body)
    }))
    return peer
  })

/**
 * Sends an RPC's request byte by byte, one for each interval (finite, longer than 0; default: 10 ms), its HTTP/2 frames
 * included.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slowWriting = (
  address: SocketAddress,
  options: { readonly path: string; readonly every?: Duration.Input | undefined }
): Connect =>
  Effect.gen(function*() {
    const every = interval("slowWriting", options.every)
    const socket = yield* connect(address)
    const peer = watch(socket)
    const bytes = Buffer.concat([Http2Frame.preface, request(options.path)])
    let sent = 0
    yield* Effect.forkScoped(repeatedly(every, () => {
      if (sent < bytes.byteLength) socket.write(bytes.subarray(sent, ++sent))
    }))
    return peer
  })

const initialWindow = 65_535
const largestWindow = 0x7fff_ffff

/** The setting SETTINGS_INITIAL_WINDOW_SIZE. */
const initialWindowSize = 4

/** The server may send as much as it likes. */
const wideOpen = Buffer.concat([
  Http2Frame.encode(Http2Frame.types.settings, {
    payload: Buffer.concat([Buffer.from([0, initialWindowSize]), Http2Frame.uint32(largestWindow)])
  }),
  Http2Frame.encode(Http2Frame.types.windowUpdate, { payload: Http2Frame.uint32(largestWindow - initialWindow) })
])

/** A complete request whose message is empty. */
const request = (path: string, streamId = 1): Buffer =>
  Buffer.concat([Http2Frame.openRpc(streamId, path), Http2Frame.message(streamId, undefined, true)])

const interval = (
  peer: string,
  every: Duration.Input | undefined,
  otherwise: Duration.Input = "10 millis"
): Duration.Duration => CheckedOption.duration(`HostilePeer.${peer}`, "every", every ?? otherwise, "positive")

const repeatedly = (every: Duration.Duration, action: () => void): Effect.Effect<never> =>
  Effect.forever(Effect.andThen(Effect.sleep(every), Effect.sync(action)))

const ack = Http2Frame.flags.ack

/** Acknowledges settings and pings. */
const polite = (
  socket: Duplex,
  onFrame: (frame: Http2Frame.Http2Frame) => void = () => {}
) =>
(frame: Http2Frame.Http2Frame): void => {
  const { settings, ping } = Http2Frame.types
  if ((frame.flags & ack) === 0) {
    if (frame.type === settings) socket.write(Http2Frame.encode(settings, { flags: ack }))
    if (frame.type === ping) socket.write(Http2Frame.encode(ping, { flags: ack, payload: frame.payload }))
  }
  onFrame(frame)
}

const toError = (cause: Error): HostilePeerError =>
  new HostilePeerError({ code: (cause as NodeJS.ErrnoException).code ?? cause.message, cause })

const connect = (address: SocketAddress): Effect.Effect<net.Socket, HostilePeerError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<net.Socket, HostilePeerError>((resume) => {
      const socket = net.connect({ ...toConnectOptions(address), allowHalfOpen: true })
      socket.once("connect", () => resume(Effect.succeed(socket)))
      // stays, so that a reset later is no uncaught error
      socket.on("error", (cause) => resume(Effect.fail(toError(cause))))
      return Effect.sync(() => socket.destroy())
    }),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )

const watch = (socket: Duplex, options: {
  readonly reads?: boolean
  /** Whether it takes no notice of frames any more. */
  readonly isFrozen?: () => boolean
  readonly onFrame?: (frame: Http2Frame.Http2Frame) => void
} = {}): HostilePeer => {
  const chunks: Array<Buffer> = []
  const frames: Array<Http2Frame.Http2Frame> = []
  const waiting = new Set<() => void>()
  const ended = Deferred.makeUnsafe<void>()
  const closed = Deferred.makeUnsafe<void>()
  let isEnded = false
  let isClosed = false
  const look = () => {
    for (const one of waiting) one()
  }
  const read = Http2Frame.reader((frame) => {
    if (options.isFrozen?.() === true) return
    frames.push(frame)
    options.onFrame?.(frame)
    look()
  })
  if (options.reads !== false) {
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      read(chunk)
    })
  }
  socket.on("error", () => {})
  socket.on("end", () => {
    isEnded = true
    Deferred.doneUnsafe(ended, Effect.void)
  })
  socket.on("close", () => {
    isEnded = true
    isClosed = true
    Deferred.doneUnsafe(ended, Effect.void)
    Deferred.doneUnsafe(closed, Effect.void)
    look()
  })
  return {
    received: () => Buffer.concat(chunks),
    frames: () => frames,
    awaitFrame: (matches) =>
      Effect.callback((resume) => {
        const one = () => {
          const found = frames.find(matches)
          if (found !== undefined) resume(Effect.succeed(found))
          else if (isClosed) resume(Effect.die(new Error(`the connection closed after ${said(frames)}`)))
          else return
          waiting.delete(one)
        }
        waiting.add(one)
        one()
        return Effect.sync(() => void waiting.delete(one))
      }),
    isEnded: () => isEnded,
    awaitEnded: Deferred.await(ended),
    isClosed: () => isClosed,
    awaitClosed: Deferred.await(closed),
    send: (bytes) => Effect.sync(() => void socket.write(bytes)),
    leave: Effect.sync(() => void socket.destroy())
  }
}

const said = (frames: ReadonlyArray<Http2Frame.Http2Frame>): string =>
  frames.length === 0 ? "no frame" : frames.map(Http2Frame.render).join(", ")
