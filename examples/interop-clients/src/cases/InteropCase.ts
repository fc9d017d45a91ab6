/** A case of gRPC's interoperability tests: what a client does, and what it must see. */
import type { Client } from "@grpc/grpc-js"
import * as grpc from "@grpc/grpc-js"
import type * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import type { Ended } from "../NodeClient.ts"

/** It dies with an `AssertionError` if the server does not answer as it must. */
export type InteropCase = (client: Client) => Effect.Effect<void>

export const zeros = (size: number) => ({ body: new Uint8Array(size) })

export const assertStatus = ({ status }: Ended<unknown>, code: grpc.status, details?: string): void => {
  assert.equal(grpc.status[status.code], grpc.status[code], status.details)
  if (details !== undefined) assert.equal(status.details, details)
}

interface WithPayload {
  readonly payload?: { readonly body: Uint8Array } | undefined
}

/** The call was successful, and its payloads are of these sizes, in order, and zeros. */
export const assertPayloads = (ended: Ended<WithPayload>, ...sizes: ReadonlyArray<number>): void => {
  assertStatus(ended, grpc.status.OK)
  const bodies = ended.responses.map(({ payload }) => payload?.body ?? new Uint8Array())
  assert.deepEqual(bodies.map((body) => body.byteLength), sizes)
  assert.ok(bodies.every((body) => body.every((byte) => byte === 0)), "a payload that is not zeros")
}
