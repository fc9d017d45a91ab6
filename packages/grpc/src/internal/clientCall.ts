/**
 * One RPC that a client makes, on the surface of grpc-js: its status ends it, and what was admitted with it.
 */
import * as grpc from "@grpc/grpc-js"
import { type Entry, Refused } from "@lastcall/core/InFlight"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { EventEmitter } from "node:events"
import type { GrpcChannel } from "../GrpcChannel.ts"
import type { CallOptions } from "../GrpcClient.ts"
import * as GrpcError from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
import * as ClientDeadline from "./clientDeadline.ts"
import { leave } from "./clientSockets.ts"
import * as ClientStatus from "./clientStatus.ts"
import type { Codec } from "./descriptor.ts"

type Channel = GrpcChannel["Service"]

type Surface =
  | grpc.ClientUnaryCall
  | grpc.ClientReadableStream<unknown>
  | grpc.ClientWritableStream<unknown>
  | grpc.ClientDuplexStream<unknown, unknown>
type Readable = grpc.ClientReadableStream<unknown> | grpc.ClientDuplexStream<unknown, unknown>
type Writable = grpc.ClientWritableStream<unknown> | grpc.ClientDuplexStream<unknown, unknown>

/** The one response of a method that has no stream of them. */
type Answer = (error: grpc.ServiceError | null, response?: unknown) => void

class Rpc<C extends Surface> {
  readonly call: C
  isOver = false
  /** Why it failed, on the wire or before it. */
  failure: Effect.Effect<never, unknown> | undefined
  /** The answer came to the callback of grpc-js; it counts when the status has come as well. */
  response: unknown
  private wake: (() => void) | undefined
  private isWaking = false
  private isCutByStop = false

  constructor(start: (answer: Answer) => C, channel: Channel, entry: Entry, options: CallOptions) {
    let answerError: grpc.ServiceError | null = null
    this.call = start((error, response) => {
      answerError = error
      this.response = response
    })
    entry.onInterrupt(() => {
      this.isCutByStop = true
      this.cancel()
    })
    const { onHeaders } = options
    if (onHeaders !== undefined) this.call.on("metadata", (metadata) => this.tell(onHeaders, metadata))
    // The status says it as well.
    const emitter: EventEmitter = this.call
    emitter.on("error", () => {})
    this.call.on("status", (status) => {
      this.isOver = true
      // A success without a response is an error of its own.
      const failed = status.code === 0 ? answerError : status
      if (failed !== null) {
        this.failure ??= Effect.fail(
          this.isCutByStop && failed.code === GrpcError.codes.CANCELLED
            ? GrpcError.cancelled(`${channel.name} was stopped`)
            : ClientStatus.toError(failed)
        )
      }
      // After the failure is known: a listener may wake who reads the responses.
      this.tell(options.onTrailers, status.metadata)
      entry.end(failed === null ? "succeeded" : this.isCutByStop ? "interrupted" : "failed")
      // It may have ended in the turn in which it began, by a request that cannot be sent or by its deadline: see `cancel`.
      if (failed !== null) setImmediate(() => this.call.cancel())
      this.notify()
    })
  }

  private tell(listener: CallOptions["onHeaders"], metadata: grpc.Metadata): void {
    if (listener === undefined) return
    try {
      leave(() => listener(ClientStatus.received(metadata)))
    } catch (defect) {
      this.failure = Effect.die(defect)
      this.cancel()
      this.notify()
    }
  }

  /** In the next turn: grpc-js forgets a cancellation in the turn in which the RPC began, and its handler would run on. */
  cancel(): void {
    setImmediate(() => {
      if (!this.isOver) this.call.cancel()
    })
  }

  /** It cannot go on: the reason comes before the status that its cancellation will have. */
  fail(cause: Cause.Cause<unknown>): void {
    this.failure ??= Effect.failCause(cause)
    this.cancel()
    this.notify()
  }

  /** When the event loop has delivered all that is there: a chunk costs the program as much as a message. */
  notifySoon(): void {
    if (this.wake === undefined || this.isWaking) return
    this.isWaking = true
    setImmediate(() => this.notify())
  }

  notify(): void {
    const wake = this.wake
    this.wake = undefined
    this.isWaking = false
    if (wake !== undefined) leave(wake)
  }

  /** Goes on with `next` at the next notification, or at once if there is something already. */
  awaitNotified<A, E>(isReady: () => boolean, next: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.callback((resume) => {
      if (isReady()) return resume(next)
      this.wake = () => resume(next)
    })
  }

