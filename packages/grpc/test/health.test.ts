import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { makeChanges } from "../src/internal/health.ts"
import * as EventLoop from "./EventLoop.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

it.live("what a watcher that is gone has read is not kept, though nothing changes any more", () =>
  Effect.gen(function*() {
    const changes = makeChanges()
    const watch = Effect.fnUntraced(function*() {
      const state = { status: "SERVING" }
      const watching = yield* Effect.forkChild(
        Stream.runDrain(changes.latest(() => state.status)),
        { startImmediately: true }
      )
      // A weak reference keeps its object until the end of the turn that made it.
      yield* EventLoop.turn
      yield* Fiber.interrupt(watching)
      return new WeakRef(state)
    })
    const gone = [yield* watch(), yield* watch(), yield* watch()]
    yield* EventLoop.turn
    collectGarbage()
    assert.deepStrictEqual(gone.map((state) => state.deref()), [undefined, undefined, undefined])
    // It still lives, and so does whatever it keeps.
    changes.notify()
  }))
