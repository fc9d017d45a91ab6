import { assert, describe, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as StopBudget from "@lastcall/core/StopBudget"
import * as StopLaws from "@lastcall/testing/StopLaws"
import type * as StopScenario from "@lastcall/testing/StopScenario"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** A resource that keeps the promises, and what else it does. */
const worker = (
  change: (
    inFlight: InFlight.InFlight,
    policy: StopScenario.Policy
  ) => Partial<GracefulStop.Stoppable & { policy: StopScenario.Policy; run: StopScenario.Subject["run"] }> = () => ({})
): StopLaws.Make =>
(policy) =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const changed = change(inFlight, policy)
    const stop = yield* GracefulStop.make({ name: "worker", inFlight, ...changed }, changed.policy ?? policy)
    return { stop, run: changed.run ?? ((work) => InFlight.run(inFlight, "job", work)) }
  })

describe("a resource that keeps the promises", () => {
  StopLaws.register(it.effect, worker())
})

/** By promise, a mistake that somebody could make. */
const mistakes: ReadonlyArray<readonly [promise: number, name: string, make: StopLaws.Make]> = [
  [1, "that waits longer than its policy", worker((_, policy) => ({ policy: { ...policy, grace: policy.grace + 1 } }))],
  [1, "that drains for a while when nothing is in flight", worker(() => ({ drain: Effect.sleep(5) }))],
  [1, "without the drain delay", worker((_, policy) => ({ policy: { ...policy, drainDelay: 0 } }))],
  [
    2,
    "that interrupts its work as soon as it drains",
    worker((inFlight) => ({ drain: Effect.sync(() => inFlight.interruptAll()) }))
  ],
  [
    3,
    "that closes late",
    worker((inFlight) => ({ drain: Effect.andThen(Effect.sleep(3), Effect.sync(() => inFlight.close())) }))
  ],
  [
    3,
    "that looks whether it is open, and admits later",
    worker((inFlight) => ({
      run: (work) =>
        Effect.gen(function*() {
          if (!inFlight.isOpen()) return yield* Effect.fail("refused")
          yield* Effect.yieldNow
          yield* Effect.forkDetach(work)
        })
    }))
  ],
  [3, "that runs work without admitting it", worker(() => ({ run: (work) => work }))],
  [
    4,
    "that forks work and forgets it",
    worker((inFlight) => ({ run: (work) => InFlight.run(inFlight, "job", Effect.forkDetach(work)) }))
  ],
  [
    4,
    "that does not wait for the finalizers of what it interrupts",
    worker((inFlight) => ({
      run: (work) =>
        InFlight.run(
          inFlight,
          "job",
          Effect.flatMap(Effect.forkDetach(work), (fiber) =>
            Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => fiber.interruptUnsafe())))
        )
    }))
  ],
  [
    5,
    "that makes a new report for each caller",
    (policy) =>
      Effect.map(worker()(policy, { say: () => Effect.void, onEvent: () => {} }), ({ run, stop }) => ({
        run,
        stop: { ...stop, stop: Effect.map(stop.stop, (report) => ({ ...report })) }
      }))
  ],
  [
    6,
    "that counts failures as successes",
    worker((inFlight) => ({ run: (work) => InFlight.run(inFlight, "job", Effect.exit(work)) }))
  ],
  [
    7,
    "that does not take its part of the budget",
    (policy, stage) => Effect.provideService(worker()(policy, stage), StopBudget.StopBudget, undefined)
  ],
  [
    8,
    "that never answers whom it refuses",
    worker((inFlight) => ({
      run: (work) =>
        Effect.catchTag(
          InFlight.run(inFlight, "job", Effect.mapError(work, () => "no" as never)),
          "Refused",
          () => Effect.never
        )
    }))
  ]
]

describe("a counterexample is found for a resource", () => {
  for (const [promise, name, make] of mistakes) {
    it.effect(`${name} (promise ${promise})`, () =>
      Effect.gen(function*() {
        const found = yield* Effect.flip(StopLaws.check(make, { promises: [promise], maxShrinks: 20 }))
        assert.strictEqual(found.promise, promise)
        assert.isTrue(found.law.startsWith(`${promise}. `))
      }))
  }
})

