/**
 * One RPC that a client makes, on the surface of grpc-js: its status ends it, and what was admitted with it.
 */
import type * as grpc from "@grpc/grpc-js"
import { type Entry, Refused } from "@lastcall/core/InFlight"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { EventEmitter } from "node:events"
import { GrpcCall } from "../GrpcCall.ts"
import type { GrpcChannel } from "../GrpcChannel.ts"
import type { CallOptions } from "../GrpcClient.ts"
import * as GrpcError from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
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
  private isCutByStop = false

  constructor(start: (answer: Answer) => C, channel: Channel, entry: Entry, options: CallOptions) {
    let answerError: grpc.ServiceError | null = null
    this.call = start((error, response) => {
      answerError = error
      this.response = response
    })
    entry.onInterrupt(() => {
      this.isCutByStop = true
      this.call.cancel()
    })
    this.call.on("metadata", (metadata) => this.tell(options.onHeaders, metadata))
    // The status says it as well.
    const emitter: EventEmitter = this.call
    emitter.on("error", () => {})
    this.call.on("status", (status) => {
      this.isOver = true
      this.tell(options.onTrailers, status.metadata)
      // A success without a response is an error of its own.
      const failed = status.code === 0 ? answerError : status
      if (failed !== null) {
        this.failure ??= Effect.fail(
          this.isCutByStop && failed.code === GrpcError.codes.CANCELLED
            ? GrpcError.cancelled(`${channel.name} was stopped`)
            : ClientStatus.toError(failed)
        )
      }
      entry.end(failed === null ? "succeeded" : this.isCutByStop ? "interrupted" : "failed")
      this.notify()
    })
  }

  private tell(listener: CallOptions["onHeaders"], metadata: grpc.Metadata): void {
    if (listener === undefined) return
    try {
      leave(() => listener(ClientStatus.received(metadata)))
    } catch (defect) {
      this.fail(Cause.die(defect))
    }
  }

  cancel(): void {
    if (!this.isOver) this.call.cancel()
  }

  /** It cannot go on: the reason comes before the status that its cancellation will have. */
  fail(cause: Cause.Cause<unknown>): void {
    this.failure ??= Effect.failCause(cause)
    this.cancel()
    this.notify()
  }

  notify(): void {
    const wake = this.wake
    this.wake = undefined
    if (wake !== undefined) leave(wake)
  }

  /** Waits until `isReady`, which is asked now and after each notification. */
  until(isReady: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (isReady()) return resume(Effect.void)
      this.wake = () => resume(isReady() ? Effect.void : this.until(isReady))
      return Effect.sync(() => {
        this.wake = undefined
      })
    })
  }

  /** Waits for the status; interruption cancels. */
  readonly result: Effect.Effect<unknown, unknown> = Effect.onInterrupt(
    Effect.andThen(
      this.until(() => this.isOver),
      Effect.suspend(() => this.failure ?? Effect.succeed(this.response))
    ),
    () => Effect.sync(() => this.cancel())
  )
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
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      open(channel, codec, options, (metadata, callOptions, answer) =>
        channel.client.makeUnaryRequest(
          codec.path,
          codec.serialize,
          codec.deserialize,
          request,
          metadata,
          callOptions,
          answer
        )),
      (rpc) => Effect.onInterrupt(restore(rpc.result), () => Effect.sync(() => rpc.cancel()))
    )
  )

const serverStream = (channel: Channel, codec: Codec) => (request: unknown, options: CallOptions) =>
  Stream.unwrap(Effect.map(
    openScoped(channel, codec, options, (metadata, callOptions) =>
      channel.client.makeServerStreamRequest(
        codec.path,
        codec.serialize,
        codec.deserialize,
        request,
        metadata,
        callOptions
      )),
    responses
  ))

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
      (rpc) => Effect.raceFirst(rpc.result, Effect.andThen(send(rpc, requests), Effect.never))
    ))

const bidi = (channel: Channel, codec: Codec) => (requests: Stream.Stream<unknown, unknown>, options: CallOptions) =>
  Stream.unwrap(Effect.gen(function*() {
    const rpc = yield* openScoped(
      channel,
      codec,
      options,
      (metadata, callOptions) =>
        channel.client.makeBidiStreamRequest(codec.path, codec.serialize, codec.deserialize, metadata, callOptions)
    )
    const sending = yield* Effect.forkScoped(send(rpc, requests))
    sending.addObserver((exit) => {
      if (Exit.isFailure(exit) && !rpc.isOver) rpc.fail(exit.cause)
    })
    // Before the requests are interrupted: their finalizers may take their time.
    yield* Effect.addFinalizer(() => Effect.sync(() => rpc.cancel()))
    return responses(rpc)
  }))

// The beginning

const open = <C extends Surface>(
  channel: Channel,
  { path }: Codec,
  options: CallOptions,
  start: (metadata: grpc.Metadata, options: grpc.CallOptions, answer: Answer) => C
): Effect.Effect<Rpc<C>, GrpcError.GrpcError> =>
  Effect.flatMap(Effect.context<never>(), (context) => {
    const metadata = headers(context, options)
    const callOptions = { deadline: deadline(context, options) }
    const entry = channel.admit(path)
    if (entry === undefined) {
      const cause = new Refused({ kind: path.slice(1) })
      return Effect.fail(GrpcError.unavailable(`${channel.name} is stopping: no new RPCs`, cause))
    }
    try {
      return Effect.succeed(
        new Rpc((answer) => channel.enter(() => start(metadata, callOptions, answer)), channel, entry, options)
      )
    } catch (defect) {
      entry.end("failed")
      return Effect.die(defect)
    }
  })

const openScoped = <C extends Surface>(
  channel: Channel,
  codec: Codec,
  options: CallOptions,
  start: (metadata: grpc.Metadata, options: grpc.CallOptions, answer: Answer) => C
): Effect.Effect<Rpc<C>, GrpcError.GrpcError, Scope.Scope> =>
  Effect.acquireRelease(open(channel, codec, options, start), (rpc) => Effect.sync(() => rpc.cancel()))

/** In milliseconds of the machine's clock, which grpc-js measures by on both sides. */
const deadline = (context: Context.Context<never>, options: CallOptions): number => {
  const own = options.deadline === undefined
    ? Number.POSITIVE_INFINITY
    : Date.now() + Duration.toMillis(Duration.fromInputUnsafe(options.deadline))
  return Option.match(Context.getOption(context, GrpcCall), {
    onNone: () => own,
    onSome: (served) => Math.min(own, served.deadline)
  })
}

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

/** At most as many as grpc-js reads ahead, 16, are taken at once. */
const maxChunk = 16

const responses = (rpc: Rpc<Readable>): Stream.Stream<unknown, unknown> => {
  const { call } = rpc
  call.on("readable", () => rpc.notify())
  const isReady = () => call.readableLength > 0 || rpc.isOver || rpc.failure !== undefined
  const pull: Pull.Pull<NonEmptyReadonlyArray<unknown>, unknown> = Effect.suspend(() => {
    const chunk: Array<unknown> = []
    while (chunk.length < maxChunk) {
      const message: unknown = call.read()
      if (message === null) break
      chunk.push(message)
    }
    if (chunk.length > 0) return Effect.succeed(chunk as unknown as NonEmptyReadonlyArray<unknown>)
    if (rpc.failure !== undefined) return rpc.failure
    if (rpc.isOver) return Cause.done()
    return Effect.andThen(rpc.until(isReady), pull)
  })
  return Stream.fromPull(Effect.succeed(pull))
}
