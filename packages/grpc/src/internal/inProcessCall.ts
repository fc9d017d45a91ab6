/**
 * One RPC between a client and a handler of the same process: grpc-js's two interfaces of a call, back to back. What passes is
 * bytes and headers, as on the wire; each thing that one side says the other hears in a later microtask, in order.
 */
import {
  type ChannelInterface,
  Metadata,
  type ServerInterceptingCallInterface,
  status as codes,
  type StatusObject
} from "@grpc/grpc-js"

export type ClientCall = ReturnType<ChannelInterface["createCall"]>
type ClientListener = Parameters<ClientCall["start"]>[1]
type ServerListener = Parameters<ServerInterceptingCallInterface["start"]>[0]

export const peer = "in-process"

/** A message at most, as grpc-js has it for both sides. */
const maxBytes = 4 * 1024 * 1024

/** What a Node timer can wait for at most. */
const maxTimerMillis = 2 ** 31 - 1

/** One direction: its messages wait until a read asks for them. */
class Messages {
  private readonly waiting: Array<{ readonly message: Buffer; readonly taken: () => void }> = []
  private reads = 0
  private readonly deliver: (message: Buffer) => void

  constructor(deliver: (message: Buffer) => void) {
    this.deliver = deliver
  }

  push(message: Buffer, taken: () => void): void {
    this.waiting.push({ message, taken })
    this.flow()
  }

  read(): void {
    this.reads++
    this.flow()
  }

  private flow(): void {
    while (this.reads > 0 && this.waiting.length > 0) {
      this.reads--
      const { message, taken } = this.waiting.shift()!
      this.deliver(message)
      taken()
    }
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0
  }

  get isAsked(): boolean {
    return this.reads > 0
  }
}

export class InProcessCall {
  readonly client: ClientCall
  private readonly server: ServerInterceptingCallInterface
  private readonly serve: (call: ServerInterceptingCallInterface) => void

  private clientListener: ClientListener | undefined
  private serverListener: ServerListener | undefined
  private readonly requests: Messages
  private readonly responses: Messages
  private readonly deadline: number
  private timer: NodeJS.Timeout | undefined
  private received: Metadata | undefined

  /** The client has sent its last request; the server has heard of it. */
  private isHalfClosed = false
  private isHalfCloseTold = false
  /** What the server answered; the client hears of it after the responses. */
  private answer: StatusObject | undefined
  /** The client has its status. */
  private isOver = false

  constructor(
    serve: (call: ServerInterceptingCallInterface) => void,
    deadline: number,
    host: string
  ) {
    this.serve = serve
    this.deadline = deadline
    this.requests = new Messages((message) =>
      this.later(() => {
        this.serverListener?.onReceiveMessage(message)
        this.tellHalfClose()
      })
    )
    this.responses = new Messages((message) =>
      this.later(() => {
        this.clientListener?.onReceiveMessage(message)
        this.tellAnswer()
      })
    )
    this.client = {
      start: (metadata, listener) => this.start(metadata, listener),
      sendMessageWithContext: ({ callback }, message) =>
        this.send(this.requests, message, () => queueMicrotask(() => callback?.())),
      startRead: () => this.responses.read(),
      halfClose: () => {
        this.isHalfClosed = true
        this.later(() => this.tellHalfClose())
      },
      cancelWithStatus: (code, details) => this.end(code, details),
      getPeer: () => peer,
      getCallNumber: () => 0,
      setCredentials: () => {},
      getAuthContext: () => ({})
    }
    this.server = {
      start: (listener) => {
        if (this.isOver) return
        this.serverListener = listener
        listener.onReceiveMetadata(this.received!)
      },
      sendMetadata: (metadata) => {
        const headers = asReceived(metadata)
        this.later(() => this.clientListener?.onReceiveMetadata(headers))
      },
      sendMessage: (message: Buffer, sent) => this.send(this.responses, message, () => queueMicrotask(sent)),
      sendStatus: ({ code, details, metadata }) => {
        if (this.answer !== undefined) return
        this.answer = { code, details: details ?? "", metadata: asReceived(metadata ?? new Metadata()) }
        this.later(() => this.tellAnswer())
      },
      startRead: () => {
        this.requests.read()
        this.later(() => this.tellHalfClose())
      },
      getPeer: () => peer,
      getDeadline: () => this.deadline,
      getHost: () => host,
      getAuthContext: () => ({}),
      getConnectionInfo: () => ({}),
      getMetricsRecorder: () => {
        throw new Error("there is no load report in process")
      }
    }
  }

  private start(metadata: Metadata, listener: ClientListener): void {
    this.clientListener = listener
    this.received = asReceived(metadata)
    const left = this.deadline - Date.now()
    if (left <= maxTimerMillis) {
      this.timer = setTimeout(() => this.end(codes.DEADLINE_EXCEEDED, "Deadline exceeded"), Math.max(0, left))
    }
    this.later(() => this.serve(this.server))
  }

  private send(messages: Messages, message: Buffer, taken: () => void): void {
    if (this.isOver) return
    if (message.byteLength > maxBytes) {
      return this.end(
        codes.RESOURCE_EXHAUSTED,
        `Received message larger than max (${message.byteLength} vs ${maxBytes})`
      )
    }
    messages.push(message, taken)
  }

  private tellHalfClose(): void {
    if (!this.isHalfClosed || this.isHalfCloseTold || !this.requests.isEmpty || !this.requests.isAsked) return
    this.isHalfCloseTold = true
    this.serverListener?.onReceiveHalfClose()
  }

  private tellAnswer(): void {
    if (this.answer !== undefined && this.responses.isEmpty) this.over(this.answer)
  }

  /** Ends it before the server has: the client cancels, or its deadline is over. */
  private end(code: number, details: string): void {
    if (this.isOver) return
    this.later(() => this.over({ code, details, metadata: new Metadata() }))
  }

  private over(status: StatusObject): void {
    if (this.isOver) return
    this.isOver = true
    clearTimeout(this.timer)
    this.clientListener?.onReceiveStatus(status)
    this.serverListener?.onCancel()
  }

  private later(f: () => void): void {
    queueMicrotask(() => {
      if (!this.isOver) f()
    })
  }
}

/** A copy that has been through headers: keys, bytes and values are what the other side gets on the wire. */
const asReceived = (metadata: Metadata): Metadata => {
  const headers: Record<string, string | Array<string>> = {}
  for (const [key, value] of Object.entries(metadata.toHttp2Headers())) {
    headers[key] = Array.isArray(value) ? joined(key, value) : value as string
  }
  return Metadata.fromHttp2Headers(headers)
}

/** As Node joins what came apart; of bytes grpc-js makes several again. */
const joined = (key: string, values: Array<string>): string | Array<string> => {
  if (key.endsWith("-bin") || key === "set-cookie") return values
  return values.join(key === "cookie" ? "; " : ", ")
}
