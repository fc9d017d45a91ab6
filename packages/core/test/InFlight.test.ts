import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"

const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

it.effect("admitting and ending are counted by kind and by outcome", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    yield* InFlight.run(inFlight, "a", Effect.void)
    yield* Effect.exit(InFlight.run(inFlight, "a", Effect.fail("no")))
    yield* Effect.exit(InFlight.run(inFlight, "b", Effect.die("no")))
    inFlight.kind("b").admit()?.end("destroyed")
    const none = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }
    assert.deepStrictEqual(inFlight.countsByKind(), {
      a: { ...none, admitted: 2, succeeded: 1, failed: 1 },
      b: { ...none, admitted: 2, failed: 1, destroyed: 1 }
    })
    assert.deepStrictEqual(inFlight.counts(), { ...none, admitted: 4, succeeded: 1, failed: 2, destroyed: 1 })
    assert.strictEqual(inFlight.size(), 0)
  }))

it.effect("only the first end of an entry counts", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const entry = inFlight.kind("work").admit()!
    assert.isTrue(entry.end("succeeded"))
    assert.isFalse(entry.end("failed"))
    assert.deepInclude(inFlight.counts(), { admitted: 1, succeeded: 1, failed: 0 })
    assert.strictEqual(inFlight.size(), 0)
  }))

it.effect("an entry that ends in the middle leaves the others in their order, oldest first", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const entries: Array<InFlight.Entry> = []
    for (const kind of ["a", "b", "c"]) {
      entries.push(inFlight.kind(kind).admit()!)
      yield* TestClock.adjust(10)
    }
    entries[1]!.end("succeeded")
    assert.deepStrictEqual(inFlight.running(), [{ kind: "a", ageMillis: 30 }, { kind: "c", ageMillis: 10 }])
    entries[0]!.end("succeeded")
    entries[2]!.end("succeeded")
    assert.deepStrictEqual(inFlight.running(), [])
    inFlight.kind("d").admit()
    assert.deepStrictEqual(inFlight.running(), [{ kind: "d", ageMillis: 0 }])
  }))

it.effect("an interruption reaches each entry once, and at once where it was asked for before", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const calls: Array<string> = []
    const early = inFlight.kind("early").admit()!
    const late = inFlight.kind("late").admit()!
    const ended = inFlight.kind("ended").admit()!
    early.onInterrupt(() => calls.push("early"))
    ended.onInterrupt(() => calls.push("ended"))
    ended.end("succeeded")
    inFlight.interruptAll()
    inFlight.interruptAll()
    assert.deepStrictEqual(calls, ["early"])
    assert.isTrue(late.isInterrupted)
    late.onInterrupt(() => calls.push("late"))
    assert.deepStrictEqual(calls, ["early", "late"])
  }))

it.effect("an interruption counts as interrupted only where a stop asked for it", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const cancelled = yield* fork(InFlight.run(inFlight, "cancelled", Effect.never))
    yield* Fiber.interrupt(cancelled)
    const stopped = yield* fork(InFlight.run(inFlight, "stopped", Effect.never))
    inFlight.interruptAll()
    assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(stopped)))
    const { cancelled: first, stopped: second } = inFlight.countsByKind()
    assert.deepInclude(first, { failed: 1, interrupted: 0 })
    assert.deepInclude(second, { failed: 0, interrupted: 1 })
  }))

it.effect("interrupting the caller of run interrupts the work and waits for its finalizers", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const caller = yield* fork(
      InFlight.run(inFlight, "work", Effect.ensuring(Effect.never, Effect.sleep("1 second")))
    )
    yield* TestClock.adjust(1)
    const interruption = yield* fork(Fiber.interrupt(caller))
    yield* TestClock.adjust(999)
    assert.strictEqual(inFlight.size(), 1)
    assert.isUndefined(interruption.pollUnsafe())
    yield* TestClock.adjust(1)
    yield* Fiber.join(interruption)
    assert.strictEqual(inFlight.size(), 0)
  }))

it.effect("work whose admission is refused does not run", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    let ran = false
    inFlight.close()
    const error = yield* Effect.flip(InFlight.run(inFlight, "work", Effect.sync(() => void (ran = true))))
    assert.strictEqual(error.message, "work was refused: admission is closed")
    assert.isFalse(ran)
    assert.deepInclude(inFlight.counts(), { admitted: 0, refused: 1 })
  }))

