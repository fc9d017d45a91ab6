/** An RPC over an HTTP/2 session, as grpc-js's surface expects it of a channel. */
import * as grpc from "@grpc/grpc-js"
import * as http2 from "node:http2"

export type Call = ReturnType<grpc.ChannelInterface["createCall"]>

type Listener = Parameters<Call["start"]>[1]

export interface Options {
  readonly path: string
  readonly authority: string
  /** In milliseconds since the epoch of the machine's clock; `Infinity` without one. */
  readonly deadline: number
  readonly number: number
  /** Calls back with a session, at once or when there is one, or with why there is none. */
  readonly connect: (
    waitForReady: boolean,
    callback: (session: http2.ClientHttp2Session | string) => void
  ) => void
}

const frameHeaderBytes = 5
const maxTimerMillis = 2 ** 31 - 1
/** What grpc-js keeps of the requests of an RPC for another attempt. */
const maxReplayBytes = 1024 * 1024

export class MemoryCall implements Call {
  private readonly options: Options
  private listener: Listener | undefined
  private metadata = new grpc.Metadata()
  private stream: http2.ClientHttp2Stream | undefined
  /** What is done once there is a stream, and on the stream of a second attempt again. */
  private acts: Array<(stream: http2.ClientHttp2Stream) => void> = []
  private replayBytes = 0
  /** Until the server has answered, a second attempt has been made, or too much has been sent. */
  private mayRetry = true
  private received: Buffer = Buffer.alloc(0)
  /** What has come since and is not part of `received` yet; joined when a message is complete. */
  private chunks: Array<Buffer> = []
  private chunkBytes = 0
  private readsWanted = 0
  private status: grpc.StatusObject | undefined
  private isOver = false
  private timer: NodeJS.Timeout | undefined

  constructor(options: Options) {
    this.options = options
  }

  start(metadata: grpc.Metadata, listener: Listener): void {
    this.listener = listener
    this.metadata = metadata
    const { deadline } = this.options
    if (deadline !== Number.POSITIVE_INFINITY) {
      this.timer = setTimeout(
        () => this.cancelWithStatus(grpc.status.DEADLINE_EXCEEDED, "Deadline exceeded"),
        Math.min(left(deadline), maxTimerMillis)
      )
    }
    this.attempt()
  }

  private attempt(): void {
    const { authority, connect, deadline, path } = this.options
    const headers: http2.OutgoingHttpHeaders = {
      ...this.metadata.toHttp2Headers(),
      ":method": "POST",
      ":scheme": "http",
      ":path": path,
      ":authority": authority,
      "content-type": "application/grpc",
      "te": "trailers"
    }
    if (deadline !== Number.POSITIVE_INFINITY) {
      const millis = left(deadline)
      headers["grpc-timeout"] = millis < 1e8 ? `${millis}m` : `${Math.min(99_999_999, Math.ceil(millis / 1_000))}S`
    }
    connect(this.metadata.getOptions().waitForReady === true, (session) => {
      if (this.isOver) return
      // In a later turn: grpc-js's surface does not expect a status before `start` has returned.
      if (typeof session === "string") return void setImmediate(() => this.over(grpc.status.UNAVAILABLE, session))
      this.open(session.request(headers))
    })
  }

  private open(stream: http2.ClientHttp2Stream): void {
    this.stream = stream
    stream.on("response", (headers, flags) => {
      this.commit()
      const isLast = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0
      if (isLast) this.trailers(headers)
      else this.listener?.onReceiveMetadata(grpc.Metadata.fromHttp2Headers(headers))
    })
    stream.on("trailers", (headers) => this.trailers(headers))
    stream.on("data", (chunk: Buffer) => {
      this.chunks.push(chunk)
      this.chunkBytes += chunk.length
      this.deliver()
    })
    stream.on("end", () => this.deliver())
    stream.on("error", () => {})
    stream.on("close", () => {
      // No handler has seen it: the GOAWAY of a drain came first. As every gRPC client does, once (gRFC A6).
      if (this.mayRetry && !this.isOver && stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) {
        this.mayRetry = false
        this.stream = undefined
        return this.attempt()
      }
      // Without a status of its own.
      this.status ??= aborted(stream.rstCode, stream.session?.destroyed ?? true)
      this.deliver()
    })
    stream.pause()
    for (const act of this.acts) act(stream)
    if (!this.mayRetry) this.acts = []
    this.deliver()
  }

