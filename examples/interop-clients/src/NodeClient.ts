/** A bare grpc-js client: RPCs, and what a client sees of them when they have ended. */
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventEmitter } from "node:events"

/** A method whose messages the compiler knows. */
export type Method<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly input: I
  readonly output: O
}

/** An RPC that has ended, with whatever status. */
export interface Ended<O> {
  readonly headers: grpc.Metadata
  readonly responses: ReadonlyArray<O>
  readonly status: grpc.StatusObject
}

export interface CallOptions {
  readonly metadata?: grpc.Metadata
  readonly deadline?: Date
}

export const make = (
  target: string,
  credentials: grpc.ChannelCredentials
): Effect.Effect<grpc.Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new grpc.Client(target, credentials, { "grpc.use_local_subchannel_pool": 1 })),
    (client) => Effect.sync(() => client.close())
  )

const path = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`

const serialize = <I extends DescMessage>(desc: I) => (value: MessageInitShape<I>): Buffer =>
  Buffer.from(toBinary(desc, create(desc, value)))

const deserialize = <O extends DescMessage>(desc: O) => (bytes: Buffer): MessageShape<O> => fromBinary(desc, bytes)

/** What calls of all four kinds have in common. */
type Call = Pick<grpc.ClientUnaryCall, "cancel"> & Pick<EventEmitter, "on">

/** Resumes when the call has ended; cancels it if that is not waited for. */
const ended = <O>(
  start: (onResponse: (response: O) => void) => Call
): Effect.Effect<Ended<O>> =>
  Effect.callback((resume) => {
    const responses: Array<O> = []
    let headers = new grpc.Metadata()
    const call = start((response) => responses.push(response))
    call.on("metadata", (metadata: grpc.Metadata) => {
      headers = metadata
    })
    // A stream tells its end twice; the status has all of it.
    call.on("error", () => {})
    call.on("status", (status: grpc.StatusObject) => resume(Effect.succeed({ headers, responses, status })))
    return Effect.sync(() => call.cancel())
  })

const answered = <O>(onResponse: (response: O) => void) => (_: grpc.ServiceError | null, response?: O): void => {
  if (response !== undefined) onResponse(response)
}

export const unary = <I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: Method<I, O>,
  request: MessageInitShape<I>,
  { metadata = new grpc.Metadata(), ...options }: CallOptions = {}
): Effect.Effect<Ended<MessageShape<O>>> =>
  ended((onResponse) =>
    client.makeUnaryRequest(
      path(method),
      serialize<I>(method.input),
      deserialize<O>(method.output),
      request,
      metadata,
      options,
      answered(onResponse)
    )
  )

export const serverStream = <I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: Method<I, O>,
  request: MessageInitShape<I>
): Effect.Effect<Ended<MessageShape<O>>> =>
  ended((onResponse) => {
    const call = client.makeServerStreamRequest(
      path(method),
      serialize<I>(method.input),
      deserialize<O>(method.output),
      request
    )
    return call.on("data", onResponse)
  })

/** `begin` hears of the call when it has been started. */
export const clientStream = <I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: Method<I, O>,
  begin: (call: grpc.ClientWritableStream<MessageInitShape<I>>) => void
): Effect.Effect<Ended<MessageShape<O>>> =>
  ended((onResponse) => {
    const call = client.makeClientStreamRequest(
      path(method),
      serialize<I>(method.input),
      deserialize<O>(method.output),
      answered(onResponse)
    )
    begin(call)
    return call
  })

/** What a client does in a stream of both directions. */
export interface Talk<I> {
  readonly begin: (call: grpc.ClientDuplexStream<I, unknown>) => void
  /** A response has come, counted from 1. */
  readonly onResponse?: (call: grpc.ClientDuplexStream<I, unknown>, count: number) => void
}

export const duplex = <I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: Method<I, O>,
  { begin, onResponse }: Talk<MessageInitShape<I>>,
  { metadata = new grpc.Metadata(), ...options }: CallOptions = {}
): Effect.Effect<Ended<MessageShape<O>>> =>
  ended((gather) => {
    const call = client.makeBidiStreamRequest(
      path(method),
      serialize<I>(method.input),
      deserialize<O>(method.output),
      metadata,
      options
    )
    let count = 0
    call.on("data", (response: MessageShape<O>) => {
      gather(response)
      onResponse?.(call, ++count)
    })
    begin(call)
    return call
  })
