import { assert, it } from "@effect/vitest"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Program from "./program.ts"

const drainedAt = (lines: ReadonlyArray<string>, name = "api") =>
  Number(lines.find((line) => line.endsWith(` ${name} drains`))?.split(" ")[0])

it.effect("the end is announced to all at once, before anything drains, and the drain delay passes once for all", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const app = Lifecycle.sequence([resource("api"), resource("admin"), resource("jobs", { drainDelay: "5 seconds" })])
    const { interrupt, report } = yield* launch(app, { drainDelay: "2 seconds" })
    yield* interrupt
    assert.deepStrictEqual(lines.slice(0, 3).toSorted(), ["0 admin announces", "0 api announces", "0 jobs announces"])
    assert.deepStrictEqual(lines.slice(3), [
      "2000 api drains",
      "2000 api released",
      "2000 admin drains",
      "2000 admin released",
      "2000 jobs drains",
      "2000 jobs released"
    ])
    assert.deepStrictEqual({ ...report().durations }, { drainDelay: 2000, closing: 0, total: 2000 })
  }))

it.effect("everything is served during the drain delay", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const inFlight = yield* InFlight.make
    const { end, fiber, report } = yield* launch(resource("api", { inFlight }), { drainDelay: "2 seconds" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust(1999)
    assert.strictEqual(yield* InFlight.run(inFlight, "work", Effect.succeed("served")), "served")
    yield* end
    assert.strictEqual(report().resources[0]?.counts.succeeded, 1)
  }))

it.effect("57: the drain delay ends early after a quiet period", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const options = { drainDelay: "10 seconds", quietPeriod: "1 second" } as const
    const { interrupt } = yield* launch(resource("api", { inFlight: yield* InFlight.make }), options)
    yield* TestClock.adjust("5 seconds")
    yield* interrupt
    assert.strictEqual(drainedAt(lines), 6_000)
  }))

it.effect("without a quiet period the drain delay passes without anyone looking for traffic", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const clock = yield* Clock.Clock
    let sleeps = 0
    const counting: Clock.Clock = {
      ...clock,
      sleep(duration) {
        sleeps++
        return clock.sleep(duration)
      }
    }
    const { interrupt } = yield* Effect.provideService(
      launch(resource("api"), { drainDelay: "10 seconds" }),
      Clock.Clock,
      counting
    )
    yield* interrupt
    assert.strictEqual(drainedAt(lines), 10_000)
    assert.isBelow(sleeps, 20)
  }))

it.effect("57: what came before the announcement does not shorten the quiet period", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const inFlight = yield* InFlight.make
    const options = { drainDelay: "10 seconds", quietPeriod: "1 second" } as const
    const { interrupt } = yield* launch(resource("api", { inFlight }), options)
    yield* InFlight.run(inFlight, "work", Effect.void)
    yield* TestClock.adjust("900 millis")
    yield* interrupt
    assert.strictEqual(drainedAt(lines), 1_900)
  }))

it.effect("57: new work to any resource extends the quiet period", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const admin = yield* InFlight.make
    const app = Layer.provide(
      resource("api", { inFlight: yield* InFlight.make }),
      resource("admin", { inFlight: admin })
    )
    const { end, fiber } = yield* launch(app, { drainDelay: "10 seconds", quietPeriod: "1 second" })
    fiber.interruptUnsafe()
    for (let i = 0; i < 3; i++) {
      yield* TestClock.adjust("900 millis")
      yield* InFlight.run(admin, "work", Effect.void)
    }
    yield* end
    assert.strictEqual(drainedAt(lines), 2_700 + 1_000)
  }))

it.effect("57: a resource that does not count its work does not extend the quiet period", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const inFlight = yield* InFlight.make
    const app = Layer.provide(resource("api", { inFlight }), resource("admin"))
    const { end, fiber } = yield* launch(app, { drainDelay: "10 seconds", quietPeriod: "1 second" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("500 millis")
    yield* InFlight.run(inFlight, "work", Effect.void)
    yield* end
    assert.strictEqual(drainedAt(lines), 1_500)
  }))