  private commit(): void {
    this.mayRetry = false
    if (this.stream !== undefined) this.acts = []
  }

  private trailers(headers: http2.IncomingHttpHeaders): void {
    const metadata = grpc.Metadata.fromHttp2Headers(headers)
    const code = metadata.get("grpc-status")[0]
    const message = metadata.get("grpc-message")[0]
    metadata.remove("grpc-status")
    metadata.remove("grpc-message")
    this.status = {
      code: code === undefined ? grpc.status.UNKNOWN : Number(code),
      details: message === undefined ? "" : decode(String(message)),
      metadata
    }
  }

  /** Hands over what was asked for and has come; the status after the last message. */
  private deliver(): void {
    const stream = this.stream
    if (stream === undefined || this.isOver) return
    for (let size = this.messageSize(); size !== undefined; size = this.messageSize()) {
      if (this.readsWanted === 0) return void stream.pause()
      const message = this.received.subarray(frameHeaderBytes, frameHeaderBytes + size)
      this.received = this.received.subarray(frameHeaderBytes + size)
      this.readsWanted--
      this.listener?.onReceiveMessage(message)
      if (this.isOver) return
    }
    if (this.status !== undefined && (stream.readableEnded || stream.destroyed)) {
      const { code, details, metadata } = this.status
      return this.over(code, details, metadata)
    }
    // Also without a read: the end comes after the data.
    stream.resume()
  }

  /** The size of the message that is complete, if there is one. */
  private messageSize(): number | undefined {
    if (this.received.length < frameHeaderBytes) this.join()
    if (this.received.length < frameHeaderBytes) return undefined
    const size = this.received.readUInt32BE(1)
    if (this.received.length + this.chunkBytes < frameHeaderBytes + size) return undefined
    this.join()
    return size
  }

  private join(): void {
    if (this.chunks.length === 0) return
    this.received = Buffer.concat([this.received, ...this.chunks])
    this.chunks = []
    this.chunkBytes = 0
  }

  private over(code: grpc.status, details: string, metadata = new grpc.Metadata()): void {
    if (this.isOver) return
    this.isOver = true
    clearTimeout(this.timer)
    this.acts = []
    this.listener?.onReceiveStatus({ code, details, metadata })
  }

  private act(act: (stream: http2.ClientHttp2Stream) => void): void {
    if (this.stream !== undefined) act(this.stream)
    if (!this.isOver && (this.stream === undefined || this.mayRetry)) this.acts.push(act)
  }

  cancelWithStatus(code: grpc.status, details: string): void {
    this.stream?.close(http2.constants.NGHTTP2_CANCEL)
    this.over(code, details)
  }

  sendMessageWithContext(context: { readonly callback?: () => void }, message: Buffer): void {
    const header = Buffer.alloc(frameHeaderBytes)
    header.writeUInt32BE(message.length, 1)
    this.replayBytes += frameHeaderBytes + message.length
    if (this.replayBytes > maxReplayBytes) this.commit()
    let isWritten = false
    const written = () => {
      if (!isWritten) context.callback?.()
      isWritten = true
    }
    this.act((stream) => {
      // One that the server has answered and closed takes no more.
      if (stream.writable) stream.write(Buffer.concat([header, message]), written)
    })
  }

  startRead(): void {
    this.readsWanted++
    this.deliver()
  }

  halfClose(): void {
    this.act((stream) => void stream.end())
  }

  getPeer(): string {
    return this.options.authority
  }

  getCallNumber(): number {
    return this.options.number
  }

  setCredentials(): void {}

  getAuthContext(): null {
    return null
  }
}

const aborted = (code: number, isSessionGone: boolean): grpc.StatusObject => {
  const make = (status: grpc.status, details: string) => ({ code: status, details, metadata: new grpc.Metadata() })
  if (code === http2.constants.NGHTTP2_REFUSED_STREAM) return make(grpc.status.UNAVAILABLE, "Stream refused by server")
  if (isSessionGone) return make(grpc.status.UNAVAILABLE, "Connection dropped")
  if (code === http2.constants.NGHTTP2_CANCEL) return make(grpc.status.CANCELLED, "Call cancelled")
  return make(grpc.status.INTERNAL, `Received RST_STREAM with code ${code}`)
}

/** In whole milliseconds from now. */
const left = (deadline: number): number => Math.max(0, Math.ceil(deadline - Date.now()))

const decode = (message: string): string => {
  try {
    return decodeURIComponent(message)
  } catch {
    return message
  }
}
