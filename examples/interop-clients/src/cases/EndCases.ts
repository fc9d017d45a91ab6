/** RPCs that their client ends: it cancels them, or has no more time. */
import { status } from "@grpc/grpc-js"
import { TestService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import * as NodeClient from "../NodeClient.ts"
import { assertStatus, type InteropCase, zeros } from "./InteropCase.ts"

export const cancelAfterBegin: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.clientStream(client, TestService.method.streamingInputCall, (call) => {
    // By then the headers are out. A cancellation in the same turn would send them, but no RST_STREAM (grpc-js 1.14): the
    // server would wait for requests as long as the connection lives.
    setImmediate(() => call.cancel())
  })
  assertStatus(ended, status.CANCELLED)
})

export const cancelAfterFirstResponse: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.duplex(client, TestService.method.fullDuplexCall, {
    begin: (call) => void call.write({ responseParameters: [{ size: 31_415 }], payload: zeros(27_182) }),
    onResponse: (call) => call.cancel()
  })
  assertStatus(ended, status.CANCELLED)
  assert.equal(ended.responses.length, 1)
})

export const timeoutOnSleepingServer: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.duplex(
    client,
    TestService.method.fullDuplexCall,
    { begin: (call) => void call.write({ payload: zeros(27_182) }) },
    { deadline: new Date(Date.now() + 1) }
  )
  assertStatus(ended, status.DEADLINE_EXCEEDED)
})