it.effect("57: traffic that never ends extends the drain delay no further than its cap", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const inFlight = yield* InFlight.make
    const { end, fiber } = yield* launch(resource("api", { inFlight }), {
      drainDelay: "3 seconds",
      quietPeriod: "1 second"
    })
    const traffic = yield* Effect.forkChild(
      Effect.forever(Effect.andThen(Effect.ignore(InFlight.run(inFlight, "work", Effect.void)), Effect.sleep(500)))
    )
    fiber.interruptUnsafe()
    yield* end
    traffic.interruptUnsafe()
    assert.strictEqual(drainedAt(lines), 3_000)
  }))

it.effect("an escalation ends the drain delay", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { end, fiber, lifecycle } = yield* launch(resource("api"), { drainDelay: "5 seconds" })
    fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    yield* lifecycle.escalate
    yield* end
    assert.strictEqual(drainedAt(lines), 1_000)
  }))

it.effect("the end is announced to all before anything drains, however much someone is in a hurry", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { interrupt, lifecycle } = yield* launch(
      Lifecycle.sequence([resource("a"), resource("b"), resource("c")]),
      { budget: 0, drainDelay: "1 minute" }
    )
    yield* lifecycle.escalate
    yield* interrupt
    assert.deepStrictEqual(lines.slice(0, 3), ["0 c announces", "0 b announces", "0 a announces"])
  }))

it.effect("a process that was never ready does not wait for the drain delay", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const { interrupt } = yield* launch(resource("api"), { drainDelay: "5 seconds", warmUp: Effect.never })
    yield* TestClock.adjust("1 second")
    yield* interrupt
    assert.deepStrictEqual(lines, ["1000 api announces", "1000 api drains", "1000 api released"])
  }))

it.effect("an announcement that never ends delays the drain by a second, or by the drain delay if that is longer", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const api = resource("api", { announce: Program.deafForEver })
    const one = yield* launch(Layer.fresh(api))
    yield* one.interrupt
    assert.strictEqual(drainedAt(lines), 1_000)
    const other = yield* launch(Layer.fresh(api), { drainDelay: "3 seconds" })
    yield* other.interrupt
    assert.strictEqual(drainedAt(lines), 1_000 + 3_000)
  }))

it.effect("an announcement that dies is in the report, and delays nothing", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const { interrupt, report } = yield* launch(resource("api", { announce: Effect.die("no announcement") }))
    yield* interrupt
    assert.strictEqual(report().durations.total, 0)
    assert.match(report().resources[0]!.failures[0]!, /^announce: .*no announcement/)
  }))

it.effect("a drain delay longer than the budget is cut, and leaves resources their force, besides the reserve", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const hangs = { drain: Effect.never, interrupt: Effect.sleep("1900 millis"), forceTimeout: "2 seconds" } as const
    const app = Lifecycle.sequence([resource("api", hangs), resource("admin", hangs)])
    const { interrupt, report } = yield* launch(app, {
      budget: "10 seconds",
      reserve: "1 second",
      drainDelay: "1 minute"
    })
    yield* interrupt
    assert.strictEqual(report().durations.drainDelay, 5_000)
    for (const { durations } of report().resources) assert.strictEqual(durations.interrupting, 1_900)
  }))

it.effect("a drain delay keeps half of the budget, however many resources there are to force", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const many = Array.from({ length: 20 }, (_, index) => resource(`${index}`, { forceTimeout: "2 seconds" }))
    const one = yield* launch(Lifecycle.parallel(many), { drainDelay: "5 seconds", budget: "25 seconds" })
    yield* one.interrupt
    assert.strictEqual(drainedAt(lines, "0"), 5_000)
    const other = yield* launch(Layer.fresh(Lifecycle.parallel(many)), {
      drainDelay: "20 seconds",
      budget: "25 seconds"
    })
    yield* other.interrupt
    assert.strictEqual(drainedAt(lines, "0"), 5_000 + 12_000)
  }))

