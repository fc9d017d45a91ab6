/** Metadata of the client's own that comes back. */
import { Metadata } from "@grpc/grpc-js"
import { TestService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import * as NodeClient from "../NodeClient.ts"
import { assertPayloads, type InteropCase, zeros } from "./InteropCase.ts"

const initialKey = "x-grpc-test-echo-initial"
const initialValue = "test_initial_metadata_value"
const trailingKey = "x-grpc-test-echo-trailing-bin"
const trailingValue = Buffer.from([0xab, 0xab, 0xab])

const assertEchoed = ({ headers, status }: NodeClient.Ended<unknown>): void => {
  assert.deepEqual(headers.get(initialKey), [initialValue])
  assert.deepEqual(status.metadata.get(trailingKey), [trailingValue])
}

export const customMetadata: InteropCase = Effect.fnUntraced(function*(client) {
  const metadata = new Metadata()
  metadata.set(initialKey, initialValue)
  metadata.set(trailingKey, trailingValue)
  const unary = yield* NodeClient.unary(
    client,
    TestService.method.unaryCall,
    { responseSize: 314_159, payload: zeros(271_828) },
    { metadata }
  )
  assertPayloads(unary, 314_159)
  assertEchoed(unary)
  const stream = yield* NodeClient.duplex(
    client,
    TestService.method.fullDuplexCall,
    {
      begin(call) {
        call.write({ responseParameters: [{ size: 314_159 }], payload: zeros(271_828) })
        call.end()
      }
    },
    { metadata }
  )
  assertPayloads(stream, 314_159)
  assertEchoed(stream)
})
