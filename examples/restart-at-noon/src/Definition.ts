/** The generated descriptors as grpc-js takes them. */
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js"

/** A method whose messages the compiler knows. */
export type TypedMethod<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly input: I
  readonly output: O
}

const encode = <D extends DescMessage>(desc: D) => (value: MessageInitShape<D>): Buffer => {
  const array = toBinary(desc, create(desc, value))
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}

const decode = <D extends DescMessage>(desc: D) => (bytes: Buffer): MessageShape<D> => fromBinary(desc, bytes)

export const method = <I extends DescMessage, O extends DescMessage>(desc: TypedMethod<I, O>) => ({
  path: `/${desc.parent.typeName}/${desc.name}`,
  requestStream: desc.methodKind === "client_streaming" || desc.methodKind === "bidi_streaming",
  responseStream: desc.methodKind === "server_streaming" || desc.methodKind === "bidi_streaming",
  requestSerialize: encode<I>(desc.input),
  requestDeserialize: decode<I>(desc.input),
  responseSerialize: encode<O>(desc.output),
  responseDeserialize: decode<O>(desc.output)
})

export const service = (desc: DescService): ServiceDefinition =>
  Object.fromEntries(
    desc.methods.map((m): [string, MethodDefinition<MessageInitShape<DescMessage>, MessageInitShape<DescMessage>>] => [
      m.localName,
      method(m)
    ])
  )