/** A clock whose wall time can be set. */
const settable = Effect.map(Clock.Clock, (clock) => {
  let ahead = 0
  const self: Clock.Clock = { ...clock, currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + ahead }
  return {
    clock: self,
    set: (millis: number) => {
      ahead = millis
    }
  }
})

const anHour = 3_600_000

/** When it drains: the wall clock is set after 500 ms, work comes before and after as given; quiet is 1 second of 10. */
const drainedWhereClockIsSet = (aheadBy: number, before: ReadonlyArray<number>, after: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const { clock, set } = yield* settable
    return yield* Effect.provideService(
      Effect.gen(function*() {
        const start = yield* Effect.clockWith((clock) => Effect.sync(() => clock.monotonicTimeNanosUnsafe()))
        const { launch, resource } = yield* Program.make
        const inFlight = yield* InFlight.make
        let drained: number | undefined
        const drain = Effect.sync(() => {
          drained = Number(clock.monotonicTimeNanosUnsafe() - start) / 1_000_000
        })
        const { end, fiber } = yield* launch(resource("api", { inFlight, drain }), {
          drainDelay: "10 seconds",
          quietPeriod: "1 second"
        })
        fiber.interruptUnsafe()
        let now = 0
        const workAt = Effect.fnUntraced(function*(times: ReadonlyArray<number>) {
          for (const time of times) {
            yield* TestClock.adjust(time - now)
            now = time
            yield* InFlight.run(inFlight, "work", Effect.void)
          }
        })
        yield* workAt(before)
        yield* TestClock.adjust(500 - now)
        now = 500
        set(aheadBy)
        yield* workAt(after)
        yield* end
        return drained
      }),
      Clock.Clock,
      clock
    )
  })

it.effect.each(
  [
    ["forward: what came before it", anHour, [400], [], 1_400, 1_400],
    ["forward: what comes after it", anHour, [400], [700], 1_700, 2_400],
    ["back: what came before it", -anHour, [400], [], 1_400, 2_000],
    ["back: what comes after it", -anHour, [400], [700], 1_700, 1_700]
  ] as const
)(
  "57: a wall clock that is set ends no quiet period early, nor keeps it from ending: %s",
  ([, ahead, before, after, atLeast, atMost]) =>
    Effect.gen(function*() {
      const drained = yield* drainedWhereClockIsSet(ahead, before, after)
      assert.isAtLeast(drained!, atLeast)
      assert.isAtMost(drained!, atMost)
    })
)

it.effect("a resource that is made while the process is ready serves until that is to stop", () =>
  Effect.gen(function*() {
    const { launch, lines, resource } = yield* Program.make
    const later = Layer.effectDiscard(Effect.gen(function*() {
      const scope = yield* Effect.scope
      yield* Effect.forkScoped(
        Effect.andThen(Effect.sleep("1 second"), Layer.buildWithScope(resource("later"), scope))
      )
    }))
    const { interrupt } = yield* launch(Layer.provide(resource("api"), later))
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual(lines, ["1000 later serves"])
    yield* interrupt
    assert.deepStrictEqual(lines.slice(1, 3), ["2000 api announces", "2000 later announces"])
  }))

it.effect("a resource that is made while the process stops is told at once, and stops with the others", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const late = Effect.gen(function*() {
      const scope = yield* Effect.scope
      yield* Effect.forkScoped(Effect.gen(function*() {
        yield* Lifecycle.awaitDraining
        yield* say("made late")
        yield* Layer.buildWithScope(resource("late", { drain: Effect.sleep("1 second") }), scope)
      }))
    })
    const app = Layer.provide(resource("api", { drain: Effect.sleep("3 seconds") }), Layer.effectDiscard(late))
    const { interrupt, report } = yield* launch(app, { drainDelay: "1 second" })
    yield* interrupt
    assert.deepStrictEqual(lines, [
      "0 api announces",
      "1000 made late",
      "1000 late announces",
      "1000 late serves",
      "1000 api drains",
      "4000 api released",
      "4000 late drains",
      "5000 late released"
    ])
    assert.deepStrictEqual(report().resources.map(({ name }) => name), ["api", "late"])
  }))
