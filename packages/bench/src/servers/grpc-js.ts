/** Bare grpc-js: what Lastcall is built on, and what it is measured against. */
import * as grpc from "@grpc/grpc-js"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Serve } from "../ServerSpec.ts"
import * as Counted from "./Counted.ts"
import * as Definition from "./Definition.ts"

export const serve: Serve = async ({ channelz, codec, folder, handler, transport }) => {
  const { make, read, tick } = await Counted.of(codec)
  const pending: Array<unknown> = []
  const definition = codec === "identity" ? Definition.make() : (await import("./ProtobufEs.ts")).definition
  const server = new grpc.Server(channelz ? {} : { "grpc.enable_channelz": 0 })
  const unary: { readonly [K in typeof handler]: grpc.handleUnaryCall<unknown, unknown> } = {
    sync: ({ request }, answer) => answer(null, request),
    async: ({ request }, answer) => void setImmediate(() => answer(null, request)),
    never: (_, answer) => void pending.push(answer)
  }
  const serverStream: grpc.handleServerStreamingCall<unknown, unknown> = (call) => {
    let left = read(call.request)
    const write = (): void => {
      while (left > 0) {
        left--
        if (!call.write(tick)) return void call.once("drain", write)
      }
      call.end()
    }
    write()
  }
  const clientStream: grpc.handleClientStreamingCall<unknown, unknown> = (call, answer) => {
    let count = 0
    call.on("data", () => count++)
    call.on("end", () => answer(null, make(count)))
  }
  const bidi: grpc.handleBidiStreamingCall<unknown, unknown> = (call) => {
    call.on("data", (message) => void call.write(message))
    call.on("end", () => call.end())
  }
  server.addService(definition, { unary: unary[handler], serverStream, clientStream, bidi })
  const credentials = transport === "tls"
    ? grpc.ServerCredentials.createSsl(null, [{
      private_key: readFileSync(join(folder, "key.pem")),
      cert_chain: readFileSync(join(folder, "cert.pem"))
    }])
    : grpc.ServerCredentials.createInsecure()
  const path = join(folder, `${process.pid}.sock`)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      transport === "unix" ? `unix:${path}` : "127.0.0.1:0",
      credentials,
      (error, port) => error === null ? resolve(port) : reject(error)
    )
  )
  return {
    at: transport === "unix" ? { _tag: "Unix", path } : { _tag: "Tcp", port },
    stop: (interrupt) =>
      new Promise((resolve) => {
        server.tryShutdown(resolve)
        if (interrupt) server.forceShutdown()
      })
  }
}
