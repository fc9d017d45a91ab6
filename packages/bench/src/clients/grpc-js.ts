/** Bare grpc-js: what Lastcall's client is built on, and what it is measured against. */
import * as grpc from "@grpc/grpc-js"
import type { Connect } from "../ClientSpec.ts"
import * as Counted from "../servers/Counted.ts"
import * as Definition from "../servers/Definition.ts"
import { expectCount, expectEcho, lanes, request, trace } from "./Messages.ts"

export const connect: Connect = async ({ method, port, streamSize, traceparent }) => {
  const definition = Definition.make()
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    "grpc.enable_channelz": 0
  })
  const metadata = (): grpc.Metadata => {
    const metadata = new grpc.Metadata()
    if (traceparent) metadata.set("traceparent", `00-${trace.traceId}-${trace.spanId}-01`)
    return metadata
  }

  const unary = (millis: number): Promise<number> =>
    new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = definition.unary
      const until = performance.now() + millis
      let open = lanes
      let calls = 0
      const answered = (error: grpc.ServiceError | null, answer?: unknown): void => {
        if (error !== null) return reject(error)
        expectEcho(answer as Buffer)
        calls++
        if (performance.now() < until) send()
        else if (--open === 0) resolve(calls)
      }
      const send = (): void =>
        void client.makeUnaryRequest<unknown, unknown>(
          path,
          requestSerialize,
          responseDeserialize,
          request,
          metadata(),
          answered
        )
      for (let i = 0; i < lanes; i++) send()
    })

  const stream = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = definition.serverStream
      let count = 0
      client.makeServerStreamRequest<unknown, unknown>(
        path,
        requestSerialize,
        responseDeserialize,
        Counted.identity.make(streamSize),
        metadata()
      ).on("data", () => count++).on("error", reject).on("end", () => {
        expectCount(count, streamSize)
        resolve()
      })
    })
  const serverStream = async (millis: number): Promise<number> => {
    const until = performance.now() + millis
    let messages = 0
    do {
      await stream()
      messages += streamSize
    } while (performance.now() < until)
    return messages
  }
  return method === "Unary" ? unary : serverStream
}
