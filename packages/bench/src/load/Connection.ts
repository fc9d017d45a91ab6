/**
 * A gRPC client's side of one HTTP/2 connection, in raw frames: the cheapest load there is, so that the server is what is
 * measured. It reads the lengths and flags of frames and no headers: what an answer is worth is told by its bytes.
 */
import type { Duplex } from "node:stream"

/** What a stream hears: bytes of its DATA frames, and its end. */
export interface Listener {
  onData(byteLength: number): void
  onEnd(): void
}

interface Stream {
  readonly id: number
  readonly listener: Listener
  /** What the server lets us send. */
  window: number
  /** What waits for a window: the bytes of gRPC frames, and how many of them make one DATA frame. */
  body: Buffer | undefined
  perFrame: number
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
const maxWindow = 0x7fff_ffff
const initialWindow = 65_535
const maxFrame = 16_384

const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const WINDOW_UPDATE = 8

const END_STREAM = 1
const ACK = 1
const END_HEADERS = 4

const frame = (type: number, flags: number, id: number, body: Uint8Array): Buffer => {
  const bytes = Buffer.alloc(9 + body.byteLength)
  bytes.writeUIntBE(body.byteLength, 0, 3)
  bytes.writeUInt8(type, 3)
  bytes.writeUInt8(flags, 4)
  bytes.writeUInt32BE(id, 5)
  bytes.set(body, 9)
  return bytes
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])

/** The headers of a call as a client first sends them; the server's HPACK table keeps all but method and scheme. */
const firstHeaders = (path: string): Buffer =>
  Buffer.concat([
    Buffer.from([0x83, 0x86]),
    ...[
      [Buffer.from([0x44]), text(path)],
      [Buffer.from([0x41]), text("localhost")],
      [Buffer.from([0x5f]), text("application/grpc")],
      [Buffer.from([0x40]), text("te"), text("trailers")],
      [Buffer.from([0x7a]), text("lastcall-bench/1")],
      [Buffer.from([0x40]), text("grpc-accept-encoding"), text("identity")]
    ].flat()
  ])

/** The same headers, each by its index. */
const indexedHeaders = Buffer.from([0x83, 0x86, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe])

/** A message in a gRPC frame. */
export const framed = (message: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([0]), uint32(message.byteLength), message])

/** Ready to accept calls of one method. */
export class Connection {
  private readonly socket: Duplex
  private readonly headers: Buffer
  private readonly streams = new Map<number, Stream>()
  private readonly onFailure: (cause: Error) => void
  private nextId = 1
  private window = initialWindow
  private peerWindow = initialWindow
  private received = 0
  private rest: Buffer | undefined
  private out: Array<Buffer> = []
  private isReading = false

