import { assert, describe, it } from "@effect/vitest"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as EchoClient from "./EchoClient.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

class Echo extends GrpcService.Service<Echo>()(EchoService) {}

const EchoLive = Echo.toLayer({
  say: ({ text }) => Effect.succeed({ text }),
  count: ({ to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n }))),
  sum: (requests) =>
    Stream.runFold(requests, () => 0, (total, { n }) => total + n).pipe(Effect.map((total) => ({ total }))),
  chat: (requests) => Stream.map(requests, ({ text }) => ({ text: `${text}!` }))
})

const makeServer = GrpcServer.make("api", {
  services: [Echo],
  listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
})

describe("the four kinds", () => {
  it.effect("unary", () =>
    Effect.gen(function*() {
      const server = yield* makeServer
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      const { messages, status } = yield* EchoClient.gather(client.count({ to: 5000 }))
      assert.deepStrictEqual(status, { code: 0, details: "OK" })
      assert.strictEqual(messages.length, 5000)
      const total = yield* Effect.callback<number, EchoClient.StatusError>((resume) => {
        const call = client.sum((error, response) =>
          resume(error ? Effect.fail(EchoClient.toStatusError(error)) : Effect.succeed(response!.total))
        )
        for (let n = 1; n <= 1000; n++) call.write({ n })
        call.end()
      })
      assert.strictEqual(total, 500500)
      const chat = client.chat()
      chat.write({ text: "a" })
      const received = yield* EchoClient.gather(chat, (_, i) => i < 9 ? chat.write({ text: `b${i}` }) : chat.end())
      assert.strictEqual(received.messages.length, 10)
      assert.strictEqual(received.status.code, 0)
    }).pipe(Effect.provide(EchoLive)))
})
