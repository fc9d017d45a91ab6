import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as StopBudget from "@lastcall/core/StopBudget"
import * as StopEvent from "@lastcall/core/StopEvent"
import type { StopPolicyError } from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import { drive } from "@lastcall/testing/VirtualTime"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** Detached, since some of it never ends. */
const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkDetach(quiet(effect), { startImmediately: true })

/** Runs a stop until it is done, however long that takes in virtual time. */
const run = (stoppable: Omit<GracefulStop.Stoppable, "name">, policy?: Parameters<typeof GracefulStop.run>[1]) =>
  Effect.flatMap(fork(GracefulStop.run({ name: "api", ...stoppable }, policy)), drive)

/** An `InFlight` with one piece of work in it. */
const working = Effect.fnUntraced(function*<A, E>(work: Effect.Effect<A, E>) {
  // a `TestClock` that was never adjusted cannot sleep in the finalizer of an interrupted fiber
  yield* TestClock.adjust(0)
  const inFlight = yield* InFlight.make
  const fiber = yield* fork(InFlight.run(inFlight, "work", work))
  return { inFlight, fiber }
})

const deafForEver = Effect.uninterruptible(Effect.never)

/** Gives what is made a share of a budget, if there is one. */
const within = (budget: Duration.Input | undefined) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  budget === undefined
    ? effect
    : Effect.flatMap(StopBudget.make(budget), (budget) => Effect.provideService(effect, StopBudget.StopBudget, budget))

/** Stands still; on it, as on the real one, to sleep for no time is to yield. */
const still: Clock.Clock = {
  currentTimeMillisUnsafe: () => 0,
  currentTimeMillis: Effect.succeed(0),
  currentTimeNanosUnsafe: () => 0n,
  currentTimeNanos: Effect.succeed(0n),
  monotonicTimeNanosUnsafe: () => 0n,
  monotonicTimeNanos: Effect.succeed(0n),
  sleep: (duration) => Duration.toMillis(duration) > 0 ? Effect.never : Effect.yieldNow
}

it.effect("work that ends within the grace period ends as if nothing had happened", () =>
  Effect.gen(function*() {
    const { fiber, inFlight } = yield* working(Effect.as(Effect.sleep("1 second"), "done"))
    const report = yield* run({ inFlight }, { grace: "2 seconds" })
    assert.strictEqual(yield* Fiber.join(fiber), "done")
    assert.strictEqual(report.outcome, "graceful")
    assert.strictEqual(report.durations.total, 1000)
    assert.strictEqual(report.counts.succeeded, 1)
    assert.deepStrictEqual(report.slowest, { kind: "work", ageMillis: 1000 })
    assert.deepStrictEqual([report.blockers, report.abandoned], [[], []])
  }))

it.effect("work that never ends is interrupted exactly at the deadline", () =>
  Effect.gen(function*() {
    const { fiber, inFlight } = yield* working(Effect.never)
    const stop = yield* fork(
      GracefulStop.run({ name: "api", inFlight }, { drainDelay: "1 second", grace: "2 seconds" })
    )
    yield* TestClock.adjust(2999)
    assert.isUndefined(fiber.pollUnsafe())
    yield* TestClock.adjust(1)
    assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    const report = yield* Fiber.join(stop)
    assert.strictEqual(report.forcedBy, "grace")
    assert.deepStrictEqual({ ...report.durations }, { announced: 1000, draining: 2000, interrupting: 0, total: 3000 })
    assert.strictEqual(report.counts.interrupted, 1)
  }))

it.effect("without a grace period work is interrupted at once, and its finalizers are waited for", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.ensuring(Effect.never, Effect.sleep("1 second")))
    const report = yield* run({ inFlight }, { grace: 0, forceTimeout: "2 seconds" })
    assert.strictEqual(report.durations.draining, 0)
    assert.strictEqual(report.durations.interrupting, 1000)
    assert.strictEqual(report.counts.interrupted, 1)
  }))

it.effect("without a grace period and with nothing in flight the stop is graceful", () =>
  Effect.gen(function*() {
    const report = yield* run({ inFlight: yield* InFlight.make }, { grace: 0 })
    assert.strictEqual(report.outcome, "graceful")
    assert.strictEqual(report.durations.total, 0)
  }))

