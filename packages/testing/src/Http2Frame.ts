/**
 * HTTP/2 frames by hand, for peers that no HTTP/2 library would play.
 *
 * @since 0.1.0
 */

/**
 * A frame, RFC 9113 section 4.1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Http2Frame {
  /** One of {@link types}. */
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

/**
 * The types of frames, RFC 9113 section 6.
 *
 * @category constants
 * @since 0.1.0
 */
export const types = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9
} as const

/**
 * The flags that matter: of DATA and HEADERS, and of SETTINGS and PING.
 *
 * @category constants
 * @since 0.1.0
 */
export const flags = { endStream: 1, ack: 1, endHeaders: 4 } as const

/**
 * What a client says first: the magic, and a SETTINGS frame that is empty.
 *
 * @category constants
 * @since 0.1.0
 */
export const preface: Buffer = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
])

const none = Buffer.alloc(0)
const headBytes = 9
const largestId = 0x7fff_ffff

/**
 * The bytes of a frame. The payload is at most 16,384 bytes, as a peer takes it by default.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = (type: number, options: {
  readonly flags?: number | undefined
  readonly streamId?: number | undefined
  readonly payload?: Uint8Array | undefined
} = {}): Buffer => {
  const payload = options.payload ?? none
  const bytes = Buffer.alloc(headBytes + payload.byteLength)
  bytes.writeUIntBE(payload.byteLength, 0, 3)
  bytes.writeUInt8(type, 3)
  bytes.writeUInt8(options.flags ?? 0, 4)
  bytes.writeUInt32BE(options.streamId ?? 0, 5)
  bytes.set(payload, headBytes)
  return bytes
}

/**
 * Four bytes: an error code, a window's increment, a setting's value.
 *
 * @category encoding
 * @since 0.1.0
 */
export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/**
 * The HEADERS frame that opens an RPC.
 *
 * @category encoding
 * @since 0.1.0
 */
export const openRpc = (streamId: number, path: string): Buffer =>
  encode(types.headers, {
    flags: flags.endHeaders,
    streamId,
    payload: Buffer.concat([
      field(":method", "POST"),
      field(":scheme", "http"),
      field(":path", path),
      field(":authority", "localhost"),
      field("content-type", "application/grpc"),
      field("te", "trailers")
    ])
  })

/**
 * The DATA frame of one gRPC message.
 *
 * @category encoding
 * @since 0.1.0
 */
export const message = (streamId: number, body: Uint8Array = none, endStream = false): Buffer =>
  encode(types.data, {
    flags: endStream ? flags.endStream : 0,
    streamId,
    payload: Buffer.concat([Buffer.from([0]), uint32(body.byteLength), body])
  })

/** A header, literally and without an index, RFC 7541 section 6.2.2. */
const field = (name: string, value: string): Buffer => Buffer.concat([Buffer.from([0]), text(name), text(value)])

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  const head = bytes.byteLength < 127 ? [bytes.byteLength] : [127, ...varint(bytes.byteLength - 127)]
  return Buffer.concat([Buffer.from(head), bytes])
}

const varint = (value: number): ReadonlyArray<number> =>
  value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)]

/**
 * Reads frames out of bytes as they come; hears each once it is complete.
 *
 * @category decoding
 * @since 0.1.0
 */
export const reader = (onFrame: (frame: Http2Frame) => void): (chunk: Buffer) => void => {
  let rest: Buffer = none
  return (chunk) => {
    const bytes = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    while (bytes.byteLength - at >= headBytes) {
      const end = at + headBytes + bytes.readUIntBE(at, 3)
      if (bytes.byteLength < end) break
      onFrame({
        type: bytes[at + 3]!,
        flags: bytes[at + 4]!,
        streamId: bytes.readUInt32BE(at + 5) & largestId,
        payload: bytes.subarray(at + headBytes, end)
      })
      at = end
    }
    rest = bytes.subarray(at)
  }
}

/**
 * All frames that are complete in these bytes.
 *
 * @category decoding
 * @since 0.1.0
 */
export const parse = (bytes: Buffer): ReadonlyArray<Http2Frame> => {
  const frames: Array<Http2Frame> = []
  reader((frame) => frames.push(frame))(bytes)
  return frames
}

/**
 * What a GOAWAY says: the last stream that is served, and why.
 *
 * @category decoding
 * @since 0.1.0
 */
export const goaway = (frame: Http2Frame): { readonly lastStreamId: number; readonly code: number } => ({
  lastStreamId: frame.payload.readUInt32BE(0) & largestId,
  code: frame.payload.readUInt32BE(4)
})

const names = Object.fromEntries(Object.entries(types).map(([name, type]) => [type, name]))

/**
 * For people: "goaway last=3 code=0", "headers stream=1 end".
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (frame: Http2Frame): string => {
  const parts = [names[frame.type] ?? `type ${frame.type}`]
  if (frame.streamId !== 0) parts.push(`stream=${frame.streamId}`)
  if (frame.type === types.goaway) {
    const { code, lastStreamId } = goaway(frame)
    parts.push(`last=${lastStreamId}`, `code=${code}`)
  }
  if (frame.type === types.rstStream) parts.push(`code=${frame.payload.readUInt32BE(0)}`)
  if (frame.type === types.data || frame.type === types.headers) {
    if ((frame.flags & flags.endStream) !== 0) parts.push("end")
  }
  if (frame.type === types.settings || frame.type === types.ping) {
    if ((frame.flags & flags.ack) !== 0) parts.push("ack")
  }
  return parts.join(" ")
}
