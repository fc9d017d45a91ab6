/** Messages that carry a number, in both codecs: `count` is the first field of `Message`, a fixed32. */
import { create } from "@bufbuild/protobuf"
import { type Message, MessageSchema } from "../gen/lastcall/bench/v1/bench_pb.ts"
import type { Codec } from "../ServerSpec.ts"

export interface Counted {
  readonly read: (message: unknown) => number
  readonly make: (count: number) => unknown
}

const identity: Counted = {
  read: (message) => (message as Buffer).readUInt32LE(1),
  make(count) {
    const bytes = Buffer.from([0x0d, 0, 0, 0, 0])
    bytes.writeUInt32LE(count, 1)
    return bytes
  }
}

const protobufEs: Counted = {
  read: (message) => (message as Message).count,
  make: (count) => create(MessageSchema, { count })
}

export const of = (codec: Codec): Counted => codec === "identity" ? identity : protobufEs

/** What a server stream sends over and over: `text` of eleven characters, 13 bytes on the wire. */
export const tick = (codec: Codec): unknown =>
  codec === "identity"
    ? Buffer.from([0x12, 0x0b, ...Buffer.from("hello world")])
    : create(MessageSchema, { text: "hello world" })
