/** Reading the methods of a service out of its descriptor, from the client's side. */
import { type DescMethod, type DescService, fromBinary } from "@bufbuild/protobuf"
import type { Descriptor, MethodDefinition } from "../GrpcClient.ts"
import { type Codec, encode, isProtobufEs, placeOf } from "./descriptor.ts"

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

const fromDescMethod = (service: DescService, method: DescMethod): Codec => {
  const { input, output } = method
  return {
    ...placeOf(service, method),
    serialize: (message) => encode(input, message),
    deserialize: (bytes) => fromBinary(output, bytes)
  }
}
