/**
 * One RPC that is served by an Effect or a Stream, from its headers to its trailers.
 *
 * It speaks to grpc-js on the level of an interceptor: messages as bytes, one read at a time, a callback for each write.
 * The RPC ends when its handler has ended, finalizers included, and its call is over on the wire.
 */
import { Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js"
import type { Entry, Outcome } from "@lastcall/core/InFlight"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { PeerCertificate } from "node:tls"
import { GrpcCall } from "../GrpcCall.ts"
import * as GrpcError from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
import * as GrpcPeer from "../GrpcPeer.ts"
import type { Method } from "../GrpcService.ts"
import * as Status from "./status.ts"

/** What all RPCs of one method share. */
export interface MethodRuntime {
  readonly method: Method
  readonly context: Context.Context<never>
  /** What runs around the handler; `undefined` if nothing does. */
  readonly middleware: ((rpc: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>) | undefined
  /** Of a message, in bytes; `Infinity` if any size may be sent. */
  readonly maxSend: number
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

/** A window of writes that grpc-js has not flushed: as many messages, or as many bytes, whichever is first. */
const maxUnflushed = 64
const maxUnflushedBytes = 64 * 1024
/** Requests that are read before the handler asks for them. */
const maxBuffered = 16
const maxBufferedBytes = 64 * 1024

type Resume<A, E> = (effect: Effect.Effect<A, E>) => void

type Listener = Parameters<ServerInterceptingCallInterface["start"]>[0]

export class Rpc implements Listener, Cut {
  private readonly runtime: MethodRuntime
  private readonly call: ServerInterceptingCallInterface
  private readonly entry: Entry

  private metadata: Metadata | undefined
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

  private requests: Array<unknown> = []
  private requestBytes = 0
  private isReading = false
  private isHalfClosed = false
  private requestError: GrpcError.GrpcError | undefined
  private awaitingRequest: (() => void) | undefined

  private deadlineTimer: NodeJS.Timeout | undefined
  /** The response that was serialized inside of the middleware, so that it sees what fails then. */
  private serialized: { readonly value: unknown; readonly message: Buffer } | undefined

  private unflushed = 0
  private unflushedBytes = 0
  private awaitingRoom: Resume<void, never> | undefined

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
    if (this.runtime.method.responseStream) this.watchDeadline()
    if (this.runtime.method.requestStream) this.startHandler(this.requestStream())
    this.read()
  }

  onReceiveMessage(message: Buffer): void {
    this.isReading = false
    this.receivedBytes += message.byteLength
    if (this.runtime.method.requestStream) return this.receive(message)
    if (this.unaryRequest !== undefined) return this.reject(status.UNIMPLEMENTED, "more than one request message")
    this.unaryRequest = message
    this.read()
  }

  onReceiveHalfClose(): void {
    if (this.runtime.method.requestStream) {
      // Node ends the requests of a stream that was reset, or whose connection broke, as if they were complete, and says the
      // rest within the turn: a broken upload must not look like a whole one.
      setImmediate(() => {
        if (this.isWireOver) return
        this.isHalfClosed = true
        this.wakeReader()
      })
      return
    }
    if (this.fiber !== undefined || this.isHandlerOver) return
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
    if (this.isWireOver) return
    this.wireOver()
    if (this.isHandlerOver) return
    if (this.fiber === undefined) return this.handlerOver("failed")
    this.fiber.interruptUnsafe()
  }

  /**
   * grpc-js answers when the deadline is over, and says that the call is over when that answer is flushed: never, to a client
   * that does not read. In real time, as the deadline of a client is.
   */
  private watchDeadline(): void {
    const until = deadlineOf(this.call)
    if (until === Number.POSITIVE_INFINITY) return
    this.deadlineTimer = setTimeout(() => {
      if (this.isAnswered || this.isWireOver) return
      this.isAnswered = true
      this.wakeWriter()
      this.fiber?.interruptUnsafe()
    }, Math.min(Math.max(0, until - Date.now()), 2 ** 31 - 1))
  }

  // The handler

  private startHandler(request: unknown): void {
    const { context, method } = this.runtime
    let effect: Effect.Effect<unknown, unknown, never>
    try {
      const handled = method.handler(request)
      effect = method.responseStream
        ? Stream.runForEachArray(handled as Stream.Stream<unknown, unknown>, (chunk) => this.write(chunk, 0))
        : handled as Effect.Effect<unknown, unknown>
      if (this.runtime.middleware !== undefined) effect = this.runtime.middleware(this.prepared(effect))
    } catch (defect) {
      effect = Effect.die(defect)
    }
    const fiber = Effect.runForkWith(
      Context.add(context, GrpcCall, new CallInfo(this.runtime.method.path, this.call, this, this.metadata!))
    )(Effect.scoped(effect))
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.finish(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.finish(exit))
    if (this.isWireOver || this.isStopping) fiber.interruptUnsafe()
  }

  private finish(exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isFailure(exit)) {
      const { isDefect, status } = Status.fromCause(exit.cause, this.isStopping)
      if (isDefect) this.runtime.logDefect(this.runtime.method.path, exit.cause)
      const isClientGone = this.isWireOver && !this.isAnswered
      this.send(status)
      return this.handlerOver(status === Status.shuttingDown && !isClientGone ? "interrupted" : "failed")
    }
    // Answered before: the force could not wait for this handler, and its client was told to go elsewhere.
    if (this.isAnswered) return this.handlerOver("interrupted")
    if (this.isWireOver) return this.handlerOver("failed")
    this.handlerOver(this.succeed(exit.value) ? "succeeded" : "failed")
  }

  /** Serializes inside of the middleware, which so sees a response that cannot be sent. */
  private prepared(effect: Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> {
    if (this.runtime.method.responseStream) return effect
    return Effect.flatMap(effect, (value) => {
      const message = this.runtime.method.serialize(value)
      if (message.byteLength > this.runtime.maxSend) {
        return Effect.fail(tooLarge(message.byteLength, this.runtime.maxSend))
      }
      this.serialized = { value, message }
      return Effect.succeed(value)
    })
  }

  /** Sends what a handler ended with; whether it could be written. */
  private succeed(value: unknown): boolean {
    if (!this.runtime.method.responseStream) {
      let message: Buffer
      try {
        message = this.serialized !== undefined && this.serialized.value === value
          ? this.serialized.message
          : this.runtime.method.serialize(value)
      } catch (cause) {
        this.runtime.logDefect(this.runtime.method.path, Cause.die(cause))
        this.send(Status.internalError)
        return false
      }
      if (message.byteLength > this.runtime.maxSend) {
        this.send(Status.fromError(tooLarge(message.byteLength, this.runtime.maxSend)))
        return false
      }
      this.sendMessage(message, ignore)
    }
    this.send(Status.ok)
    return true
  }

  private sendMessage(message: Buffer, flushed: () => void): void {
    this.sendHeaders()
    this.sentBytes += message.byteLength
    this.call.sendMessage(message, flushed)
  }

  sendHeaders(): boolean {
    if (this.headers === undefined || this.isAnswered || this.isWireOver) return false
    const headers = this.headers
    this.headers = undefined
    this.call.sendMetadata(headers ?? new Metadata())
    return true
  }

  addHeaders(metadata: GrpcMetadata.GrpcMetadata): boolean {
    if (this.headers === undefined || this.isAnswered || this.isWireOver) return false
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

  private send(status: Status.Status): void {
    if (this.isAnswered || this.isWireOver) return
    // Headers that were added and not sent: a status without them would lose them.
    if (this.headers !== undefined && this.headers !== null) this.sendHeaders()
    this.isAnswered = true
    if (this.trailers === undefined) return this.call.sendStatus(status)
    this.trailers.merge(status.metadata)
    this.call.sendStatus({ ...status, metadata: this.trailers })
  }

  /** Refuses a request that no handler will see. */
  private reject(code: number, details: string): void {
    this.send(Status.make(code, details))
    if (this.fiber === undefined) this.handlerOver("failed")
  }

  private handlerOver(outcome: Outcome): void {
    this.isHandlerOver = true
    this.outcome = outcome
    if (this.isWireOver) this.entry.end(outcome)
  }

  private wireOver(): void {
    this.isWireOver = true
    clearTimeout(this.deadlineTimer)
    this.wakeReader()
    this.wakeWriter()
    if (this.isHandlerOver) this.entry.end(this.outcome)
  }

  // The stop

  /** Asks the handler to end; one that has not begun never will. */
  interrupt(): void {
    this.isStopping = true
    if (this.isHandlerOver) return
    if (this.fiber !== undefined) return this.fiber.interruptUnsafe()
    this.send(Status.shuttingDown)
    this.handlerOver("interrupted")
  }

  get awaitHandler(): Effect.Effect<unknown> {
    return this.fiber === undefined ? Effect.void : Fiber.await(this.fiber)
  }

  answer(): void {
    if (!this.isHandlerOver) this.send(Status.shuttingDown)
  }

  destroyed(): void {
    if (this.isHandlerOver) this.entry.end("destroyed")
  }

  // Requests

  private read(): void {
    if (this.isReading || this.isHalfClosed || this.isWireOver) return
    this.isReading = true
    this.call.startRead()
  }

  private receive(message: Buffer): void {
    if (this.requestError !== undefined) return
    try {
      this.requests.push(this.runtime.method.deserialize(message))
      this.requestBytes += message.byteLength
    } catch {
      this.requestError = GrpcError.internal(requestUnreadable)
    }
    this.wakeReader()
    if (this.requests.length < maxBuffered && this.requestBytes < maxBufferedBytes) this.read()
  }

  private wakeReader(): void {
    const wake = this.awaitingRequest
    this.awaitingRequest = undefined
    wake?.()
  }

  private requestStream(): Stream.Stream<unknown, GrpcError.GrpcError> {
    const pull: Pull.Pull<NonEmptyReadonlyArray<unknown>, GrpcError.GrpcError> = Effect.suspend(() => {
      if (this.requests.length > 0) {
        const chunk = this.requests as unknown as NonEmptyReadonlyArray<unknown>
        this.requests = []
        this.requestBytes = 0
        this.read()
        return Effect.succeed(chunk)
      }
      if (this.requestError !== undefined) return Effect.fail(this.requestError)
      if (this.isHalfClosed) return Cause.done()
      if (this.isWireOver) return Effect.interrupt
      this.read()
      return Effect.flatMap(this.nextRequest(), () => pull)
    })
    return Stream.fromPull(Effect.succeed(pull))
  }

  private nextRequest(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      // The read that was asked for just before may have been answered at once.
      if (this.requests.length > 0 || this.isHalfClosed || this.isWireOver || this.requestError !== undefined) {
        return resume(Effect.void)
      }
      this.awaitingRequest = () => resume(Effect.void)
      return Effect.sync(() => {
        this.awaitingRequest = undefined
      })
    })
  }

  // Responses

  private write(chunk: NonEmptyReadonlyArray<unknown>, from: number): Effect.Effect<void, GrpcError.GrpcError> {
    for (let i = from; i < chunk.length; i++) {
      // There is nobody to write to, also for a handler that does not let itself be interrupted.
      if (this.isWireOver || this.isAnswered) return Effect.interrupt
      if (this.unflushed >= maxUnflushed || this.unflushedBytes >= maxUnflushedBytes) {
        return Effect.flatMap(this.room(), () => this.write(chunk, i))
      }
      const message = this.runtime.method.serialize(chunk[i])
      const size = message.byteLength
      if (size > this.runtime.maxSend) return Effect.fail(tooLarge(size, this.runtime.maxSend))
      this.unflushed++
      this.unflushedBytes += size
      this.sendMessage(message, () => this.flushed(size))
    }
    return Effect.void
  }

  private flushed(size: number): void {
    this.unflushed--
    this.unflushedBytes -= size
    if (this.unflushed <= maxUnflushed / 2 && this.unflushedBytes <= maxUnflushedBytes / 2) this.wakeWriter()
  }

  private wakeWriter(): void {
    const resume = this.awaitingRoom
    this.awaitingRoom = undefined
    resume?.(Effect.void)
  }

  private room(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.isWireOver || this.isAnswered) return resume(Effect.void)
      this.awaitingRoom = resume
      return Effect.sync(() => {
        this.awaitingRoom = undefined
      })
    })
  }
}

