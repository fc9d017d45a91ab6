/** The cases with Lastcall's client: what its user sees of each. */
import type { TestService, UnimplementedService } from "@lastcall/example-interop-server/gen/grpc/testing/test_pb"
import type * as GrpcClient from "@lastcall/grpc/GrpcClient"
import { type Code, GrpcError } from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import type { CaseName } from "./InteropCases.ts"

export interface Clients {
  readonly test: GrpcClient.Client<typeof TestService>
  readonly unimplemented: GrpcClient.Client<typeof UnimplementedService>
}

/** It fails, or dies with an `AssertionError`, if the server or the client does not do as it must. */
export type LastcallCase = (clients: Clients) => Effect.Effect<void, GrpcError>

const requestSizes = [27_182, 8, 1_828, 45_904]
const responseSizes = [31_415, 9, 2_653, 58_979]

const zeros = (size: number) => ({ body: new Uint8Array(size) })

const large = { responseSize: 314_159, payload: zeros(271_828) }
const largeStream = { responseParameters: [{ size: 314_159 }], payload: zeros(271_828) }

interface WithPayload {
  readonly payload?: { readonly body: Uint8Array } | undefined
}

const assertPayloads = (responses: ReadonlyArray<WithPayload>, ...sizes: ReadonlyArray<number>): void => {
  const bodies = responses.map(({ payload }) => payload?.body ?? new Uint8Array())
  assert.deepEqual(bodies.map((body) => body.byteLength), sizes)
  assert.ok(bodies.every((body) => body.every((byte) => byte === 0)), "a payload that is not zeros")
}

const assertFails = Effect.fnUntraced(function*(
  rpc: Effect.Effect<unknown, GrpcError>,
  code: Code,
  message?: string
) {
  const exit = yield* Effect.exit(rpc)
  const error = Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined
  assert.ok(error instanceof GrpcError, `no error of gRPC: ${String(exit)}`)
  assert.equal(error.code, code, error.message)
  if (message !== undefined) assert.equal(error.message, message)
})

// Unary

const emptyUnary: LastcallCase = ({ test }) => Effect.asVoid(test.emptyCall({}))

const largeUnary: LastcallCase = ({ test }) =>
  Effect.map(test.unaryCall(large), (response) => assertPayloads([response], 314_159))

// Streams

const clientStreaming: LastcallCase = ({ test }) =>
  test.streamingInputCall(Stream.fromIterable(requestSizes.map((size) => ({ payload: zeros(size) })))).pipe(
    Effect.map(({ aggregatedPayloadSize }) => assert.equal(aggregatedPayloadSize, 74_922))
  )

const serverStreaming: LastcallCase = ({ test }) =>
  Stream.runCollect(
    test.streamingOutputCall({ responseParameters: responseSizes.map((size) => ({ size })) })
  ).pipe(Effect.map((responses) => assertPayloads(responses, ...responseSizes)))

const pingPong: LastcallCase = Effect.fnUntraced(function*({ test }) {
  const request = (index: number) => ({
    responseParameters: [{ size: responseSizes[index]! }],
    payload: zeros(requestSizes[index]!)
  })
  const requests = yield* Queue.unbounded<ReturnType<typeof request>, Cause.Done>()
  yield* Queue.offer(requests, request(0))
  let count = 0
  const responses = yield* test.fullDuplexCall(Stream.fromQueue(requests)).pipe(
    Stream.tap(() => ++count < requestSizes.length ? Queue.offer(requests, request(count)) : Queue.end(requests)),
    Stream.runCollect
  )
  assertPayloads(responses, ...responseSizes)
})

const emptyStream: LastcallCase = ({ test }) =>
  Effect.map(Stream.runCollect(test.fullDuplexCall(Stream.empty)), (responses) => assertPayloads(responses))

// RPCs that the client ends

const oneTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

