/** Statuses other than OK. */
import { status } from "@grpc/grpc-js"
import { TestService, UnimplementedService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import * as Effect from "effect/Effect"
import * as NodeClient from "../NodeClient.ts"
import { assertStatus, type InteropCase } from "./InteropCase.ts"

export const statusCodeAndMessage: InteropCase = Effect.fnUntraced(function*(client) {
  const responseStatus = { code: status.UNKNOWN, message: "test status message" }
  const unary = yield* NodeClient.unary(client, TestService.method.unaryCall, { responseStatus })
  assertStatus(unary, status.UNKNOWN, responseStatus.message)
  const stream = yield* NodeClient.duplex(client, TestService.method.fullDuplexCall, {
    begin(call) {
      call.write({ responseStatus })
      call.end()
    }
  })
  assertStatus(stream, status.UNKNOWN, responseStatus.message)
})

export const specialStatusMessage: InteropCase = Effect.fnUntraced(function*(client) {
  const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
  const ended = yield* NodeClient.unary(client, TestService.method.unaryCall, {
    responseStatus: { code: status.UNKNOWN, message }
  })
  assertStatus(ended, status.UNKNOWN, message)
})

export const unimplementedMethod: InteropCase = Effect.fnUntraced(function*(client) {
  assertStatus(yield* NodeClient.unary(client, TestService.method.unimplementedCall, {}), status.UNIMPLEMENTED)
})

export const unimplementedService: InteropCase = Effect.fnUntraced(function*(client) {
  const ended = yield* NodeClient.unary(client, UnimplementedService.method.unimplementedCall, {})
  assertStatus(ended, status.UNIMPLEMENTED)
})
