import { assert, it } from "@effect/vitest"
import * as Consumer from "@lastcall/core/Consumer"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as StopEvent from "@lastcall/core/StopEvent"
import { StopPolicyError } from "@lastcall/core/StopPolicy"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
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

/** The warnings and errors that are logged meanwhile. */
const logsOf = <A, E, R>(effect: Effect.Effect<A, E, R>, logs: Array<string>) => {
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    logs.push(`${logLevel}: ${String(message)}: ${String(Cause.squash(cause))}`)
  })
  return effect.pipe(
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(StopEvent.Sink, () => Effect.void),
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )
}

it.effect("a message that is not handled is logged with its cause, unless a force interrupted it", () =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const queue = yield* Queue.unbounded<Effect.Effect<void, string>>()
    const third = yield* Deferred.make<void>()
    yield* Queue.offerAll(queue, [
      Effect.fail("no"),
      Effect.void,
      Effect.andThen(Deferred.succeed(third, undefined), Effect.never)
    ])
    const counts = yield* logsOf(
      Effect.gen(function*() {
        const stop = yield* Consumer.make({ name: "orders", take: Queue.take(queue), handle: (work) => work })
        yield* Deferred.await(third)
        yield* stop.escalate
        const { counts } = yield* stop.stop
        yield* TestClock.adjust(1)
        return counts
      }),
      logs
    )
    assert.deepInclude(counts, { admitted: 3, failed: 1, succeeded: 1, interrupted: 1 })
    assert.deepStrictEqual(logs, ["Error: orders: a message was not handled: no"])
  }))

it.effect("a loop whose queue fails is logged with its cause; one that a drain ends is not, and fails nothing", () =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const launch = (take: (lifecycle: Lifecycle.Lifecycle) => Effect.Effect<never, string>) =>
      logsOf(
        Effect.exit(Lifecycle.launch(Layer.effectDiscard(Effect.flatMap(
          Lifecycle.Lifecycle,
          (lifecycle) => Consumer.make({ name: "orders", take: take(lifecycle), handle: () => Effect.void })
        )))),
        logs
      )
    assert.isTrue(Exit.isSuccess(yield* launch(({ stop }) => Effect.andThen(stop, Effect.never))))
    assert.deepStrictEqual(logs, [])
    yield* launch(() => Effect.fail("the broker has gone"))
    assert.deepStrictEqual(logs, ["Error: orders: the loop ended: the broker has gone"])
  }))

/** A program whose consumer takes from a queue that someone else shuts down. */
const launchWith = Effect.fnUntraced(function*(options?: Lifecycle.LaunchOptions) {
  const queue = yield* Queue.unbounded<number>()
  const logs: Array<string> = []
  let lifecycle: Lifecycle.Lifecycle | undefined
  const consumer = Effect.gen(function*() {
    lifecycle = yield* Lifecycle.Lifecycle
    yield* Consumer.make({ name: "orders", take: Queue.take(queue), handle: () => Effect.void })
  })
  const fiber = yield* Effect.forkChild(
    logsOf(Effect.exit(Lifecycle.launch(Layer.effectDiscard(consumer), options)), logs)
  )
  yield* TestClock.adjust(0)
  return { fiber, lifecycle: lifecycle!, logs, queue }
})

it.effect("a queue that is shut down while the process serves ends the loop, is logged, and asks for the stop", () =>
  Effect.gen(function*() {
    const { fiber, lifecycle, logs, queue } = yield* launchWith()
    assert.strictEqual(lifecycle.phase(), "Ready")
    yield* Queue.shutdown(queue)
    const exit = yield* Fiber.join(fiber)
    assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
    assert.deepStrictEqual(logs, ["Error: orders: the loop ended: Error: the messages of orders have ended"])
  }))

it.effect("a queue that is shut down while the process starts ends the start", () =>
  Effect.gen(function*() {
    const { fiber, lifecycle, queue } = yield* launchWith({ warmUp: Effect.never })
    assert.strictEqual(lifecycle.phase(), "Starting")
    yield* Queue.shutdown(queue)
    assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
  }))

it.effect("a queue that is shut down while the process stops ends the loop in silence", () =>
  Effect.gen(function*() {
    const { fiber, lifecycle, logs, queue } = yield* launchWith({ drainDelay: "1 second" })
    yield* lifecycle.stop
    yield* TestClock.adjust("500 millis")
    assert.strictEqual(lifecycle.phase(), "Announced")
    yield* Queue.shutdown(queue)
    yield* TestClock.adjust("500 millis")
    assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
    assert.deepStrictEqual(logs, [])
  }))