/** In milliseconds since the epoch; `Infinity` without one. */
const deadlineOf = (call: ServerInterceptingCallInterface): number => {
  const deadline = call.getDeadline()
  return typeof deadline === "number" ? deadline : deadline.getTime()
}

const tooLarge = (size: number, max: number): GrpcError.GrpcError =>
  GrpcError.resourceExhausted(`the response message has ${size} bytes, and at most ${max} are sent`)

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
    return this.call.getPeer()
  }
  get peerCertificate(): PeerCertificate | undefined {
    return this.call.getAuthContext().sslPeerCertificate
  }
  get peerIdentity(): GrpcPeer.GrpcPeer | undefined {
    const raw = this.identity === undefined ? this.peerCertificate?.raw : undefined
    return raw === undefined ? this.identity : this.identity = GrpcPeer.fromCertificate(raw)
  }
  receivedBytes(): number {
    return this.rpc.receivedBytes
  }
  isStopping(): boolean {
    return this.rpc.isStopping
  }
  sentBytes(): number {
    return this.rpc.sentBytes
  }
  addHeaders(metadata: GrpcMetadata.GrpcMetadata): boolean {
    return this.rpc.addHeaders(metadata)
  }
  sendHeaders(): boolean {
    return this.rpc.sendHeaders()
  }
  addTrailers(metadata: GrpcMetadata.GrpcMetadata): boolean {
    return this.rpc.addTrailers(metadata)
  }
}

const requestUnreadable = "the request cannot be read"

const ignore = (): void => {}
