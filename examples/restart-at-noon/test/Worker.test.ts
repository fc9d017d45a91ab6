import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as LeftChild from "../../../packages/testing/test/LeftChild.ts"
import * as Worker from "../src/Worker.ts"

it.live("a process that leaves a child with its output has ended when it has exited, with all that it said", () =>
  Effect.gen(function*() {
    const alive = yield* LeftChild.ofEachProgram
    const heard: Array<string> = []
    const worker = yield* Worker.start({
      program: "../test/programs/worker.mjs",
      config: { code: 3 },
      event: Schema.String,
      onEvent: (event) => heard.push(event),
      onLog: (line) => heard.push(`log: ${line}`)
    })
    worker.say("hello")
    worker.endInput()
    const { exit } = yield* worker.ended
    assert.strictEqual(exit, "3")
    assert.deepStrictEqual(heard.toSorted(), ["hello", "last words", "log: bye"])
    assert.strictEqual(alive(), 1)
  }).pipe(Effect.scoped))