describe("a counterexample", () => {
  const broken = worker((_, policy) => ({ policy: { ...policy, grace: policy.grace + 1 } }))
  const law = StopLaws.laws.find(({ name }) => name.startsWith("1. it is forced"))!

  it.effect("says which law, in which scenario and interleaving, and with which seed", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(law.check(broken, { seed: 5, interleaving: "shuffled" }))
      assert.match(message, /^promise 1\. it is forced neither early nor late\n/)
      assert.match(message, /the force: expected \d+, got \d+\n/)
      assert.match(message, /"policy": \{/)
      assert.match(message, /interleaving: shuffled by seed \d+/)
      assert.match(message, /found with seed 5$/)
    }))

  it.effect("is found again with the same seed", () =>
    Effect.gen(function*() {
      const one = yield* Effect.flip(law.check(broken, { seed: 3 }))
      const again = yield* Effect.flip(law.check(broken, { seed: 3 }))
      assert.deepStrictEqual(again, one)
      const other = yield* Effect.flip(law.check(broken, { seed: 4, maxShrinks: 0 }))
      assert.notDeepEqual(other.scenario, one.scenario)
    }))

  it.effect("that only a shuffled run shows is not found in order", () =>
    Effect.gen(function*() {
      const racy = worker((inFlight) => ({
        run: (work) =>
          Effect.gen(function*() {
            if (!(yield* Effect.sync(() => inFlight.isOpen()))) return yield* Effect.fail("refused")
            const fiber = yield* Effect.forkDetach(work)
            const entry = inFlight.kind("job").admit()
            fiber.addObserver(() => entry?.end("succeeded"))
          })
      }))
      const sameMoment = StopLaws.laws.find(({ name }) => name.includes("in the moment of the stop"))!
      yield* sameMoment.check(racy, { interleaving: "in order" })
      const shuffled = yield* Effect.flip(sameMoment.check(racy, { interleaving: "shuffled" }))
      assert.isNumber(shuffled.interleaving)
    }))
})

describe("options", () => {
  it("register makes a test of each promise, with any runner", async () => {
    const tests: Array<readonly [string, () => Promise<void>]> = []
    StopLaws.register((name, run) => tests.push([name, () => Effect.runPromise(run())]), worker(), {
      promises: [2, 6],
      runs: 3
    })
    assert.deepStrictEqual(tests.map(([name]) => name), [
      "2. what fits ends as if nothing had happened",
      "6. the counts add up"
    ])
    for (const [, run] of tests) await run()
  })

  it.effect("runs says how many resources a law makes", () =>
    Effect.gen(function*() {
      let made = 0
      const counted: StopLaws.Make = (policy, stage) =>
        Effect.suspend(() => {
          made++
          return worker()(policy, stage)
        })
      yield* StopLaws.laws[0]!.check(counted, { runs: 7 })
      assert.strictEqual(made, 7)
    }))

  it.effect("linger allows a resource to take that long when its work has ended", () =>
    Effect.gen(function*() {
      const lingering = worker(() => ({ drain: Effect.sleep(5) }))
      const last = StopLaws.laws.find(({ name }) => name.includes("no longer than for the last piece"))!
      yield* last.check(lingering, { linger: "5 millis" })
      yield* Effect.flip(last.check(lingering, { linger: "4 millis" }))
    }))

  it.effect("a resource that cannot be made is a counterexample, with why", () =>
    Effect.gen(function*() {
      const { detail } = yield* Effect.flip(StopLaws.check(() => Effect.die(new Error("no room"))))
      assert.include(detail, "no room")
    }))

  it.effect("a resource that never stops is a counterexample", () =>
    Effect.gen(function*() {
      const make: StopLaws.Make = (policy, stage) =>
        Effect.tap(worker()(policy, stage), () => Effect.addFinalizer(() => Effect.never))
      const { detail } = yield* Effect.flip(StopLaws.check(make, { runs: 2, promises: [1], maxShrinks: 2 }))
      assert.include(detail, "it does not end")
    }))
})