it.effect("an infinite grace period lasts until someone escalates", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.never)
    const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight }, { grace: "Infinity" })
    const stop = yield* fork(self.stop)
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(self.phase(), "Draining")
    yield* self.escalate
    assert.strictEqual((yield* drive(stop)).forcedBy, "escalation")
  }))

it.effect("an escalation before the stop does not start it, but hurries it when it comes", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.never)
    const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight }, { drainDelay: "5 seconds" })
    yield* self.escalate
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(self.phase(), "Serving")
    const report = yield* drive(yield* fork(self.stop))
    assert.strictEqual(report.forcedBy, "escalation")
    assert.strictEqual(report.durations.total, 0)
  }))

it.effect("an escalation during the drain delay ends it and the drain", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.never)
    const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight }, { drainDelay: "5 seconds" })
    const stop = yield* fork(self.stop)
    yield* TestClock.adjust("1 second")
    assert.strictEqual(self.phase(), "Announced")
    yield* self.escalate
    const report = yield* drive(stop)
    assert.strictEqual(report.forcedBy, "escalation")
    assert.deepStrictEqual({ ...report.durations }, { announced: 1000, draining: 0, interrupting: 0, total: 1000 })
  }))

it.effect("everything is still served during the drain delay, and refused from the drain on", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.sleep("3 seconds"))
    const stop = yield* fork(GracefulStop.run({ name: "api", inFlight }, { drainDelay: "2 seconds" }))
    yield* TestClock.adjust(1999)
    assert.strictEqual(yield* InFlight.run(inFlight, "early", Effect.succeed("served")), "served")
    yield* TestClock.adjust(1)
    const error = yield* Effect.flip(InFlight.run(inFlight, "late", Effect.void))
    assert.deepInclude(error, { _tag: "Refused", kind: "late" })
    const report = yield* drive(stop)
    assert.deepStrictEqual({ ...report.counts }, {
      admitted: 2,
      succeeded: 2,
      failed: 0,
      interrupted: 0,
      destroyed: 0,
      abandoned: 0,
      refused: 1
    })
    assert.strictEqual(report.kinds["late"]?.refused, 1)
  }))

it.effect.each([[undefined], [Effect.void]])(
  "without a drain delay nothing is admitted from the call of stop on (announcement: %j)",
  ([announce]) =>
    Effect.gen(function*() {
      const inFlight = yield* InFlight.make
      const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight, announce }, { drainDelay: 0 })
      const entry = inFlight.kind("early").admit()
      yield* fork(self.stop)
      assert.strictEqual(self.phase(), "Draining")
      assert.isUndefined(inFlight.kind("late").admit())
      entry?.end("succeeded")
      assert.deepInclude((yield* self.stop).counts, { admitted: 1, refused: 1 })
    }).pipe(Effect.provideService(Clock.Clock, still))
)

it.effect("with a drain step of its own work is admitted until that step has ended", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.sleep("3 seconds"))
    const stop = yield* fork(GracefulStop.run({ name: "api", inFlight, drain: Effect.sleep("1 second") }))
    yield* TestClock.adjust(999)
    assert.strictEqual(yield* InFlight.run(inFlight, "early", Effect.succeed("served")), "served")
    yield* TestClock.adjust(1)
    assert.strictEqual((yield* Effect.flip(InFlight.run(inFlight, "late", Effect.void)))._tag, "Refused")
    const report = yield* drive(stop)
    assert.strictEqual(report.outcome, "graceful")
    assert.strictEqual(report.durations.draining, 3000)
  }))

it.effect("what was announced ahead is announced once, and its stop waits for no drain delay", () =>
  Effect.gen(function*() {
    let announcements = 0
    const self = yield* GracefulStop.makeUnscoped({
      name: "api",
      announce: Effect.sync(() => announcements++),
      drain: Effect.never
    }, { drainDelay: "5 seconds", grace: "1 second" })
    yield* self.announce
    yield* self.announce
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(self.phase(), "Announced")
    const report = yield* drive(yield* fork(self.stop))
    assert.deepStrictEqual({ ...report.durations }, { announced: 0, draining: 1000, interrupting: 0, total: 1000 })
    yield* self.announce
    assert.strictEqual(announcements, 1)
    assert.deepStrictEqual(report.failures, [])
  }))

it.effect("announcing ahead waits until the announcement is done", () =>
  Effect.gen(function*() {
    const self = yield* GracefulStop.makeUnscoped({ name: "api", announce: Effect.sleep("2 seconds") })
    const ahead = yield* fork(self.announce)
    yield* TestClock.adjust(1999)
    assert.isUndefined(ahead.pollUnsafe())
    yield* TestClock.adjust(1)
    yield* Fiber.join(ahead)
  }))

