import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LeftChild from "../../../packages/testing/test/LeftChild.ts"
import * as Ports from "../src/Ports.ts"
import * as Replica from "../src/Replica.ts"

for (const way of ["Lastcall", "recipe"] as const) {
  it.live(`a replica (${way}) that leaves a child with its output has ended when it has exited`, () =>
    Effect.gen(function*() {
      const alive = yield* LeftChild.ofEachProgram
      const [port] = yield* Ports.find(1)
      const { serve } = yield* Replica.prepare(way, { instance: "A1", port: port!, graceMillis: 1_000 })
      const { exit, report } = yield* Effect.flatMap(serve, ({ terminate }) => terminate)
      assert.deepStrictEqual([exit, report !== undefined], ["0", way === "Lastcall"])
      assert.strictEqual(alive(), 1)
    }).pipe(Effect.scoped))
}