  constructor(socket: Duplex, path: string, onFailure: (cause: Error) => void) {
    this.socket = socket
    this.onFailure = onFailure
    this.headers = firstHeaders(path)
    socket.on("data", (chunk: Buffer) => this.read(chunk))
    socket.on("error", onFailure)
    socket.on("close", () => {
      if (this.streams.size > 0) this.fail("the server closed a connection with open streams")
    })
    this.write(preface)
    // SETTINGS_INITIAL_WINDOW_SIZE
    this.write(frame(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(maxWindow)])))
    this.write(frame(WINDOW_UPDATE, 0, 0, uint32(maxWindow - initialWindow)))
  }

  /** Opens a stream; with a body it is sent, as flow control allows, and our half closed. */
  open(listener: Listener, body?: Buffer, perFrame = maxFrame): number {
    const id = this.nextId
    this.nextId += 2
    const stream: Stream = { id, listener, window: this.peerWindow, body, perFrame }
    this.streams.set(id, stream)
    this.write(frame(HEADERS, END_HEADERS, id, id === 1 ? this.headers : indexedHeaders))
    if (body !== undefined) this.pump(stream)
    return id
  }

  /** Sends a small message at once. Only for ping-pong, where flow control cannot stop it. */
  send(id: number, message: Buffer): void {
    this.write(frame(DATA, 0, id, message))
  }

  /** Closes our half. */
  end(id: number): void {
    this.write(frame(DATA, END_STREAM, id, Buffer.alloc(0)))
  }

  close(): void {
    this.streams.clear()
    this.socket.destroy()
  }

  private fail(message: string): void {
    this.onFailure(new Error(message))
  }

  private write(bytes: Buffer): void {
    this.out.push(bytes)
    if (this.out.length === 1 && !this.isReading) queueMicrotask(() => this.flush())
  }

  private flush(): void {
    if (this.out.length === 0) return
    const bytes = this.out.length === 1 ? this.out[0]! : Buffer.concat(this.out)
    this.out = []
    if (!this.socket.destroyed) this.socket.write(bytes)
  }

  private pump(stream: Stream): void {
    let body = stream.body
    while (body !== undefined) {
      const size = Math.min(stream.perFrame, body.byteLength)
      if (size > this.window || size > stream.window) break
      this.window -= size
      stream.window -= size
      const isLast = size === body.byteLength
      this.write(frame(DATA, isLast ? END_STREAM : 0, stream.id, body.subarray(0, size)))
      body = isLast ? undefined : body.subarray(size)
    }
    stream.body = body
  }

  private read(chunk: Buffer): void {
    this.isReading = true
    const bytes = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk])
    let at = 0
    while (bytes.byteLength - at >= 9) {
      const length = bytes.readUIntBE(at, 3)
      const end = at + 9 + length
      if (bytes.byteLength < end) break
      this.onFrame(bytes, bytes[at + 3]!, bytes[at + 4]!, bytes.readUInt32BE(at + 5) & maxWindow, at + 9, length)
      at = end
    }
    this.rest = at === bytes.byteLength ? undefined : bytes.subarray(at)
    this.isReading = false
    this.flush()
  }

  private onFrame(bytes: Buffer, type: number, flags: number, id: number, at: number, length: number): void {
    switch (type) {
      case DATA: {
        this.received += length
        if (this.received > maxWindow / 2) {
          this.write(frame(WINDOW_UPDATE, 0, 0, uint32(this.received)))
          this.received = 0
        }
        this.streams.get(id)?.listener.onData(length)
        if ((flags & END_STREAM) !== 0) this.ended(id)
        return
      }
      case HEADERS:
        if ((flags & END_STREAM) !== 0) this.ended(id)
        return
      case RST_STREAM:
        // Behind a complete answer it says that the server needs no more of the request.
        if (this.streams.has(id)) this.fail(`the server reset a stream with code ${bytes.readUInt32BE(at)}`)
        return
      case SETTINGS:
        if ((flags & ACK) !== 0) return
        for (let i = at; i < at + length; i += 6) {
          if (bytes.readUInt16BE(i) === 4) this.peerWindow = bytes.readUInt32BE(i + 2)
        }
        return this.write(frame(SETTINGS, ACK, 0, Buffer.alloc(0)))
      case PING:
        if ((flags & ACK) === 0) this.write(frame(PING, ACK, 0, bytes.subarray(at, at + length)))
        return
      case GOAWAY:
        return this.fail(`the server went away with code ${bytes.readUInt32BE(at + 4)}`)
      case WINDOW_UPDATE: {
        const more = bytes.readUInt32BE(at)
        if (id === 0) {
          this.window += more
          for (const stream of this.streams.values()) if (stream.body !== undefined) this.pump(stream)
          return
        }
        const stream = this.streams.get(id)
        if (stream === undefined) return
        stream.window += more
        return this.pump(stream)
      }
    }
  }

  private ended(id: number): void {
    const stream = this.streams.get(id)
    if (stream === undefined) return
    this.streams.delete(id)
    stream.listener.onEnd()
  }
}
