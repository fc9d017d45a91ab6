/** The codec of protobuf-es for a grpc-js definition, as Lastcall makes it from a descriptor. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import { type Message, MessageSchema } from "../gen/lastcall/bench/v1/bench_pb.ts"
import type { Counted } from "./Counted.ts"
import * as Definition from "./Definition.ts"

export const definition = Definition.make({
  deserialize: (bytes) => fromBinary(MessageSchema, bytes),
  serialize(message) {
    const bytes = toBinary(MessageSchema, message as Message)
    return bytes.byteLength <= 64 ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
})

export const counted: Counted = {
  read: (message) => (message as Message).count,
  make: (count) => create(MessageSchema, { count }),
  tick: create(MessageSchema, { text: "hello world" })
}
