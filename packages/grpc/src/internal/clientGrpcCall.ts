/** A call of grpc-js below its surface: bytes, headers and a status. */
import type * as grpc from "@grpc/grpc-js"

export type Call = ReturnType<grpc.ChannelInterface["createCall"]>

/** The same call with other methods. */
export const override = (call: Call, methods: Partial<Call>): Call => ({
  cancelWithStatus: (status, details) => call.cancelWithStatus(status, details),
  getPeer: () => call.getPeer(),
  start: (metadata, listener) => call.start(metadata, listener),
  sendMessageWithContext: (context, message) => call.sendMessageWithContext(context, message),
  startRead: () => call.startRead(),
  halfClose: () => call.halfClose(),
  getCallNumber: () => call.getCallNumber(),
  setCredentials: (credentials) => call.setCredentials(credentials),
  getAuthContext: () => call.getAuthContext(),
  ...methods
})
