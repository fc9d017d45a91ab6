/** The codec of protobuf-es for a grpc-js definition, as Lastcall makes it from a descriptor. */
import { fromBinary, toBinary } from "@bufbuild/protobuf"
import { type Message, MessageSchema } from "../gen/lastcall/bench/v1/bench_pb.ts"
import * as Definition from "./Definition.ts"

export const definition = Definition.make({
  deserialize: (bytes) => fromBinary(MessageSchema, bytes),
  serialize(message) {
    const bytes = toBinary(MessageSchema, message as Message)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
})
