/** The grpc-js backend of protobuf-ts, with a message type that is the bytes themselves. */
import * as grpc from "@grpc/grpc-js"
import { adaptService } from "@protobuf-ts/grpc-backend"
import { MessageType } from "@protobuf-ts/runtime"
import { ServiceType } from "@protobuf-ts/runtime-rpc"
import type { Serve } from "../ServerSpec.ts"

class Bytes extends MessageType<Uint8Array> {
  constructor() {
    super("lastcall.bench.v1.Message", [])
  }
  override fromBinary(bytes: Uint8Array): Uint8Array {
    return bytes
  }
  override toBinary(bytes: Uint8Array): Uint8Array {
    return bytes
  }
}

export const serve: Serve = async () => {
  const message = new Bytes()
  const service = new ServiceType("lastcall.bench.v1.BenchService", [{ name: "Unary", I: message, O: message }])
  const server = new grpc.Server({ "grpc.enable_channelz": 0 })
  server.addService(...adaptService(service, { unary: async (request: Uint8Array) => request }))
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      grpc.ServerCredentials.createInsecure(),
      (error, port) => error === null ? resolve(port) : reject(error)
    )
  )
  return { at: { _tag: "Tcp", port }, stop: () => new Promise((resolve) => server.tryShutdown(resolve)) }
}