  /** Calls back with the result when the status has come; the Effect that it returns cancels. */
  onResult(resume: (result: Effect.Effect<unknown, unknown>) => void): Effect.Effect<void> {
    const wake = (): void => {
      if (this.isOver) resume(this.failure ?? Effect.succeed(this.response))
      else this.wake = wake
    }
    wake()
    return Effect.sync(() => {
      this.wake = undefined
      this.cancel()
    })
  }
}

// The four kinds

/** The function of a method: what it takes and returns depends on its kind. */
export const method = (
  channel: Channel,
  codec: Codec
): (request: never, options: CallOptions) => Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown> => {
  if (codec.requestStream) return codec.responseStream ? bidi(channel, codec) : clientStream(channel, codec)
  return codec.responseStream ? serverStream(channel, codec) : unary(channel, codec)
}

const unary = (channel: Channel, codec: Codec) => (request: unknown, options: CallOptions) =>
  Effect.withFiber<unknown, unknown>(({ context }) =>
    // Its RPC begins and can be interrupted in one step.
    Effect.callback<unknown, unknown>((resume) => {
      const rpc = begin(context, channel, codec, options, (metadata, callOptions, answer) =>
        channel.client.makeUnaryRequest(
          codec.path,
          codec.serialize,
          codec.deserialize,
          request,
          metadata,
          callOptions,
          answer
        ))
      return rpc instanceof Rpc ? rpc.onResult(resume) : resume(rpc)
    })
  )

const serverStream = (channel: Channel, codec: Codec) => (request: unknown, options: CallOptions) =>
  Stream.suspend(() => {
    const received = new Received(codec)
    return Stream.unwrap(Effect.map(
      openScoped(channel, codec, options, (metadata, callOptions) =>
        channel.client.makeServerStreamRequest(
          codec.path,
          codec.serialize,
          received.deserialize,
          request,
          metadata,
          callOptions
        )),
      (rpc) => responses(rpc, received)
    ))
  })

const clientStream =
  (channel: Channel, codec: Codec) => (requests: Stream.Stream<unknown, unknown>, options: CallOptions) =>
    Effect.scoped(Effect.flatMap(
      openScoped(channel, codec, options, (metadata, callOptions, answer) =>
        channel.client.makeClientStreamRequest(
          codec.path,
          codec.serialize,
          codec.deserialize,
          metadata,
          callOptions,
          answer
        )),
      (rpc) =>
        Effect.raceFirst(
          Effect.callback<unknown, unknown>((resume) => rpc.onResult(resume)),
          Effect.andThen(send(rpc, requests), Effect.never)
        )
    ))

const bidi = (channel: Channel, codec: Codec) => (requests: Stream.Stream<unknown, unknown>, options: CallOptions) =>
  Stream.unwrap(Effect.gen(function*() {
    const received = new Received(codec)
    const rpc = yield* openScoped(
      channel,
      codec,
      options,
      (metadata, callOptions) =>
        channel.client.makeBidiStreamRequest(codec.path, codec.serialize, received.deserialize, metadata, callOptions)
    )
    const sending = yield* Effect.forkScoped(send(rpc, requests))
    sending.addObserver((exit) => {
      if (Exit.isFailure(exit) && !rpc.isOver) rpc.fail(exit.cause)
    })
    // Before the requests are interrupted: their finalizers may take their time.
    yield* Effect.addFinalizer(() => Effect.sync(() => rpc.cancel()))
    return responses(rpc, received)
  }))

// The beginning

/** The RPC, or why there is none. */
const begin = <C extends Surface>(
  context: Context.Context<never>,
  channel: Channel,
  { path }: Codec,
  options: CallOptions,
  start: (metadata: grpc.Metadata, options: grpc.CallOptions, answer: Answer) => C
): Rpc<C> | Effect.Effect<never, GrpcError.GrpcError> => {
  const metadata = headers(context, options)
  const callOptions: grpc.CallOptions = { deadline: ClientDeadline.of(context, options.deadline) }
  if (options.compress === false) callOptions.interceptors = [uncompressed]
  const entry = channel.admit(path)
  if (entry === undefined) {
    const cause = new Refused({ kind: path.slice(1) })
    return Effect.fail(GrpcError.unavailable(`${channel.name} is stopping: no new RPCs`, cause))
  }
  try {
    return new Rpc(
      (answer) => channel.enter(() => withoutStack(() => start(metadata, callOptions, answer))),
      channel,
      entry,
      options
    )
  } catch (defect) {
    entry.end("failed")
    return Effect.die(defect)
  }
}

/** grpc-js makes an error for each RPC, for the stack of its caller; that costs much, and here it would be one of fibers. */
const withoutStack = <A>(start: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return start()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

const openScoped = <C extends Surface>(
  channel: Channel,
  codec: Codec,
  options: CallOptions,
  start: (metadata: grpc.Metadata, options: grpc.CallOptions, answer: Answer) => C
): Effect.Effect<Rpc<C>, GrpcError.GrpcError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.withFiber(({ context }) => {
      const rpc = begin(context, channel, codec, options, start)
      return rpc instanceof Rpc ? Effect.succeed(rpc) : rpc
    }),
    (rpc) => Effect.sync(() => rpc.cancel())
  )

