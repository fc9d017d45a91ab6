/**
 * The official cases that a server on grpc-js can serve, by their official names. What they do is described in
 * `doc/interop-test-descriptions.md` of the gRPC project.
 */
import * as EndCases from "./cases/EndCases.ts"
import type { InteropCase } from "./cases/InteropCase.ts"
import * as MetadataCases from "./cases/MetadataCases.ts"
import * as StatusCases from "./cases/StatusCases.ts"
import * as StreamCases from "./cases/StreamCases.ts"
import * as UnaryCases from "./cases/UnaryCases.ts"

export const interopCases = {
  empty_unary: UnaryCases.emptyUnary,
  large_unary: UnaryCases.largeUnary,
  client_streaming: StreamCases.clientStreaming,
  server_streaming: StreamCases.serverStreaming,
  ping_pong: StreamCases.pingPong,
  empty_stream: StreamCases.emptyStream,
  cancel_after_begin: EndCases.cancelAfterBegin,
  cancel_after_first_response: EndCases.cancelAfterFirstResponse,
  timeout_on_sleeping_server: EndCases.timeoutOnSleepingServer,
  custom_metadata: MetadataCases.customMetadata,
  status_code_and_message: StatusCases.statusCodeAndMessage,
  special_status_message: StatusCases.specialStatusMessage,
  unimplemented_method: StatusCases.unimplementedMethod,
  unimplemented_service: StatusCases.unimplementedService
} satisfies Record<string, InteropCase>

export type CaseName = keyof typeof interopCases

export const caseNames = Object.keys(interopCases) as ReadonlyArray<CaseName>
