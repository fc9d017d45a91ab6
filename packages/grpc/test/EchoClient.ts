/** A bare grpc-js client of the test service: what any client in the field is. */
import { create, type DescMethod, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventEmitter } from "node:events"
import * as http2 from "node:http2"
import { Readable } from "node:stream"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

const bytes = (array: Uint8Array): Buffer => Buffer.from(array.buffer, array.byteOffset, array.byteLength)

const method = (service: DescService, desc: DescMethod): grpc.MethodDefinition<object, object> => ({
  path: `/${service.typeName}/${desc.name}`,
  requestStream: desc.methodKind === "client_streaming" || desc.methodKind === "bidi_streaming",
  responseStream: desc.methodKind === "server_streaming" || desc.methodKind === "bidi_streaming",
  requestSerialize: (value) => bytes(toBinary(desc.input, create(desc.input, { ...value }))),
  requestDeserialize: (buffer) => fromBinary(desc.input, buffer),
  responseSerialize: (value) => bytes(toBinary(desc.output, create(desc.output, { ...value }))),
  responseDeserialize: (buffer) => fromBinary(desc.output, buffer)
})

/** A service as a grpc-js `ServiceDefinition`. */
export const definitionOf = (service: DescService): grpc.ServiceDefinition =>
  Object.fromEntries(service.methods.map((desc) => [desc.localName, method(service, desc)]))

/** The test service as a grpc-js `ServiceDefinition`. */
export const definition: grpc.ServiceDefinition = definitionOf(EchoService)

/** What a client sees of a call: headers, trailers, status. */
export const observe = (call: EventEmitter) =>
  Effect.callback<{ readonly headers: grpc.Metadata; readonly status: grpc.StatusObject }>((resume) => {
    let headers = new grpc.Metadata()
    call.on("metadata", (metadata: grpc.Metadata) => {
      headers = metadata
    })
    if (call instanceof Readable) call.resume()
    call.on("error", () => {})
    call.on("status", (status: grpc.StatusObject) => resume(Effect.succeed({ headers, status })))
  })

export interface EchoClient extends grpc.Client {
  say(
    request: { text: string },
    options: grpc.CallOptions,
    callback: (error: grpc.ServiceError | null, response?: { text: string }) => void
  ): grpc.ClientUnaryCall
  count(request: { to: number; padding?: number }, options?: grpc.CallOptions): grpc.ClientReadableStream<{ n: number }>
  sum(
    callback: (error: grpc.ServiceError | null, response?: { total: number }) => void
  ): grpc.ClientWritableStream<{ n: number }>
  chat(): grpc.ClientDuplexStream<{ text: string }, { text: string }>
}

const Client = grpc.makeClientConstructor(definition, "lastcall.test.v1.EchoService")

/** What a client sees of a failed RPC. */
export class StatusError extends Data.TaggedError("StatusError")<{ readonly code: number; readonly details: string }> {
  override get message(): string {
    return `${grpc.status[this.code]}: ${this.details}`
  }
}

export const toStatusError = (error: grpc.ServiceError): StatusError =>
  new StatusError({ code: error.code, details: error.details })

export const make = (
  target: string,
  options: grpc.ChannelOptions = {},
  credentials: grpc.ChannelCredentials = grpc.credentials.createInsecure()
): Effect.Effect<EchoClient, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new Client(target, credentials, { "grpc.use_local_subchannel_pool": 1, ...options }) as unknown as EchoClient
    ),
    (client) => Effect.sync(() => client.close())
  )

export const say = (
  client: EchoClient,
  text: string,
  options: grpc.CallOptions = {}
): Effect.Effect<string, StatusError> =>
  Effect.callback((resume) => {
    const call = client.say({ text }, options, (error, response) =>
      resume(error === null ? Effect.succeed(response!.text) : Effect.fail(toStatusError(error))))
    return Effect.sync(() =>
      call.cancel()
    )
  })

/** A client stream that is open, and its response. */
export interface Summing {
  readonly call: grpc.ClientWritableStream<{ n: number }>
  readonly total: Effect.Effect<number, StatusError>
}

export const sum = (client: EchoClient): Summing => {
  const total = Deferred.makeUnsafe<number, StatusError>()
  const call = client.sum((error, response) => {
    Deferred.doneUnsafe(total, error === null ? Effect.succeed(response!.total) : Effect.fail(toStatusError(error)))
  })
  call.on("error", () => {})
  return { call, total: Deferred.await(total) }
}

/** The messages of a response stream, and its end. */
export interface Received<A> {
  readonly messages: ReadonlyArray<A>
  readonly status: { readonly code: number; readonly details: string }
}

/** Gathers a response stream to its end; `onMessage` hears of each message when it comes. */
export const gather = <A>(
  call: grpc.ClientReadableStream<A> | grpc.ClientDuplexStream<never, A>,
  onMessage?: (message: A, index: number) => void
): Effect.Effect<Received<A>> =>
  Effect.callback((resume) => {
    const messages: Array<A> = []
    call.on("data", (message: A) => {
      messages.push(message)
      onMessage?.(message, messages.length - 1)
    })
    call.on("error", () => {})
    call.on("status", ({ code, details }: grpc.StatusObject) =>
      resume(Effect.succeed({ messages, status: { code, details } })))
    return Effect.sync(() =>
      call.cancel()
    )
  })

/** The path of the server stream, for peers that speak bare HTTP/2. */
export const countPath = "/lastcall.test.v1.EchoService/Count"

/** An empty protobuf message in its gRPC frame. */
export const emptyMessage: Buffer = Buffer.alloc(5)

/** A bare HTTP/2 client session. */
export const session = (port: number): Effect.Effect<http2.ClientHttp2Session, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<http2.ClientHttp2Session>((resume) => {
      const session = http2.connect(`http://127.0.0.1:${port}`)
      session.on("error", () => {})
      session.once("connect", () => resume(Effect.succeed(session)))
    }),
    (session) => Effect.sync(() => session.destroy())
  )
