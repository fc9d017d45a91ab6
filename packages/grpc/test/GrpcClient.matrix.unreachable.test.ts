/** A server that is not there yet, or not any more: by two servers and four transports, with all four kinds. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as path from "node:path"
import * as EchoServer from "./EchoServer.ts"
import * as Kinds from "./matrix/Kinds.ts"
import * as Matrix from "./matrix/Matrix.ts"
import * as Relay from "./matrix/Relay.ts"
import * as Sockets from "./Sockets.ts"

// Reconnecting and finding out take their time.
describe.concurrent("an RPC", () => {
  for (const combination of Matrix.combinations) {
    const credentials = combination.transport.client

    it.live(`${Matrix.nameOf(combination)}: fails while there is no server, or with waitForReady waits for it`, () =>
      Effect.gen(function*() {
        const file = path.join(yield* Sockets.directory, "api.sock")
        const former = yield* Scope.make()
        const { target } = yield* Scope.provide(Matrix.serve(combination, { file, port: 0 }), former)
        yield* Scope.close(former, Exit.void)
        const { echo } = yield* Matrix.open({ address: target, credentials })
        const waiting = yield* Effect.forEach(
          Kinds.all,
          (kind) => Effect.forkChild(kind.run(echo, { waitForReady: true, deadline: "15 seconds" }))
        )
        for (const kind of Kinds.all) {
          for (const options of [{}, { waitForReady: false }]) {
            assert.strictEqual((yield* Effect.flip(kind.run(echo, options))).code, "UNAVAILABLE")
          }
        }
        // One that waits as well does not wait longer than its deadline.
        const late = yield* Effect.flip(echo.say({}, { waitForReady: true, deadline: "20 millis" }))
        assert.strictEqual(late.code, "DEADLINE_EXCEEDED")
        assert.isTrue(waiting.every((rpc) => rpc.pollUnsafe() === undefined))
        yield* Matrix.serve(combination, { file, port: Number(target.split(":")[1]) })
        for (const [i, rpc] of waiting.entries()) assert.deepStrictEqual(yield* Fiber.join(rpc), Kinds.all[i]!.answer)
      }))

    it.live(`${Matrix.nameOf(combination)}: with keepalive runs on, and fails when the network is dead`, () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        const { target, witness } = yield* Matrix.serve(combination, {
          file: path.join(directory, "api.sock"),
          port: 0
        })
        const relay = yield* Relay.make(target, path.join(directory, "relay.sock"))
        const { echo } = yield* Matrix.open({
          address: relay.target,
          credentials,
          keepalive: { time: "20 millis", timeout: "1 second", withoutCalls: true },
          stop: { grace: 0 }
        })
        yield* Matrix.expectServed(echo)
        const { id, metadata } = Matrix.act("hang")
        const hanging = yield* Effect.forEach(
          Kinds.all,
          (kind) => Effect.forkChild(Effect.flip(kind.runOpen(echo, { metadata, deadline: "15 seconds" })))
        )
        yield* EchoServer.until("all run", () => witness.seen(id).running === Kinds.all.length)
        const before = relay.sentBytes()
        yield* EchoServer.until("the server is pinged", () => relay.sentBytes() > before)
        relay.freeze()
        for (const rpc of hanging) assert.strictEqual((yield* Fiber.join(rpc)).code, "UNAVAILABLE")
      }))
  }
})
