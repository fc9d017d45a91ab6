/** One request, one response. */
import { status } from "@grpc/grpc-js"
import { TestService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import * as NodeClient from "../NodeClient.ts"
import { assertPayloads, assertStatus, type InteropCase, zeros } from "./InteropCase.ts"

export const emptyUnary: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.unary(client, TestService.method.emptyCall, {})
  assertStatus(ended, status.OK)
  assert.equal(ended.responses.length, 1)
})

export const largeUnary: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.unary(client, TestService.method.unaryCall, {
    responseSize: 314_159,
    payload: zeros(271_828)
  })
  assertPayloads(ended, 314_159)
})