it.effect("there is a deadline while it drains, by the wall clock even where that is set back", () =>
  Effect.gen(function*() {
    yield* TestClock.adjust("1 hour")
    yield* TestClock.setTime(10_000)
    const { inFlight } = yield* working(deafForEver)
    const self = yield* GracefulStop.makeUnscoped(
      { name: "api", inFlight },
      { drainDelay: "1 second", grace: "4 seconds", forceTimeout: "2 seconds" }
    )
    assert.isUndefined(self.deadline())
    const stop = yield* fork(self.stop)
    const seen: Array<[GracefulStop.Phase, number | undefined]> = []
    for (const step of [500, 1000, 2000, 2000]) {
      yield* TestClock.adjust(step)
      seen.push([self.phase(), self.deadline()])
    }
    yield* drive(stop)
    seen.push([self.phase(), self.deadline()])
    assert.deepStrictEqual(seen, [
      ["Announced", undefined],
      ["Draining", 15_000],
      ["Draining", 15_000],
      ["Interrupting", undefined],
      ["Stopped", undefined]
    ])
  }))

const deadlines: ReadonlyArray<
  [grace: Duration.Input, budget: Duration.Input | undefined, deadline: number | undefined]
> = [
  ["5 seconds", undefined, 5_000],
  ["5 seconds", "10 seconds", 5_000],
  ["1 minute", "10 seconds", 9_000],
  ["Infinity", "10 seconds", 9_000],
  ["Infinity", "Infinity", undefined],
  ["Infinity", undefined, undefined]
]

it.effect.each(deadlines)(
  "with a grace period of %s, a budget of %s, and a second to force it, the deadline of the drain is %s",
  ([grace, budget, deadline]) =>
    Effect.gen(function*() {
      const self = yield* within(budget)(
        GracefulStop.makeUnscoped({ name: "api", drain: Effect.never }, { grace, forceTimeout: "1 second" })
      )
      const stop = yield* fork(self.stop)
      assert.strictEqual(self.deadline(), deadline)
      yield* TestClock.adjust((deadline ?? 1_000_000) - 1)
      assert.strictEqual(self.phase(), "Draining")
      yield* deadline === undefined ? self.escalate : TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(stop)).outcome, "forced")
    })
)

it.effect("when the grace period and the budget are over at the same moment it was the grace period", () =>
  Effect.gen(function*() {
    const report = yield* within("4 seconds")(
      run({ drain: Effect.never }, { grace: "3 seconds", forceTimeout: "1 second" })
    )
    assert.strictEqual(report.forcedBy, "grace")
    assert.strictEqual(report.durations.draining, 3000)
  }))

it.effect("interrupting the fiber that stops interrupts its waiting, not the stop", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(Effect.sleep("2 seconds"))
    const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight })
    const impatient = yield* fork(self.stop)
    yield* TestClock.adjust("1 second")
    yield* Fiber.interrupt(impatient)
    assert.strictEqual(self.phase(), "Draining")
    const report = yield* drive(yield* fork(self.stop))
    assert.strictEqual(report.outcome, "graceful")
    assert.strictEqual(report.durations.total, 2000)
  }))

it.effect("a scope that closes because its fiber is interrupted stops gracefully before it releases dependencies", () =>
  Effect.gen(function*() {
    const { fiber, inFlight } = yield* working(Effect.as(Effect.sleep("2 seconds"), "done"))
    let released: string | undefined
    const owner = yield* fork(Effect.scoped(Effect.gen(function*() {
      const self = yield* Effect.acquireRelease(
        Effect.succeed({ phase: (): GracefulStop.Phase => "Serving" }),
        (self) =>
          Effect.sync(() => {
            released = self.phase()
          })
      )
      self.phase = (yield* GracefulStop.make({ name: "api", inFlight })).phase
      return yield* Effect.never
    })))
    yield* drive(yield* fork(Fiber.interrupt(owner)))
    assert.strictEqual(yield* Fiber.join(fiber), "done")
    assert.strictEqual(released, "Stopped")
  }))

