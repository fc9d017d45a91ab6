/** Messages that carry a number, in both codecs: `count` is the first field of `Message`, a fixed32. */
import type { Codec } from "../ServerSpec.ts"

export interface Counted {
  readonly read: (message: unknown) => number
  readonly make: (count: number) => unknown
  /** What a server stream sends over and over: `text` of eleven characters, 13 bytes on the wire. */
  readonly tick: unknown
}

export const identity = {
  read: (message: unknown): number => (message as Buffer).readUInt32LE(1),
  make(count: number): Buffer {
    const bytes = Buffer.from([0x0d, 0, 0, 0, 0])
    bytes.writeUInt32LE(count, 1)
    return bytes
  },
  tick: Buffer.from([0x12, 0x0b, ...Buffer.from("hello world")])
} satisfies Counted

/** A server of the other codec does not load protobuf-es. */
export const of = async (codec: Codec): Promise<Counted> =>
  codec === "identity" ? identity : (await import("./ProtobufEs.ts")).counted
