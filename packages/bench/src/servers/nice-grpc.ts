/** nice-grpc, with the definition of grpc-js. */
import { createServer } from "nice-grpc"
import type { Serve } from "../ServerSpec.ts"
import * as Counted from "./Counted.ts"
import * as Definition from "./Definition.ts"

export const serve: Serve = async ({ codec, handler }) => {
  const { make, read, tick } = await Counted.of(codec)
  const definition = codec === "identity" ? Definition.make() : (await import("./ProtobufEs.ts")).definition
  const server = createServer({ "grpc.enable_channelz": 0 })
  server.add(definition, {
    unary: async (request: unknown) => {
      if (handler === "async") await new Promise((resolve) => setImmediate(resolve))
      return request
    },
    async *serverStream(request: unknown) {
      for (let left = read(request); left > 0; left--) yield tick
    },
    async clientStream(requests: AsyncIterable<unknown>) {
      let count = 0
      for await (const _ of requests) count++
      return make(count)
    },
    async *bidi(requests: AsyncIterable<unknown>) {
      yield* requests
    }
  })
  const port = await server.listen("127.0.0.1:0")
  return {
    at: { _tag: "Tcp", port },
    stop: async (interrupt) => interrupt ? server.forceShutdown() : server.shutdown()
  }
}