it.effect("a queue that fails while the process stops is logged", () =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const consumer = Effect.flatMap(Lifecycle.Lifecycle, ({ stop }) =>
      Consumer.make({
        name: "orders",
        take: Effect.andThen(stop, Effect.andThen(Effect.sleep("1 second"), Effect.fail("the broker has gone"))),
        handle: () => Effect.void
      }))
    const fiber = yield* Effect.forkChild(
      logsOf(Effect.exit(Lifecycle.launch(Layer.effectDiscard(consumer), { drainDelay: "2 seconds" })), logs)
    )
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(fiber)
    assert.deepStrictEqual(logs, ["Error: orders: the loop ended: the broker has gone"])
  }))

it.effect.each([
  {
    end: "fails",
    exit: Exit.fail("the broker has gone"),
    expected: Array.from({ length: 3 }, () => "Error: orders: the loop ended: the broker has gone")
  },
  {
    end: "is shut down",
    exit: Exit.interrupt(),
    expected: ["Error: orders: the loop ended: Error: the messages of orders have ended"]
  }
])(
  "a queue that $end ends several loops, and nothing is logged twice",
  ({ exit, expected }) =>
    Effect.gen(function*() {
      const logs: Array<string> = []
      const messages = yield* Deferred.make<never, string>()
      const consumer = Consumer.make({
        name: "orders",
        take: Deferred.await(messages),
        handle: () => Effect.void,
        concurrency: 3
      })
      const fiber = yield* Effect.forkChild(
        logsOf(Effect.exit(Lifecycle.launch(Layer.effectDiscard(consumer), { drainDelay: "1 second" })), logs)
      )
      yield* TestClock.adjust(0)
      yield* Deferred.done(messages, exit)
      yield* TestClock.adjust("1 second")
      const ended = yield* Fiber.join(fiber)
      assert.isTrue(Exit.isFailure(ended) && Exit.hasDies(ended))
      assert.deepStrictEqual(logs, expected)
    })
)

it.effect.each([
  { end: "in silence", take: Effect.never, expected: [] },
  {
    end: "with taking that fails by that",
    take: Effect.onInterrupt(Effect.never, () => Effect.die("the broker has gone")),
    expected: ["Error: orders: the loop ended: the broker has gone"]
  }
])(
  "a consumer that stops on its own while the process serves fails nothing: $end",
  ({ expected, take }) =>
    Effect.gen(function*() {
      const logs: Array<string> = []
      let failed = false
      const lifecycle: Lifecycle.Lifecycle = {
        ...yield* Lifecycle.Lifecycle,
        failCause: () => Effect.sync(() => void (failed = true))
      }
      const consumer = Consumer.make({ name: "orders", take, handle: () => Effect.void })
      yield* logsOf(Effect.scoped(Effect.andThen(consumer, TestClock.adjust(0))), logs).pipe(
        Effect.provideService(Lifecycle.Lifecycle, lifecycle)
      )
      assert.isFalse(failed)
      assert.deepStrictEqual(logs, expected)
    })
)

it.effect("a logger that throws ends no loop, and does not take the stop that a loop's end asks for", () =>
  Effect.gen(function*() {
    const logger = Logger.make<unknown, void>(() => {
      throw new Error("no")
    })
    const queue = yield* Queue.unbounded<number>()
    yield* Queue.offerAll(queue, [1, 2])
    const second = yield* Deferred.make<void>()
    const consumer = Consumer.make({
      name: "orders",
      take: Queue.take(queue),
      handle: (n) => n === 1 ? Effect.fail("no") : Deferred.succeed(second, undefined)
    })
    const fiber = yield* Effect.exit(Lifecycle.launch(Layer.effectDiscard(consumer))).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(StopEvent.Sink, () => Effect.void),
      Effect.forkChild
    )
    yield* Deferred.await(second)
    yield* Queue.shutdown(queue)
    const exit = yield* Fiber.join(fiber)
    assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "the messages of orders have ended")
  }))

it.effect("options that make no sense are refused before anything is taken", () =>
  Effect.gen(function*() {
    let taken = 0
    const take = Effect.sync(() => taken++)
    const nonsense = [
      { option: "concurrency", concurrency: 0 },
      { option: "concurrency", concurrency: -1 },
      { option: "concurrency", concurrency: 1.5 },
      { option: "concurrency", concurrency: Number.NaN },
      { option: "concurrency", concurrency: Number.POSITIVE_INFINITY },
      { option: "grace", stop: { grace: -1 } }
    ]
    for (const { option, ...options } of nonsense) {
      const exit = yield* Effect.exit(Consumer.make({ name: "orders", take, handle: () => Effect.void, ...options }))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, StopPolicyError)
      assert.strictEqual(defect.option, option)
      assert.notInclude(defect.message, "undefined")
    }
    yield* TestClock.adjust(0)
    assert.strictEqual(taken, 0)
  }))
