/** The service as grpc-js, nice-grpc and NestJS are told of it. */
import type { ServiceDefinition } from "@grpc/grpc-js"

interface Codec {
  readonly deserialize: (bytes: Buffer) => unknown
  readonly serialize: (message: unknown) => Buffer
}

const bytes = (value: Buffer): Buffer => value
const identity: Codec = { deserialize: bytes, serialize: bytes as Codec["serialize"] }

export const make = (codec: Codec = identity) => {
  const method = <Path extends string, In extends boolean, Out extends boolean>(
    name: Path,
    requestStream: In,
    responseStream: Out
  ) => ({
    path: `/lastcall.bench.v1.BenchService/${name}` as const,
    requestStream,
    responseStream,
    requestSerialize: codec.serialize,
    requestDeserialize: codec.deserialize,
    responseSerialize: codec.serialize,
    responseDeserialize: codec.deserialize
  })
  return {
    unary: method("Unary", false, false),
    serverStream: method("ServerStream", false, true),
    clientStream: method("ClientStream", true, false),
    bidi: method("Bidi", true, true)
  } satisfies ServiceDefinition
}
