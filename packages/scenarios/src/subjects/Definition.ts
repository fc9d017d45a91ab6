/** The service as grpc-js, nice-grpc and NestJS are told of it. */
import { create, type DescMessage, type DescMethod, fromBinary, toBinary } from "@bufbuild/protobuf"
import type { ServiceDefinition } from "@grpc/grpc-js"
import { ScenarioService } from "../gen/lastcall/scenarios/v1/scenarios_pb.ts"
import type { Request, Response } from "./Handlers.ts"

const encode = (type: DescMessage) => (value: object): Buffer => {
  const bytes = toBinary(type, create(type, { ...value }))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const method = <In extends boolean, Out extends boolean>(desc: DescMethod, requestStream: In, responseStream: Out) => ({
  path: `/${ScenarioService.typeName}/${desc.name}` as const,
  requestStream,
  responseStream,
  requestSerialize: encode(desc.input),
  requestDeserialize: (bytes: Buffer) => fromBinary(desc.input, bytes) as unknown as Request,
  responseSerialize: encode(desc.output),
  responseDeserialize: (bytes: Buffer) => fromBinary(desc.output, bytes) as unknown as Response
})

export const definition = {
  unary: method(ScenarioService.method.unary, false, false),
  serverStream: method(ScenarioService.method.serverStream, false, true),
  clientStream: method(ScenarioService.method.clientStream, true, false),
  bidi: method(ScenarioService.method.bidi, true, true)
} satisfies ServiceDefinition
