/**
 * An interceptor owns its call by starting it with a listener of its own; grpc-js gets this in its place. Its `start` goes
 * nowhere, so that grpc-js's own handler never runs.
 */
import { type Responder, ServerInterceptingCall, type ServerInterceptingCallInterface } from "@grpc/grpc-js"

const responder: Responder = { start: () => {} }

export const deaf = (call: ServerInterceptingCallInterface): ServerInterceptingCall =>
  new ServerInterceptingCall(call, responder)
