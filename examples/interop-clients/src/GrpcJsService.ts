/** The official `TestService` on bare grpc-js. */
import {
  create,
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import type {
  EchoStatus,
  SimpleRequest,
  StreamingInputCallRequest,
  StreamingOutputCallRequest
} from "@lastcall/example-interop-server/gen/grpc/testing/messages_pb"
import { TestService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"

const serialize = <D extends DescMessage>(desc: D) => (value: MessageInitShape<D>): Buffer =>
  Buffer.from(toBinary(desc, create(desc, value)))

const deserialize = <D extends DescMessage>(desc: D) => (bytes: Buffer): MessageShape<D> => fromBinary(desc, bytes)

const definitionOf = (service: DescService): grpc.ServiceDefinition =>
  Object.fromEntries(service.methods.map((method) => [method.localName, {
    path: `/${service.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: serialize(method.input),
    requestDeserialize: deserialize(method.input),
    responseSerialize: serialize(method.output),
    responseDeserialize: deserialize(method.output)
  }]))

type Call = Pick<grpc.ServerUnaryCall<unknown, unknown>, "metadata" | "sendMetadata">
type Answer<A> = grpc.sendUnaryData<A>

const initialKey = "x-grpc-test-echo-initial"
const trailingKey = "x-grpc-test-echo-trailing-bin"

const only = (key: string, from: grpc.Metadata): grpc.Metadata => {
  const metadata = new grpc.Metadata()
  for (const value of from.get(key)) metadata.add(key, value)
  return metadata
}

/** Sends the client's header back; returns its trailer. */
const echo = (call: Call): grpc.Metadata => {
  const headers = only(initialKey, call.metadata)
  if (headers.get(initialKey).length > 0) call.sendMetadata(headers)
  return only(trailingKey, call.metadata)
}

const failure = (status: EchoStatus | undefined, trailers: grpc.Metadata): Partial<grpc.StatusObject> | undefined =>
  status === undefined || status.code === 0
    ? undefined
    : { code: status.code, details: status.message, metadata: trailers }

const payload = (size: number) => ({ payload: { body: new Uint8Array(size) } })

type Writable =
  | grpc.ServerWritableStream<StreamingOutputCallRequest, object>
  | grpc.ServerDuplexStream<StreamingOutputCallRequest, object>

/** Whether the request asks for an error; it is answered with that, or with its payloads. */
const answer = (call: Writable, request: StreamingOutputCallRequest, trailers: grpc.Metadata): boolean => {
  const error = failure(request.responseStatus, trailers)
  if (error !== undefined) {
    call.emit("error", error)
    return true
  }
  for (const { size } of request.responseParameters) call.write(payload(size))
  return false
}

/** What has no method here is UNIMPLEMENTED, as it must be. */
const implementation: grpc.UntypedServiceImplementation = {
  emptyCall(call: grpc.ServerUnaryCall<object, object>, callback: Answer<object>) {
    callback(null, {}, echo(call))
  },
  unaryCall(call: grpc.ServerUnaryCall<SimpleRequest, object>, callback: Answer<object>) {
    const trailers = echo(call)
    const error = failure(call.request.responseStatus, trailers)
    if (error !== undefined) return callback(error)
    callback(null, payload(call.request.responseSize), trailers)
  },
  streamingOutputCall(call: grpc.ServerWritableStream<StreamingOutputCallRequest, object>) {
    const trailers = echo(call)
    if (!answer(call, call.request, trailers)) call.end(trailers)
  },
  streamingInputCall(call: grpc.ServerReadableStream<StreamingInputCallRequest, object>, callback: Answer<object>) {
    const trailers = echo(call)
    let aggregatedPayloadSize = 0
    call.on("data", ({ payload }: StreamingInputCallRequest) => {
      aggregatedPayloadSize += payload?.body.byteLength ?? 0
    })
    call.on("end", () => callback(null, { aggregatedPayloadSize }, trailers))
  },
  fullDuplexCall(call: grpc.ServerDuplexStream<StreamingOutputCallRequest, object>) {
    const trailers = echo(call)
    let hasFailed = false
    call.on("data", (request: StreamingOutputCallRequest) => {
      hasFailed ||= answer(call, request, trailers)
    })
    call.on("end", () => {
      if (!hasFailed) call.end(trailers)
    })
  }
}

export const addTo = (server: grpc.Server): void => server.addService(definitionOf(TestService), implementation)
