/** One RPC of each kind. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as EchoClient from "./EchoClient.ts"

/** A unary RPC, a server stream, a client stream and a bidirectional stream, each with the right answer. */
export const expectServed = (client: EchoClient.EchoClient): Effect.Effect<void, EchoClient.StatusError> =>
  Effect.gen(function*() {
    assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")

    const count = yield* EchoClient.gather(client.count({ to: 100 }))
    assert.deepStrictEqual(count.messages.map(({ n }) => n), Array.from({ length: 100 }, (_, i) => i + 1))
    assert.deepStrictEqual(count.status, { code: 0, details: "OK" })

    const { call, total } = EchoClient.sum(client)
    for (let n = 1; n <= 100; n++) call.write({ n })
    call.end()
    assert.strictEqual(yield* total, 5050)

    const chat = client.chat()
    chat.write({ text: "0" })
    const received = yield* EchoClient.gather(chat, (_, i) => i < 9 ? chat.write({ text: `${i + 1}` }) : chat.end())
    assert.deepStrictEqual(received.messages.map(({ text }) => text), Array.from({ length: 10 }, (_, i) => `${i}!`))
    assert.deepStrictEqual(received.status, { code: 0, details: "OK" })
  })