const cancelAfterBegin: LastcallCase = Effect.fnUntraced(function*({ test }) {
  let isOver = false
  const rpc = yield* Effect.forkChild(
    test.streamingInputCall(Stream.never, {
      onTrailers() {
        isOver = true
      }
    }),
    { startImmediately: true }
  )
  yield* oneTurn
  assert.equal(rpc.pollUnsafe(), undefined)
  yield* Fiber.interrupt(rpc)
  assert.ok(Exit.hasInterrupts(yield* Fiber.await(rpc)), "it was not interrupted")
  while (!isOver) yield* oneTurn
})

const cancelAfterFirstResponse: LastcallCase = Effect.fnUntraced(function*({ test }) {
  let isOver = false
  const request = { responseParameters: [{ size: 31_415 }], payload: zeros(27_182) }
  const responses = yield* test.fullDuplexCall(Stream.concat(Stream.make(request), Stream.never), {
    onTrailers() {
      isOver = true
    }
  }).pipe(Stream.take(1), Stream.runCollect)
  assertPayloads(responses, 31_415)
  while (!isOver) yield* oneTurn
})

const timeoutOnSleepingServer: LastcallCase = ({ test }) =>
  assertFails(
    Stream.runDrain(
      test.fullDuplexCall(Stream.concat(Stream.make({ payload: zeros(27_182) }), Stream.never), { deadline: 1 })
    ),
    "DEADLINE_EXCEEDED"
  )

// Metadata and statuses

const customMetadata: LastcallCase = Effect.fnUntraced(function*({ test }) {
  const initialKey = "x-grpc-test-echo-initial"
  const trailingKey = "x-grpc-test-echo-trailing-bin"
  const initial = "test_initial_metadata_value"
  const trailing = Uint8Array.of(0xab, 0xab, 0xab)
  let headers = GrpcMetadata.empty
  let trailers = GrpcMetadata.empty
  const options: GrpcClient.CallOptions = {
    metadata: GrpcMetadata.make({ [initialKey]: initial, [trailingKey]: trailing }),
    onHeaders: (received) => headers = received,
    onTrailers: (received) => trailers = received
  }
  const assertEchoed = (): void => {
    assert.deepEqual(GrpcMetadata.getAll(headers, initialKey), [initial])
    assert.deepEqual(GrpcMetadata.getAllBinary(trailers, trailingKey).map((bytes) => [...bytes]), [[...trailing]])
    headers = GrpcMetadata.empty
    trailers = GrpcMetadata.empty
  }
  assertPayloads([yield* test.unaryCall(large, options)], 314_159)
  assertEchoed()
  assertPayloads(yield* Stream.runCollect(test.fullDuplexCall(Stream.make(largeStream), options)), 314_159)
  assertEchoed()
})

const statusCodeAndMessage: LastcallCase = Effect.fnUntraced(function*({ test }) {
  const responseStatus = { code: 2, message: "test status message" }
  yield* assertFails(test.unaryCall({ responseStatus }), "UNKNOWN", responseStatus.message)
  yield* assertFails(
    Stream.runDrain(test.fullDuplexCall(Stream.make({ responseStatus }))),
    "UNKNOWN",
    responseStatus.message
  )
})

const specialStatusMessage: LastcallCase = ({ test }) => {
  const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
  return assertFails(test.unaryCall({ responseStatus: { code: 2, message } }), "UNKNOWN", message)
}

const unimplementedMethod: LastcallCase = ({ test }) => assertFails(test.unimplementedCall({}), "UNIMPLEMENTED")

const unimplementedService: LastcallCase = ({ unimplemented }) =>
  assertFails(unimplemented.unimplementedCall({}), "UNIMPLEMENTED")

export const lastcallCases: { readonly [K in CaseName]: LastcallCase } = {
  empty_unary: emptyUnary,
  large_unary: largeUnary,
  client_streaming: clientStreaming,
  server_streaming: serverStreaming,
  ping_pong: pingPong,
  empty_stream: emptyStream,
  cancel_after_begin: cancelAfterBegin,
  cancel_after_first_response: cancelAfterFirstResponse,
  timeout_on_sleeping_server: timeoutOnSleepingServer,
  custom_metadata: customMetadata,
  status_code_and_message: statusCodeAndMessage,
  special_status_message: specialStatusMessage,
  unimplemented_method: unimplementedMethod,
  unimplemented_service: unimplementedService
}
