/** Streams of requests, of responses, and of both. */
import { status } from "@grpc/grpc-js"
import { TestService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import * as NodeClient from "../NodeClient.ts"
import { assertPayloads, assertStatus, type InteropCase, zeros } from "./InteropCase.ts"

const requestSizes = [27_182, 8, 1_828, 45_904]
const responseSizes = [31_415, 9, 2_653, 58_979]

export const clientStreaming: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.clientStream(client, TestService.method.streamingInputCall, (call) => {
    for (const size of requestSizes) call.write({ payload: zeros(size) })
    call.end()
  })
  assertStatus(ended, status.OK)
  assert.deepEqual(ended.responses.map(({ aggregatedPayloadSize }) => aggregatedPayloadSize), [74_922])
})

export const serverStreaming: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.serverStream(client, TestService.method.streamingOutputCall, {
    responseParameters: responseSizes.map((size) => ({ size }))
  })
  assertPayloads(ended, ...responseSizes)
})

export const pingPong: InteropCase = Effect.fnUntraced(function*(client) {
  const request = (index: number) => ({
    responseParameters: [{ size: responseSizes[index]! }],
    payload: zeros(requestSizes[index]!)
  })
  const ended = yield* NodeClient.duplex(client, TestService.method.fullDuplexCall, {
    begin: (call) => void call.write(request(0)),
    onResponse(call, count) {
      if (count < requestSizes.length) call.write(request(count))
      else call.end()
    }
  })
  assertPayloads(ended, ...responseSizes)
})

export const emptyStream: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.duplex(client, TestService.method.fullDuplexCall, {
    begin: (call) => void call.end()
  })
  assertPayloads(ended)
})
