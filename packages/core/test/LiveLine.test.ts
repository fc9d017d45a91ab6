import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as LiveLine from "@lastcall/core/LiveLine"
import type { Member } from "@lastcall/core/StopRegistry"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const worker = (name: string) =>
  Layer.effectDiscard(Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    yield* GracefulStop.make({ name, inFlight }, { grace: "10 seconds" })
    yield* Effect.forkDetach(InFlight.run(inFlight, "demo.Watch", Effect.sleep("6 seconds")), {
      startImmediately: true
    })
  }))

const stopWith = Effect.fnUntraced(function*(isTTY: boolean, columns?: number, name = "api") {
  const written: Array<string> = []
  const terminal = { isTTY, columns, write: (text: string) => void written.push(text) }
  const main = yield* Effect.forkChild(
    Lifecycle.launch(worker(name).pipe(Layer.provide(Layer.effectDiscard(LiveLine.make(terminal)))), {
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

/** Two seconds and a bit of serving, a second of drain delay, three of draining, one of releasing the rest. */
const linesOf = Effect.fnUntraced(function*(terminal: { readonly columns?: number }, stop: boolean = true) {
  const written: Array<string> = []
  const clock = yield* Clock.Clock
  const app = Layer.effectDiscard(Effect.gen(function*() {
    yield* Effect.sleep("50 millis")
    yield* Effect.addFinalizer(() => Effect.sleep("1 second"))
    yield* GracefulStop.make({ name: "api", drain: Effect.sleep("3 seconds") })
  }))
  const line = LiveLine.make({
    isTTY: true,
    ...terminal,
    write: (text) => written.push(`${clock.currentTimeMillisUnsafe()} ${text}`)
  })
  const failing = Effect.andThen(Effect.sleep("2 seconds"), Effect.fail("no"))
  const main = yield* Effect.forkChild(Lifecycle.launch(
    (stop ? app : Layer.effectDiscard(failing)).pipe(Layer.provide(Layer.effectDiscard(line))),
    { drainDelay: "1 second" }
  ))
  yield* TestClock.adjust(2_100)
  if (stop) main.interruptUnsafe()
  yield* TestClock.adjust("10 seconds")
  assert.isDefined(main.pollUnsafe())
  return written
})

it.effect("the line is rewritten four times a second, from the announcement to the end", () =>
  Effect.gen(function*() {
    const written = yield* linesOf({})
    const expected = Array.from({ length: 20 }, (_, i) => {
      const at = 2_100 + i * 250
      if (at < 3_100) return `${at} \u001b[2Kstopping, still served: api\r`
      if (at >= 6_100) return `${at} \u001b[2Kall stopped, releasing the rest\r`
      const left = (13_100 - at) / 1_000
      return `${at} \u001b[2Kapi: nothing in flight, ${left < 10 ? left.toFixed(1) : Math.ceil(left)} s left\r`
    })
    assert.deepStrictEqual(written.filter((line) => line.endsWith("\r")).slice(0, 20), expected)
    assert.strictEqual(written.at(-1), "7100 \u001b[2K")
  }))

it.effect("a process that stops before it was ready clears nothing that it has not written", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* linesOf({}, false), [])
  }))

const member = (name: string, phase: GracefulStop.Phase, deadline?: number, running: number = 0): Member => ({
  stop: { name, phase: () => phase, deadline: () => deadline } as GracefulStop.GracefulStop,
  inFlight: running === 0 ? undefined : {
    running: () => Array.from({ length: running }, () => ({ kind: "demo.Watch", ageMillis: 1_000 }))
  } as unknown as InFlight.InFlight
})

it.each<[string, ReadonlyArray<Member>]>([
  ["all stopped, releasing the rest", []],
  ["stopping, still served: api, admin", [member("api", "Serving"), member("admin", "Announced")]],
  ["api: nothing in flight", [member("api", "Interrupting"), member("admin", "Announced")]],
  ["api: 2 in flight, oldest demo.Watch 1s, 2.5 s left", [member("api", "Draining", 12_500, 2)]],
  ["api: nothing in flight, 9.9 s left", [member("api", "Draining", 19_940)]],
  ["api: nothing in flight, 10 s left", [member("api", "Draining", 20_000)]],
  ["api: nothing in flight, 11 s left", [member("api", "Draining", 20_001)]],
  ["api: nothing in flight, 0.0 s left | admin: nothing in flight", [
    member("api", "Draining", 9_000),
    member("admin", "Destroying")
  ]]
])("it reads: %s", (line, members) => {
  assert.strictEqual(LiveLine.render(members, 10_000), line)
})

it.effect("a terminal without a width has 80 columns, and one that is narrower than a character shows none", () =>
  Effect.gen(function*() {
    const long = yield* stopWith(
      true,
      undefined,
      "a name of a resource that is much longer than 80 columns, and says so in every way"
    )
    assert.include(long, `\u001b[2Kstopping, still served: a name of a resource that is much longer than 80 column\r`)
    for (const columns of [0, 1]) assert.include(yield* stopWith(true, columns), "\u001b[2K\r")
  }))

it.effect("a line whose scope closes while the process is ready, or outlives it, writes nothing then", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const written: Array<string> = []
    const line = LiveLine.make({ isTTY: true, write: (text) => written.push(text) })
    const outlives = yield* Scope.make()
    const app = Layer.effectDiscard(Effect.gen(function*() {
      yield* Effect.forkScoped(Effect.scoped(Effect.andThen(line, Effect.sleep("1 second"))))
      yield* Scope.provide(line, outlives)
    }))
    const { interrupt } = yield* launch(Layer.provide(resource("api"), app))
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(written, [])
    yield* interrupt
    written.length = 0
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(written, [])
    yield* Scope.close(outlives, Exit.void)
  }))
