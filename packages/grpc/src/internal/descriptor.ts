/** Reading the methods of a service out of its descriptor. */
import { create, type DescMethod, type DescService, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf"
import type { Descriptor, MethodDefinition } from "../GrpcService.ts"

/** One method: its place on the wire, and how its messages are read and written. */
export interface Codec {
  /** The name of the handler. */
  readonly key: string
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly deserialize: (bytes: Buffer) => unknown
  readonly serialize: (message: unknown) => Buffer
}

export const readMethods = (
  descriptor: Descriptor
): { readonly name: string; readonly codecs: ReadonlyArray<Codec> } => {
  if (isProtobufEs(descriptor)) {
    return { name: descriptor.typeName, codecs: descriptor.methods.map((method) => fromDescMethod(descriptor, method)) }
  }
  const codecs = Object.entries(descriptor as Record<string, MethodDefinition>).map(([key, method]): Codec => ({
    key,
    path: method.path,
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    deserialize: method.requestDeserialize,
    serialize: method.responseSerialize as Codec["serialize"]
  }))
  if (codecs.length === 0) throw new TypeError("a service definition without methods")
  return { name: serviceName(codecs[0]!.path), codecs }
}

/** `/pkg.Service/Method` is of service `pkg.Service`. */
export const serviceName = (path: string): string => path.slice(1, path.lastIndexOf("/"))

const isProtobufEs = (descriptor: Descriptor): descriptor is Descriptor & DescService =>
  "kind" in descriptor && (descriptor.kind as unknown) === "service"

const fromDescMethod = (service: DescService, method: DescMethod): Codec => {
  const { input, methodKind, output } = method
  return {
    key: method.localName,
    path: `/${service.typeName}/${method.name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    deserialize: (bytes) => fromBinary(input, bytes),
    serialize(message) {
      // `create` takes undefined for an empty message: a handler that forgot its response must not succeed.
      if (typeof message !== "object" || message === null) throw new TypeError(`${output.typeName} is an object`)
      const bytes = toBinary(
        output,
        isMessage(message, output) ? message : create(output, message as Record<string, unknown>)
      )
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
  }
}