it.effect("awaitEmpty waits for work that is admitted meanwhile too", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    yield* fork(InFlight.run(inFlight, "first", Effect.sleep(10)))
    const empty = yield* fork(inFlight.awaitEmpty)
    yield* fork(InFlight.run(inFlight, "second", Effect.sleep(20)))
    yield* TestClock.adjust(19)
    assert.isUndefined(empty.pollUnsafe())
    yield* TestClock.adjust(1)
    yield* Fiber.join(empty)
  }))

it.effect("awaitEmpty can be interrupted and asked again", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const entry = inFlight.kind("work").admit()!
    yield* Fiber.interrupt(yield* fork(inFlight.awaitEmpty))
    const empty = yield* fork(inFlight.awaitEmpty)
    entry.end("succeeded")
    yield* Fiber.join(empty)
  }))

it.effect("a hook that throws keeps neither the others from being interrupted nor the stop from its end", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const interrupted: Array<number> = []
    for (const n of [1, 2, 3]) {
      inFlight.kind("work").admit()!.onInterrupt(() => {
        interrupted.push(n)
        if (n < 3) throw new Error(`hook ${n}`)
      })
    }
    let destroyed = false
    const stopping = yield* Effect.forkChild(
      GracefulStop.run({
        name: "api",
        inFlight,
        destroy: () => {
          destroyed = true
        }
      }, { grace: 0, forceTimeout: "1 second" }),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 second")
    const report = yield* Fiber.join(stopping)
    assert.deepStrictEqual(interrupted, [1, 2, 3])
    assert.isTrue(destroyed)
    assert.strictEqual(report.failures.length, 1)
    assert.deepInclude(report.counts, { admitted: 3, abandoned: 3 })
  }))

it.effect("only traffic counts as traffic, and moves the time of the last admission", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    assert.isUndefined(inFlight.lastAdmittedAt())
    const check = inFlight.kind("check", { traffic: false }).admit()!
    assert.deepStrictEqual([inFlight.size(), inFlight.traffic(), inFlight.lastAdmittedAt()], [1, 0, undefined])
    yield* TestClock.adjust(10)
    const call = inFlight.kind("call").admit()!
    assert.deepStrictEqual([inFlight.size(), inFlight.traffic(), inFlight.lastAdmittedAt()], [2, 1, 10])
    check.end("succeeded")
    assert.deepStrictEqual([inFlight.size(), inFlight.traffic()], [1, 1])
    call.end("succeeded")
    assert.deepStrictEqual([inFlight.size(), inFlight.traffic(), inFlight.lastAdmittedAt()], [0, 0, 10])
  }))

it.effect("the slowest is the one that ran longest of those that ended after admission was closed", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    yield* TestClock.adjust("1 minute")
    const [early, long, short] = ["early", "long", "short"].map((kind) => inFlight.kind(kind).admit()!)
    const middle = yield* Effect.sync(() => inFlight.kind("middle").admit()!)
    yield* TestClock.adjust(10)
    early!.end("succeeded")
    assert.isUndefined(inFlight.slowest())
    inFlight.close()
    assert.isFalse(inFlight.isOpen())
    short!.end("succeeded")
    assert.deepStrictEqual(inFlight.slowest(), { kind: "short", ageMillis: 10 })
    yield* TestClock.adjust(10)
    long!.end("succeeded")
    middle.end("succeeded")
    assert.deepStrictEqual(inFlight.slowest(), { kind: "long", ageMillis: 20 })
  }))

it.effect("one that no longer waits for the end takes nobody else with it, and those that come later are woken too", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const entry = inFlight.kind("work").admit()!
    const waiters = [yield* fork(inFlight.awaitEmpty), yield* fork(inFlight.awaitEmpty)]
    yield* Fiber.interrupt(waiters[0]!)
    entry.end("succeeded")
    yield* Fiber.join(waiters[1]!)
    const next = inFlight.kind("work").admit()!
    const later = yield* fork(inFlight.awaitEmpty)
    next.end("succeeded")
    yield* Fiber.join(later)
  }))

it.effect("what has ended is not interrupted any more", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const entry = inFlight.kind("work").admit()!
    inFlight.interruptAll()
    entry.end("interrupted")
    entry.onInterrupt(() => assert.fail("it has ended"))
  }))