it.effect("acquire releases the resource by a graceful stop", () =>
  Effect.gen(function*() {
    const steps: Array<string> = []
    const scope = yield* Scope.make()
    const resource = yield* Scope.provide(
      GracefulStop.acquire(
        Effect.succeed("pool"),
        (name) => ({ name, drain: Effect.sync(() => steps.push(`${name} drained`)) })
      ),
      scope
    )
    assert.strictEqual(resource, "pool")
    assert.deepStrictEqual(steps, [])
    yield* drive(yield* fork(Scope.close(scope, Exit.void)))
    assert.deepStrictEqual(steps, ["pool drained"])
  }))

it.effect("the phases are passed in order, each step in its own", () =>
  Effect.gen(function*() {
    const seen: Array<string> = []
    let phase: () => GracefulStop.Phase = () => "Stopped"
    const see = (step: string) => Effect.sync(() => seen.push(`${step} while ${phase()}`))
    const self = yield* GracefulStop.makeUnscoped({
      name: "api",
      announce: see("announce"),
      drain: Effect.andThen(see("drain"), Effect.never),
      interrupt: see("interrupt"),
      destroy: () => void seen.push(`destroy while ${phase()}`)
    }, { grace: "1 second" })
    phase = self.phase
    assert.strictEqual(phase(), "Serving")
    yield* drive(yield* fork(self.stop))
    assert.strictEqual(phase(), "Stopped")
    assert.deepStrictEqual(seen, [
      "announce while Announced",
      "drain while Draining",
      "interrupt while Interrupting",
      "destroy while Destroying"
    ])
  }))

it.effect("awaitAnnounced and awaitDraining tell what is in flight that the end is coming", () =>
  Effect.gen(function*() {
    const seen: Array<string> = []
    const inFlight = yield* InFlight.make
    const self = yield* GracefulStop.makeUnscoped({ name: "api", inFlight }, { drainDelay: "1 second" })
    yield* fork(Effect.tap(self.awaitAnnounced, () => Effect.sync(() => seen.push(`open: ${inFlight.isOpen()}`))))
    yield* fork(Effect.tap(self.awaitDraining, () => Effect.sync(() => seen.push(`open: ${inFlight.isOpen()}`))))
    assert.deepStrictEqual(seen, [])
    yield* drive(yield* fork(self.stop))
    assert.deepStrictEqual(seen, ["open: true", "open: false"])
  }))

it.effect("a step that dies is logged and in the report, and does not hide the later steps", () =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      logs.push(`${logLevel}: ${[message].flat()[0]}`)
    })
    const destroyed: Array<string> = []
    const stop = GracefulStop.run({
      name: "api",
      announce: Effect.die("no announcement"),
      drain: Effect.fail("no drain"),
      interrupt: Effect.die("no interruption"),
      destroy: () => {
        destroyed.push("destroyed")
        throw new Error("half")
      }
    })
    const report = yield* Effect.provide(stop, Logger.layer([logger]))
    assert.strictEqual(report.forcedBy, "failure")
    assert.deepStrictEqual(report.failures.map((failure) => failure.split(":")[0]), [
      "announce",
      "drain",
      "interrupt",
      "destroy"
    ])
    assert.deepStrictEqual(destroyed, ["destroyed"])
    for (const step of ["announce", "drain", "interrupt", "destroy"]) {
      assert.isTrue(logs.some((log) => log.startsWith(`Error: api: ${step} failed: `)))
    }
  }))

const deafSteps: ReadonlyArray<[string, Partial<GracefulStop.Stoppable>, Partial<StopReport["durations"]>]> = [
  ["announce", { announce: deafForEver }, { announced: 3000, draining: 0, interrupting: 0 }],
  ["drain", { drain: deafForEver }, { announced: 1000, draining: 2000, interrupting: 0 }],
  ["interrupt", { drain: Effect.never, interrupt: deafForEver }, { announced: 1000, draining: 2000, interrupting: 500 }]
]

it.effect.each(deafSteps)(
  "%s: a step that cannot be interrupted does not hold the stop",
  ([, steps, durations]) =>
    Effect.gen(function*() {
      const report = yield* run(steps, { drainDelay: "1 second", grace: "2 seconds", forceTimeout: 500 })
      assert.deepInclude(report.durations, durations)
    })
)

it.effect("a force with nothing in flight and no steps does nothing, and nothing fails", () =>
  Effect.gen(function*() {
    const report = yield* run({ drain: Effect.never }, { grace: "1 second" })
    assert.strictEqual(report.forcedBy, "grace")
    assert.deepStrictEqual({ ...report.durations }, { announced: 0, draining: 1000, interrupting: 0, total: 1000 })
    assert.deepStrictEqual([report.blockers, report.abandoned, report.failures], [[], [], []])
  }))

