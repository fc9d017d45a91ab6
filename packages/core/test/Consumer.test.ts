import { assert, it } from "@effect/vitest"
import * as Consumer from "@lastcall/core/Consumer"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"

/** A consumer of a queue of durations, in a scope of its own. */
const make = Effect.fnUntraced(function*(options: { readonly concurrency?: number; readonly messages: number }) {
  const scope = yield* Scope.make()
  const queue = yield* Queue.unbounded<number>()
  yield* Queue.offerAll(queue, Array.from({ length: options.messages }, () => 1_000))
  const handled: Array<string> = []
  const stop = yield* Scope.provide(
    Consumer.make({
      name: "orders",
      take: Queue.take(queue),
      handle: (millis) =>
        Effect.sleep(millis).pipe(
          Effect.onExit((exit) => Effect.sync(() => void handled.push(exit._tag)))
        ),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      stop: { grace: "5 seconds", forceTimeout: "1 second" }
    }),
    scope
  )
  return { handled, queue, stop, close: Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true }) }
})

it.effect("a consumer handles one message after the other, or several at the same time", () =>
  Effect.gen(function*() {
    const one = yield* make({ messages: 10 })
    const four = yield* make({ messages: 10, concurrency: 4 })
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual(one.handled.length, 2)
    assert.strictEqual(four.handled.length, 8)
    for (const { stop } of [one, four]) yield* Effect.andThen(stop.escalate, stop.stop)
  }))

it.effect("a drain ends what is being handled and leaves the rest in the queue", () =>
  Effect.gen(function*() {
    const { close, handled, queue, stop } = yield* make({ messages: 10 })
    yield* TestClock.adjust("2500 millis")
    const closing = yield* close
    yield* TestClock.adjust("500 millis")
    yield* Fiber.join(closing)
    const report = yield* stop.stop
    assert.deepStrictEqual(handled, ["Success", "Success", "Success"])
    assert.strictEqual(Queue.sizeUnsafe(queue), 7)
    assert.strictEqual(report.outcome, "graceful")
    assert.deepInclude(report.counts, { admitted: 3, succeeded: 3 })
  }))

it.effect("a drain of a consumer that waits for a message ends at once, and takes none that comes later", () =>
  Effect.gen(function*() {
    const { close, handled, queue } = yield* make({ messages: 0 })
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(yield* close)
    yield* Queue.offer(queue, 1)
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(handled, [])
    assert.strictEqual(Queue.sizeUnsafe(queue), 1)
  }))

it.effect("a message that takes longer than the grace period is interrupted and counted", () =>
  Effect.gen(function*() {
    const { close, handled, queue, stop } = yield* make({ messages: 0 })
    yield* Queue.offer(queue, 60_000)
    yield* TestClock.adjust("1 second")
    const closing = yield* close
    yield* TestClock.adjust("5 seconds")
    yield* Fiber.join(closing)
    assert.deepStrictEqual(handled, ["Failure"])
    assert.deepInclude((yield* stop.stop).counts, { admitted: 1, interrupted: 1 })
  }))

it.effect("a message whose handler dies is counted as failed, and the loop goes on", () =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<number>()
    yield* Queue.offerAll(queue, [1, 2, 3])
    const third = yield* Deferred.make<void>()
    const stop = yield* Consumer.make({
      name: "orders",
      take: Queue.take(queue),
      handle: (n) => n === 2 ? Effect.die(new Error("no")) : n === 3 ? Deferred.succeed(third, undefined) : Effect.void
    })
    yield* Deferred.await(third)
    assert.deepInclude((yield* stop.stop).counts, { admitted: 3, succeeded: 2, failed: 1 })
  }))

it.effect("a loop whose queue fails asks the lifecycle to stop, with its cause", () =>
  Effect.gen(function*() {
    const consumer = Layer.effectDiscard(
      Consumer.make({ name: "orders", take: Effect.fail("the broker has gone"), handle: () => Effect.void })
    )
    const stops: Array<string> = []
    const other = Layer.effectDiscard(
      Effect.andThen(
        GracefulStop.make({ name: "other", drain: Effect.sync(() => void stops.push("other")) }),
        Effect.void
      )
    )
    const exit = yield* Effect.exit(Lifecycle.launch(Layer.merge(consumer, other)))
    assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
    assert.deepStrictEqual(stops, ["other"])
  }))

it.effect("options that make no sense are refused before anything is taken", () =>
  Effect.gen(function*() {
    let taken = 0
    const take = Effect.sync(() => taken++)
    for (const options of [{ concurrency: 0 }, { concurrency: Number.NaN }, { stop: { grace: -1 } }]) {
      const exit = yield* Effect.exit(Consumer.make({ name: "orders", take, handle: () => Effect.void, ...options }))
      assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
    }
    assert.strictEqual(taken, 0)
  }))
