/**
 * One RPC that is served by an Effect or a Stream, from its headers to its trailers.
 *
 * It speaks to grpc-js on the level of an interceptor: messages as bytes, one read at a time, a callback for each write.
 * The RPC ends when its handler has ended, finalizers included, and its call is over on the wire.
 */
import { Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js"
import type { Entry, Outcome } from "@lastcall/core/InFlight"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { PeerCertificate } from "node:tls"
import { GrpcCall } from "../GrpcCall.ts"
import * as GrpcError from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
import type { Composed, Observed } from "../GrpcMiddleware.ts"
import * as GrpcPeer from "../GrpcPeer.ts"
import type { Method } from "../GrpcService.ts"
import { sendable } from "./headerFields.ts"
import { RequestReader, requestUnreadable } from "./requestReader.ts"
import { ResponseWindow } from "./responseWindow.ts"
import * as Status from "./status.ts"

/** What all RPCs of one method share. */
export interface MethodRuntime {
  readonly method: Method
  readonly context: Context.Context<never>
  readonly middleware: Composed
  /** Throws a `GrpcError` for a response that is larger than may be sent, and what serializing it throws. */
  readonly encode: (response: unknown) => Buffer
  /** Logs what the client must not see. */
  readonly logDefect: (path: string, cause: Cause.Cause<unknown>) => void
}

/** What a force needs of an RPC that it cut. */
export interface Cut {
  /** Waits for the end of the handler. */
  readonly awaitHandler: Effect.Effect<unknown>
  /** Answers the client although the handler has not ended. */
  readonly answer: () => void
  /** Its sockets are destroyed: counts it as destroyed if its handler has ended. */
  readonly destroyed: () => void
}

type Listener = Parameters<ServerInterceptingCallInterface["start"]>[0]

export class Rpc implements Listener, Cut {
  private readonly runtime: MethodRuntime
  private readonly call: ServerInterceptingCallInterface
  private readonly entry: Entry

  private metadata: Metadata | undefined
  /** Its handler runs, or has run: from before there is a fiber, since its first steps come at once. */
  private hasBegun = false
  private fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** A stop has asked it to end. */
  isStopping = false
  private isAnswered = false
  private isHandlerOver = false
  private isWireOver = false
  private outcome: Outcome = "failed"

  /** Headers that were added and have not gone out; `undefined` once they have. */
  private headers: Metadata | null | undefined = null
  private trailers: Metadata | undefined
  receivedBytes = 0
  sentBytes = 0

  private unaryRequest: Buffer | undefined
  /** Who watches, the outermost first; `undefined` if nobody does. */
  private observed: Array<Observed> | undefined

  private reader: RequestReader | undefined
  private window: ResponseWindow | undefined

  private deadlineTimer: NodeJS.Timeout | undefined
  /** The response that was encoded inside of the middleware, so that it sees what fails then. */
  private encoded: { readonly value: unknown; readonly message: Buffer } | undefined

  constructor(runtime: MethodRuntime, call: ServerInterceptingCallInterface, entry: Entry) {
    this.runtime = runtime
    this.call = call
    this.entry = entry
    call.start(this)
    // A call that died before it was started has no listener: nothing will be heard of it.
    if (this.metadata === undefined) {
      this.isHandlerOver = true
      this.wireOver()
    }
  }

  // What grpc-js reports

  onReceiveMetadata(metadata: Metadata): void {
    this.metadata = metadata
    const { deserialize, requestStream, responseStream } = this.runtime.method
    if (responseStream) {
      this.window = new ResponseWindow(this.runtime.encode, this)
      this.watchDeadline()
    }
    if (!requestStream) return this.call.startRead()
    this.reader = new RequestReader(this.call, deserialize)
    this.startHandler(this.reader.stream())
    this.reader.read()
  }

  onReceiveMessage(message: Buffer): void {
    this.receivedBytes += message.byteLength
    if (this.reader !== undefined) return this.reader.receive(message)
    if (this.unaryRequest !== undefined) return this.reject(status.UNIMPLEMENTED, "more than one request message")
    this.unaryRequest = message
    if (!this.isWireOver) this.call.startRead()
  }

  onReceiveHalfClose(): void {
    const { reader } = this
    if (reader !== undefined) {
      // Node ends the requests of a stream that was reset, or whose connection broke, as if they were complete, and says the
      // rest within the turn: a broken upload must not look like a whole one.
      setImmediate(() => reader.complete())
      return
    }
    if (this.hasBegun || this.isHandlerOver) return
    const message = this.unaryRequest
    if (message === undefined) return this.reject(status.UNIMPLEMENTED, "no request message")
    this.unaryRequest = undefined
    let request: unknown
    try {
      request = this.runtime.method.deserialize(message)
    } catch {
      return this.reject(status.INTERNAL, requestUnreadable)
    }
    this.startHandler(request)
  }

  /** The call is over on the wire: answered, cancelled, past its deadline, or its connection is gone. */
  onCancel(): void {
    this.wireOver()
    if (!this.hasBegun) return this.handlerOver("failed")
    this.fiber?.interruptUnsafe()
  }

  /**
   * grpc-js answers when the deadline is over, and says that the call is over when that answer is flushed: never, to a client
   * that does not read. In real time, as the deadline of a client is.
   */
  private watchDeadline(): void {
    const until = deadlineOf(this.call)
    if (until === Number.POSITIVE_INFINITY) return
    this.deadlineTimer = setTimeout(() => {
      this.answered()
      this.fiber?.interruptUnsafe()
    }, Math.min(Math.max(0, until - Date.now()), 2 ** 31 - 1))
  }

  // The handler

  private startHandler(request: unknown): void {
    this.hasBegun = true
    const { method, middleware } = this.runtime
    const call = new CallInfo(method.path, this.call, this, this.metadata!)
    let context = Context.add(this.runtime.context, GrpcCall, call)
    let effect: Effect.Effect<unknown, unknown, never>
    try {
      for (const observe of middleware.observers) {
        const observed = observe(call, context)
        context = observed.context as typeof context
        this.observed ??= []
        this.observed.push(observed)
      }
      const handled = method.handler(request)
      effect = method.responseStream
        ? Stream.runForEachArray(handled as Stream.Stream<unknown, unknown>, (chunk) => this.window!.write(chunk, 0))
        : handled as Effect.Effect<unknown, unknown>
      if (middleware.wrap !== undefined) effect = middleware.wrap(this.prepared(effect))
    } catch (defect) {
      effect = Effect.die(defect)
    }
    const fiber = Effect.runForkWith(context)(Effect.scoped(effect))
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.finish(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.finish(exit))
    if (this.isWireOver || this.isStopping) fiber.interruptUnsafe()
  }

  private finish(exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isFailure(exit)) return this.fail(exit.cause)
    // Answered before: by a force that could not wait for this handler, or since its deadline was over.
    if (this.isAnswered || this.isWireOver) {
      this.observeEnd(exit)
      return this.handlerOver(this.isAnswered && this.isStopping ? "interrupted" : "failed")
    }
    if (!this.runtime.method.responseStream) {
      try {
        const message = this.encoded !== undefined && this.encoded.value === exit.value
          ? this.encoded.message
          : this.encode(exit.value)
        this.sendHeaders()
        this.call.sendMessage(message, ignore)
      } catch (error) {
        return this.fail(causeOf(error))
      }
    }
    const unsent = this.send(Status.ok)
    this.observeEnd(unsent ?? exit)
    this.handlerOver(unsent === undefined ? "succeeded" : "failed")
  }

  private fail(cause: Cause.Cause<unknown>): void {
    const { isDefect, status } = Status.fromCause(cause, this.isStopping)
    if (isDefect) this.runtime.logDefect(this.runtime.method.path, cause)
    const isClientGone = this.isWireOver && !this.isAnswered
    const unsent = this.send(status)
    this.observeEnd(unsent ?? Exit.failCause(cause))
    const isInterrupted = status === Status.shuttingDown && !isClientGone && unsent === undefined
    this.handlerOver(isInterrupted ? "interrupted" : "failed")
  }

  private observeEnd(exit: Exit.Exit<unknown, unknown>): void {
    if (this.observed === undefined) return
    for (let i = this.observed.length - 1; i >= 0; i--) {
      try {
        this.observed[i]!.end(exit)
      } catch (defect) {
        this.runtime.logDefect(this.runtime.method.path, Cause.die(defect))
      }
    }
  }

  /** A single response. */
  private encode(value: unknown): Buffer {
    const message = this.runtime.encode(value)
    this.sentBytes = message.byteLength
    return message
  }

  /** Encodes inside of the middleware, which so sees a response that cannot be sent. */
  private prepared(effect: Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> {
    if (this.runtime.method.responseStream) return effect
    return Effect.flatMap(effect, (value) => {
      try {
        this.encoded = { value, message: this.encode(value) }
        return Effect.succeed(value)
      } catch (error) {
        return Effect.failCause(causeOf(error))
      }
    })
  }

  /** One of a stream of responses. */
  sendMessage(message: Buffer, flushed: () => void): void {
    this.sendHeaders()
    this.sentBytes += message.byteLength
    this.call.sendMessage(message, flushed)
  }

  sendHeaders(): boolean {
    if (this.headers === undefined || this.isAnswered || this.isWireOver) return false
    const headers = this.headers
    this.headers = undefined
    if (headers === null) this.call.sendMetadata(noHeaders)
    else this.sendAdded(headers)
    return true
  }

  private sendAdded(headers: Metadata): void {
    try {
      this.call.sendMetadata(sendable(headers))
    } catch (defect) {
      // grpc-js takes them for sent. Without a write Node would never end the stream.
      this.call.sendMessage(nothing, ignore)
      throw defect
    }
  }

  addHeaders(metadata: GrpcMetadata.GrpcMetadata): boolean {
    if (this.headers === undefined || this.isAnswered || this.isWireOver) return false
    // Headers that are sent end the retries of a client.
    if (metadata.entries.length === 0) return true
    this.headers ??= new Metadata()
    this.headers.merge(GrpcMetadata.toGrpcJs(metadata))
    return true
  }

  addTrailers(metadata: GrpcMetadata.GrpcMetadata): boolean {
    if (this.isAnswered || this.isWireOver) return false
    this.trailers ??= new Metadata()
    this.trailers.merge(GrpcMetadata.toGrpcJs(metadata))
    return true
  }

  /** What Node's http2 does not send is told, and returned: the client gets `INTERNAL`. This runs where nothing catches. */
  private send(status: Status.Status): Exit.Exit<never> | undefined {
    if (this.isAnswered || this.isWireOver) return undefined
    try {
      // Headers that were added and not sent: a status without them would lose them.
      if (this.headers !== null) this.sendHeaders()
      this.answered()
      this.call.sendStatus(this.trailers === undefined ? status : withTrailers(status, this.trailers))
      return undefined
    } catch (defect) {
      const cause = Cause.die(defect)
      this.runtime.logDefect(this.runtime.method.path, cause)
      this.answered()
      this.call.sendStatus(Status.internalError)
      return Exit.failCause(cause)
    }
  }

  private answered(): void {
    this.isAnswered = true
    this.window?.close()
  }

  /** Refuses a request that no handler will see. */
  private reject(code: number, details: string): void {
    this.send(Status.make(code, details))
    this.handlerOver("failed")
  }

  private handlerOver(outcome: Outcome): void {
    this.isHandlerOver = true
    this.outcome = outcome
    if (this.isWireOver) this.entry.end(outcome)
  }

  private wireOver(): void {
    this.isWireOver = true
    clearTimeout(this.deadlineTimer)
    this.reader?.break()
    this.window?.close()
    if (this.isHandlerOver) this.entry.end(this.outcome)
  }

  // The stop

  /** Asks the handler to end; one that has not begun never will. */
  interrupt(): void {
    this.isStopping = true
    if (this.isHandlerOver) return
    if (this.hasBegun) return this.fiber?.interruptUnsafe()
    this.send(Status.shuttingDown)
    this.handlerOver("interrupted")
  }

  get awaitHandler(): Effect.Effect<unknown> {
    return this.fiber === undefined ? Effect.void : Fiber.await(this.fiber)
  }

  answer(): void {
    this.send(Status.shuttingDown)
  }

  destroyed(): void {
    if (this.isHandlerOver) this.entry.end("destroyed")
  }
}

/** In milliseconds since the epoch; `Infinity` without one. */
const deadlineOf = (call: ServerInterceptingCallInterface): number => {
  const deadline = call.getDeadline()
  return typeof deadline === "number" ? deadline : deadline.getTime()
}

/** For {@link MethodRuntime}: at most `maxSend` bytes. */
export const encoder = ({ serialize }: Method, maxSend: number) => (response: unknown): Buffer => {
  const message = serialize(response)
  if (message.byteLength <= maxSend) return message
  throw GrpcError.resourceExhausted(
    `the response message has ${message.byteLength} bytes, and at most ${maxSend} are sent`
  )
}

const causeOf = (error: unknown): Cause.Cause<unknown> =>
  error instanceof GrpcError.GrpcError ? Cause.fail(error) : Cause.die(error)

/** The RPC as its handler sees it: one small object, its members on the prototype. */
class CallInfo {
  readonly path: string
  private readonly call: ServerInterceptingCallInterface
  private readonly rpc: Rpc
  private readonly received: Metadata
  private converted: GrpcMetadata.GrpcMetadata | undefined
  private identity: GrpcPeer.GrpcPeer | undefined

  constructor(path: string, call: ServerInterceptingCallInterface, rpc: Rpc, received: Metadata) {
    this.path = path
    this.call = call
    this.rpc = rpc
    this.received = received
  }

  get metadata(): GrpcMetadata.GrpcMetadata {
    return this.converted ??= GrpcMetadata.fromGrpcJs(this.received)
  }
  get deadline(): number {
    return deadlineOf(this.call)
  }
  get authority(): string {
    return this.call.getHost()
  }
  get peer(): string {
    // What `getPeer` looks up in the socket, through three proxies.
    const { remoteAddress, remotePort } = this.call.getConnectionInfo()
    if (remoteAddress === undefined) return this.call.getPeer()
    return remotePort === undefined ? remoteAddress : `${remoteAddress}:${remotePort}`
  }
  get peerCertificate(): PeerCertificate | undefined {
    return this.call.getAuthContext().sslPeerCertificate
  }
  get peerIdentity(): GrpcPeer.GrpcPeer | undefined {
    const raw = this.identity === undefined ? this.peerCertificate?.raw : undefined
    return raw === undefined ? this.identity : this.identity = GrpcPeer.fromCertificate(raw)
  }
  // Functions of their own, so that they can be taken out of the service.
  get receivedBytes(): () => number {
    return () => this.rpc.receivedBytes
  }
  get isStopping(): () => boolean {
    return () => this.rpc.isStopping
  }
  get sentBytes(): () => number {
    return () => this.rpc.sentBytes
  }
  get addHeaders(): (metadata: GrpcMetadata.GrpcMetadata) => boolean {
    return (metadata) => this.rpc.addHeaders(metadata)
  }
  get sendHeaders(): () => boolean {
    return () => this.rpc.sendHeaders()
  }
  get addTrailers(): (metadata: GrpcMetadata.GrpcMetadata) => boolean {
    return (metadata) => this.rpc.addTrailers(metadata)
  }
}

/** Those of the status come last: of a key that there is only once, they count. */
const withTrailers = (status: Status.Status, trailers: Metadata): Status.Status => {
  trailers.merge(status.metadata)
  return { ...status, metadata: sendable(trailers) }
}

/** grpc-js only reads it. */
const noHeaders = new Metadata()

const nothing = Buffer.alloc(0)

const ignore = (): void => {}