const headers = (context: Context.Context<never>, options: CallOptions): grpc.Metadata => {
  const metadata = GrpcMetadata.toGrpcJs(options.metadata ?? GrpcMetadata.empty)
  if (options.waitForReady !== undefined) metadata.setOptions({ waitForReady: options.waitForReady })
  const span = Context.getOption(context, Tracer.ParentSpan)
  if (Option.isSome(span) && metadata.get("traceparent").length === 0) {
    const { sampled, spanId, traceId } = span.value
    // A tracer may have identifiers of its own that W3C's header cannot carry.
    if (traceIdOf.test(traceId) && spanIdOf.test(spanId)) {
      metadata.set("traceparent", `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`)
    }
  }
  return metadata
}

const traceIdOf = /^[0-9a-f]{32}$/
const spanIdOf = /^[0-9a-f]{16}$/

/** Messages of an RPC are compressed or not by a flag of theirs, which grpc-js's surface does not take. */
class Uncompressed extends grpc.InterceptingCall {
  override sendMessageWithContext(
    context: Parameters<grpc.InterceptingCall["sendMessageWithContext"]>[0],
    message: unknown
  ): void {
    super.sendMessageWithContext({ ...context, flags: (context.flags ?? 0) | noCompress }, message)
  }
}

const noCompress = 2

const uncompressed: grpc.Interceptor = (options, next) => new Uncompressed(next(options))

// Requests

const send = (rpc: Rpc<Writable>, requests: Stream.Stream<unknown, unknown>): Effect.Effect<void, unknown> =>
  Effect.andThen(
    Stream.runForEachArray(requests, (chunk) => write(rpc, chunk, 0)),
    Effect.sync(() => void rpc.call.end())
  )

const write = (rpc: Rpc<Writable>, chunk: NonEmptyReadonlyArray<unknown>, from: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    for (let i = from; i < chunk.length; i++) {
      // Nobody reads any more; the end of the RPC interrupts this.
      if (rpc.isOver) return Effect.never
      if (!rpc.call.write(chunk[i])) return Effect.andThen(drained(rpc.call), write(rpc, chunk, i + 1))
    }
    return Effect.void
  })

/** Waits until grpc-js takes more; it does not once the RPC is over. */
const drained = (call: Writable): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (!call.writableNeedDrain) return resume(Effect.void)
    const wake = () => leave(() => resume(Effect.void))
    call.once("drain", wake)
    return Effect.sync(() => void call.off("drain", wake))
  })

// Responses

/** Responses that are read before the program asks for them: at most as many, or as many bytes; grpc-js holds 16 more. */
const maxBuffered = 256
const maxBufferedBytes = 64 * 1024

/** Responses that the program has not taken. */
class Received {
  messages: Array<unknown> = []
  private bytes = 0
  /** For grpc-js. */
  readonly deserialize: (message: Buffer) => unknown

  constructor(codec: Codec) {
    this.deserialize = (message) => {
      this.bytes += message.byteLength
      return codec.deserialize(message)
    }
  }

  isFull(): boolean {
    return this.messages.length >= maxBuffered || this.bytes >= maxBufferedBytes
  }

  take(): NonEmptyReadonlyArray<unknown> {
    const chunk = this.messages as unknown as NonEmptyReadonlyArray<unknown>
    this.messages = []
    this.bytes = 0
    return chunk
  }
}

const responses = (rpc: Rpc<Readable>, received: Received): Stream.Stream<unknown, unknown> => {
  const { call } = rpc
  call.on("data", (message) => {
    received.messages.push(message)
    if (received.isFull()) call.pause()
    rpc.notifySoon()
  })
  const isReady = () => received.messages.length > 0 || rpc.isOver || rpc.failure !== undefined
  const pull: Pull.Pull<NonEmptyReadonlyArray<unknown>, unknown> = Effect.suspend(() => {
    // What came before the end and was held back counts: each message that is read is told as data.
    let isMore = rpc.isOver
    while (isMore) isMore = call.read() !== null
    if (received.messages.length > 0) {
      const chunk = received.take()
      if (call.isPaused()) call.resume()
      return Effect.succeed(chunk)
    }
    if (rpc.failure !== undefined) return rpc.failure
    return rpc.isOver ? Cause.done() : awaitNext
  })
  const awaitNext = rpc.awaitNotified(isReady, pull)
  return Stream.fromPull(Effect.succeed(pull))
}
