/** Reading the methods of a service out of its descriptor, from the client's side. */
import { create, type DescMethod, type DescService, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf"
import type { Descriptor, MethodDefinition } from "../GrpcClient.ts"

/** One method: its place on the wire, and how its messages are written and read. */
export interface Codec {
  /** The name of the function. */
  readonly key: string
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly serialize: (message: unknown) => Buffer
  readonly deserialize: (bytes: Buffer) => unknown
}

export const readMethods = (descriptor: Descriptor): ReadonlyArray<Codec> =>
  isProtobufEs(descriptor)
    ? descriptor.methods.map((method) => fromDescMethod(descriptor, method))
    : Object.entries(descriptor as Record<string, MethodDefinition>).map(([key, method]): Codec => ({
      key,
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      serialize: method.requestSerialize as Codec["serialize"],
      deserialize: method.responseDeserialize
    }))

const isProtobufEs = (descriptor: Descriptor): descriptor is Descriptor & DescService =>
  "kind" in descriptor && (descriptor.kind as unknown) === "service"

const fromDescMethod = (service: DescService, method: DescMethod): Codec => {
  const { input, methodKind, output } = method
  return {
    key: method.localName,
    path: `/${service.typeName}/${method.name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    serialize(message) {
      const bytes = toBinary(
        input,
        isMessage(message, input) ? message : create(input, message as Record<string, unknown>)
      )
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    },
    deserialize: (bytes) => fromBinary(output, bytes)
  }
}
