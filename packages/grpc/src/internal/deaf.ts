/**
 * An interceptor owns its call by starting it with a listener of its own; grpc-js gets this in its place. Its `start` goes
 * nowhere, so that grpc-js's own handler never runs. One is enough for all calls.
 */
import { type Responder, ServerInterceptingCall, type ServerInterceptingCallInterface } from "@grpc/grpc-js"

const responder: Responder = { start: () => {} }

/** Of no call: none of its methods reaches one, since its start goes nowhere. */
const none = undefined as unknown as ServerInterceptingCallInterface

export const deaf: ServerInterceptingCall = new ServerInterceptingCall(none, responder)
