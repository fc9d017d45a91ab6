/** Reading the methods of a service out of its descriptor. */
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  isMessage,
  toBinary
} from "@bufbuild/protobuf"
import type { Called, ClientMethod, Served, ServerMethod } from "../GrpcDescriptor.ts"

/** One method: its place on the wire, and how its messages are read and written. */
export interface Codec {
  /** The name of the handler, or of the function of a client. */
  readonly key: string
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
  readonly deserialize: (bytes: Buffer) => unknown
  readonly serialize: (message: unknown) => Buffer
}

/** The methods of a service from the server's side. */
export const readServed = (
  descriptor: Served
): { readonly name: string; readonly codecs: ReadonlyArray<Codec> } => {
  if (isProtobufEs(descriptor)) {
    return { name: descriptor.typeName, codecs: descriptor.methods.map((method) => served(descriptor, method)) }
  }
  const codecs = Object.entries(descriptor as Record<string, ServerMethod>).map(([key, method]): Codec => ({
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

/** The methods of a service from the client's side. */
export const readCalled = (descriptor: Called): ReadonlyArray<Codec> =>
  isProtobufEs(descriptor)
    ? descriptor.methods.map((method) => called(descriptor, method))
    : Object.entries(descriptor as Record<string, ClientMethod>).map(([key, method]): Codec => ({
      key,
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      serialize: method.requestSerialize as Codec["serialize"],
      deserialize: method.responseDeserialize
    }))

/** `/pkg.Service/Method` is of service `pkg.Service`. */
export const serviceName = (path: string): string => path.slice(1, path.lastIndexOf("/"))

/** Told by what protobuf-es says of itself; the other descriptors are records of methods. */
export const isProtobufEs = <D extends object>(descriptor: D): descriptor is D & DescService =>
  "kind" in descriptor && descriptor.kind === "service"

const placeOf = (
  service: DescService,
  { localName, methodKind, name }: DescMethod
): Pick<Codec, "key" | "path" | "requestStream" | "responseStream"> => ({
  key: localName,
  path: `/${service.typeName}/${name}`,
  requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
  responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming"
})

/** The bytes of a message, or of a plain object with its fields. */
const encode = (schema: DescMessage, message: unknown): Buffer => {
  const bytes = toBinary(
    schema,
    isMessage(message, schema) ? message : create(schema, message as Record<string, unknown>)
  )
  return asBuffer(bytes)
}

/** V8 keeps typed arrays up to this size in its own heap; asking for the `ArrayBuffer` of one moves it out. */
const maxInHeap = 64

/** A small one is copied into Node's pool, which takes a third of the time of a view; a large one is not copied. */
const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes.byteLength <= maxInHeap ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const served = (service: DescService, method: DescMethod): Codec => {
  const { input, output } = method
  return {
    ...placeOf(service, method),
    deserialize: (bytes) => fromBinary(input, bytes),
    serialize(message) {
      // `create` takes undefined for an empty message: a handler that forgot its response must not succeed.
      if (typeof message !== "object" || message === null) throw new TypeError(`${output.typeName} is an object`)
      return encode(output, message)
    }
  }
}

const called = (service: DescService, method: DescMethod): Codec => {
  const { input, output } = method
  return {
    ...placeOf(service, method),
    serialize: (message) => encode(input, message),
    deserialize: (bytes) => fromBinary(output, bytes)
  }
}
