import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as LiveLine from "@lastcall/core/LiveLine"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"

const worker = Layer.effectDiscard(Effect.gen(function*() {
  const inFlight = yield* InFlight.make
  yield* GracefulStop.make({ name: "api", inFlight }, { grace: "10 seconds" })
  yield* Effect.forkDetach(InFlight.run(inFlight, "demo.Watch", Effect.sleep("6 seconds")), { startImmediately: true })
}))

const stopWith = Effect.fnUntraced(function*(isTTY: boolean, columns = 80) {
  const written: Array<string> = []
  const terminal = { isTTY, columns, write: (text: string) => void written.push(text) }
  const main = yield* Effect.forkChild(
    Lifecycle.launch(worker.pipe(Layer.provide(Layer.effectDiscard(LiveLine.make(terminal)))), {
      drainDelay: "1 second"
    })
  )
  yield* TestClock.adjust("2 seconds")
  assert.deepStrictEqual(written, [])
  const interrupting = yield* Effect.forkChild(Fiber.interrupt(main))
  yield* TestClock.adjust("10 seconds")
  yield* Fiber.join(interrupting)
  return written
})

it.effect("on a terminal one line is rewritten in place, says what is waited for, and is cleared in the end", () =>
  Effect.gen(function*() {
    const written = yield* stopWith(true)
    assert.include(written, "\u001b[2Kstopping, still served: api\r")
    assert.include(written, "\u001b[2Kapi: 1 in flight, oldest demo.Watch 4s, 9.0 s left\r")
    assert.strictEqual(written.at(-1), "\u001b[2K")
  }))

it.effect("a line is cut to the width of the terminal", () =>
  Effect.gen(function*() {
    for (const line of yield* stopWith(true, 20)) assert.isAtMost(line.length, "\u001b[2K".length + 19 + "\r".length)
  }))

it.effect("where there is no terminal nothing is written", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* stopWith(false), [])
  }))
