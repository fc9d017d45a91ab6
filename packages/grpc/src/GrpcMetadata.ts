/**
 * The metadata of an RPC: headers that the client sends, headers and trailers that the server answers with.
 *
 * A value, not a builder: functions return new metadata. Keys are case-insensitive and may have several values. The values
 * of keys that end in `-bin` are bytes; all others are printable ASCII, without spaces at their ends, which gRPC does not keep.
 * Several texts of a key arrive as one, joined by ", ": HTTP knows no difference.
 *
 * Keys that HTTP knows once (`authorization`, `etag`, `retry-after`, ...) have one value, the last that they were given.
 *
 * @since 0.1.0
 */
import { Metadata } from "@grpc/grpc-js"
import * as Data from "effect/Data"
import { isSendable, legalName, onlyOnce, reserved } from "./internal/headerFields.ts"

/**
 * The value of a key: text, or bytes for keys that end in `-bin`.
 *
 * @category models
 * @since 0.1.0
 */
export type Value = string | Uint8Array

/**
 * Metadata, in the order in which it was added.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcMetadata {
  readonly entries: ReadonlyArray<readonly [key: string, value: Value]>
}

/**
 * A key or a value that metadata cannot have. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export class GrpcMetadataError extends Data.TaggedError("GrpcMetadataError")<{
  readonly key: string
  readonly reason: string
}> {
  override get message(): string {
    return `metadata key ${JSON.stringify(this.key)}: ${this.reason}`
  }
}

/**
 * No metadata.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: GrpcMetadata = { entries: [] }

/**
 * Metadata of a record; a key with several values has an array. Throws {@link GrpcMetadataError}, also for several values of
 * a key that HTTP knows once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (record: { readonly [key: string]: Value | ReadonlyArray<Value> }): GrpcMetadata => {
  const entries: Array<readonly [string, Value]> = []
  for (const [key, values] of Object.entries(record)) {
    for (const value of isMany(values) ? values : [values]) {
      const entry = checked(key, value)
      if (onlyOnce.has(entry[0]) && entries.some(([other]) => other === entry[0])) {
        throw new GrpcMetadataError({ key, reason: "HTTP knows it once: it has one value" })
      }
      entries.push(entry)
    }
  }
  return { entries }
}

/**
 * Adds a value to those of a key; one that HTTP knows once has this value then. Throws {@link GrpcMetadataError}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const append = (self: GrpcMetadata, key: string, value: Value): GrpcMetadata =>
  merge(self, { entries: [checked(key, value)] })

/**
 * Gives a key this one value. Throws {@link GrpcMetadataError}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const set = (self: GrpcMetadata, key: string, value: Value): GrpcMetadata =>
  append(remove(self, key), key, value)

/**
 * Without the key.
 *
 * @category combinators
 * @since 0.1.0
 */
export const remove = (self: GrpcMetadata, key: string): GrpcMetadata => {
  const name = key.toLowerCase()
  return { entries: self.entries.filter(([other]) => other !== name) }
}

/**
 * All of both; a key of both has the values of both, and one that HTTP knows once that of `that`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const merge = (self: GrpcMetadata, that: GrpcMetadata): GrpcMetadata => {
  if (self.entries.length === 0) return that
  if (that.entries.length === 0) return self
  const replaced = that.entries.filter(([key]) => onlyOnce.has(key))
  const kept = self.entries.filter(([key]) => !replaced.some(([other]) => other === key))
  return { entries: [...kept, ...that.entries] }
}

/**
 * The first value of a text key; `undefined` without one.
 *
 * @category getters
 * @since 0.1.0
 */
export const get = (self: GrpcMetadata, key: string): string | undefined => {
  const name = key.toLowerCase()
  const found = self.entries.find(([other, value]) => other === name && typeof value === "string")
  return found?.[1] as string | undefined
}

/**
 * All values of a text key.
 *
 * @category getters
 * @since 0.1.0
 */
export const getAll = (self: GrpcMetadata, key: string): ReadonlyArray<string> =>
  values(self, key).filter((value) => typeof value === "string")

/**
 * The first value of a `-bin` key; `undefined` without one.
 *
 * @category getters
 * @since 0.1.0
 */
export const getBinary = (self: GrpcMetadata, key: string): Uint8Array | undefined => getAllBinary(self, key)[0]

/**
 * All values of a `-bin` key.
 *
 * @category getters
 * @since 0.1.0
 */
export const getAllBinary = (self: GrpcMetadata, key: string): ReadonlyArray<Uint8Array> =>
  values(self, key).filter((value) => typeof value !== "string")

/**
 * From grpc-js's `Metadata`.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromGrpcJs = (metadata: Metadata): GrpcMetadata => {
  const entries: Array<readonly [string, Value]> = []
  const record = metadata.toJSON()
  for (const key in record) {
    for (const value of record[key]!) entries.push([key, value])
  }
  return { entries }
}

/**
 * To grpc-js's `Metadata`, as it can be sent: what HTTP/2 forbids and what gRPC says by itself is left out, so that metadata
 * that was received can be passed on.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toGrpcJs = (self: GrpcMetadata): Metadata => {
  const metadata = new Metadata()
  for (const [key, value] of self.entries) {
    const name = key.toLowerCase()
    if (!isSendable(name)) continue
    const sent = typeof value === "string" ? value : Buffer.from(value)
    if (onlyOnce.has(name)) metadata.set(name, sent)
    else metadata.add(name, sent)
  }
  return metadata
}

const values = (self: GrpcMetadata, key: string): ReadonlyArray<Value> => {
  const name = key.toLowerCase()
  return self.entries.filter(([other]) => other === name).map(([, value]) => value)
}

const isMany = (values: Value | ReadonlyArray<Value>): values is ReadonlyArray<Value> => Array.isArray(values)

const legalText = /^[\x20-\x7e]*$/

const checked = (key: string, value: Value): readonly [string, Value] => {
  const name = key.toLowerCase()
  if (!legalName.test(name)) {
    throw new GrpcMetadataError({ key, reason: "a key has letters, digits, and the characters _ . -" })
  }
  if (name.startsWith("grpc-")) {
    throw new GrpcMetadataError({ key, reason: "keys that begin with grpc- are gRPC's own" })
  }
  if (reserved.has(name)) throw new GrpcMetadataError({ key, reason: "it is a header of HTTP/2 or of gRPC itself" })
  if (name.endsWith("-bin")) {
    if (typeof value === "string") throw new GrpcMetadataError({ key, reason: "the value of a -bin key is bytes" })
  } else if (typeof value !== "string") {
    throw new GrpcMetadataError({ key, reason: "the value is text; bytes need a key that ends in -bin" })
  } else if (!legalText.test(value)) {
    throw new GrpcMetadataError({ key, reason: "the value has characters that are no printable ASCII" })
  }
  return [name, typeof value === "string" ? value.trim() : value]
}