it.effect("an interrupt step that is a function is told how long it has: the force timeout, or its part of the budget", () =>
  Effect.gen(function*() {
    const told: Array<number> = []
    const stop = run({
      drain: Effect.never,
      interrupt: (forceMillis) => Effect.sync(() => told.push(forceMillis))
    }, { grace: 0, forceTimeout: "2 seconds" })
    const reports = [yield* stop, yield* within(500)(stop)]
    assert.deepStrictEqual(told, [2000, 500])
    assert.deepStrictEqual(reports.map(({ failures }) => failures), [[], []])
  }))

it.effect("what the interrupt step left alone is interrupted after it; that it fails is reported and holds nothing", () =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    inFlight.kind("work").admit()?.onInterrupt(() => {
      throw new Error("deaf")
    })
    let destroyed = false
    const report = yield* run({
      inFlight,
      interrupt: Effect.void,
      destroy: () => {
        destroyed = true
      }
    }, { grace: 0 })
    assert.strictEqual(report.failures.length, 1)
    assert.match(report.failures[0]!, /^interrupt: .*could not be interrupted/)
    assert.isTrue(destroyed)
    assert.strictEqual(report.counts.abandoned, 1)
  }))

/** The attributes of the span of a stop. */
const attributesOf = Effect.fnUntraced(function*(stoppable: Omit<GracefulStop.Stoppable, "name">) {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span(options) {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  yield* Effect.provideService(run(stoppable, { grace: "1 second" }), Tracer.Tracer, tracer)
  return spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)])
})

it.effect("a stop is a span with its outcome, why it was forced, and the counts", () =>
  Effect.gen(function*() {
    const none = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }
    assert.deepStrictEqual(yield* attributesOf({}), [["stop api", { outcome: "graceful", ...none }]])
    const { inFlight } = yield* working(Effect.never)
    assert.deepStrictEqual(yield* attributesOf({ inFlight }), [
      ["stop api", { outcome: "forced", forcedBy: "grace", ...none, admitted: 1, interrupted: 1 }]
    ])
  }))

it.effect.each(["is made", "gets its attributes", "ends"])(
  "a tracer that throws when the span of a stop %s neither holds the stop nor takes its report",
  (when) =>
    Effect.gen(function*() {
      const broken = (): never => {
        throw new Error("the exporter is broken")
      }
      const tracer = Tracer.make({
        span(options) {
          if (when === "is made") return broken()
          const span = new Tracer.NativeSpan(options)
          if (when === "ends") span.end = broken
          else span.attribute = broken
          return span
        }
      })
      const events: Array<StopEvent.StopEvent> = []
      const { inFlight } = yield* working(Effect.never)
      const report = yield* run({ inFlight }, { grace: "1 second" }).pipe(
        Effect.provideService(StopEvent.Sink, (event) => Effect.sync(() => void events.push(event))),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      assert.deepStrictEqual([report.outcome, report.counts.interrupted], ["forced", 1])
      assert.deepStrictEqual(events.flatMap((event) => event._tag === "StepFailed" ? [event.step] : []), ["span"])
      assert.strictEqual(report.failures.length, when === "is made" ? 1 : 0)
    })
)

it.effect("work that cannot be interrupted is bounded by the force timeout, named as abandoned, and logged", () =>
  Effect.gen(function*() {
    const { inFlight } = yield* working(deafForEver)
    const report = yield* run({ inFlight }, { grace: "1 second", forceTimeout: "2 seconds" })
    assert.strictEqual(report.durations.total, 3000)
    assert.deepStrictEqual(report.blockers, [{ kind: "work", ageMillis: 1000 }])
    assert.deepStrictEqual(report.abandoned, [{ kind: "work", ageMillis: 3000 }])
    assert.strictEqual(inFlight.size(), 0)
  }))

it.effect("a policy that makes no sense is a defect before anything runs", () =>
  Effect.gen(function*() {
    const exit = yield* Effect.exit(GracefulStop.run({ name: "api" }, { forceTimeout: "Infinity" }))
    assert.isTrue(Exit.isFailure(exit))
    const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) as StopPolicyError : undefined
    assert.strictEqual(defect?.option, "forceTimeout")
  }))
