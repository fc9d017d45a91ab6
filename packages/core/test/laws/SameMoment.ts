/** Races: work that arrives, ends and is stopped all in the same moment, again and again. */
import { assert } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Kernel } from "./kernel.ts"
import { int } from "./Work.ts"

export interface Scenario {
  /** For each piece of work, how often it lets others run before it ends. */
  readonly pieces: ReadonlyArray<number>
  readonly rounds: number
}

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.all({
  pieces: Arbitrary.array(int(0, 4), { minLength: 1, maxLength: 3 }),
  rounds: int(1, 10)
})

const yields = (times: number): Effect.Effect<void> => Effect.replicateEffect(Effect.yieldNow, times, { discard: true })

const gate = (kernel: Kernel, { pieces }: Scenario) =>
  Effect.gen(function*() {
    const inFlight = yield* kernel.InFlight.make
    const self = yield* kernel.GracefulStop.makeUnscoped({ name: "api", inFlight }, { grace: 10 })
    let stepsAfterStop = 0
    const work = (length: number) =>
      Effect.andThen(
        yields(length),
        Effect.sync(() => {
          if (self.phase() === "Stopped") stepsAfterStop++
        })
      )
    const callers = yield* Effect.forEach(
      pieces,
      (length) => Effect.forkDetach(Effect.exit(kernel.InFlight.run(inFlight, "work", work(length))))
    )
    yield* yields(pieces[0]!)
    const report = yield* self.stop
    yield* Fiber.awaitAll(callers)
    assert.strictEqual(stepsAfterStop, 0, "steps after the stop")
    assert.strictEqual(report.counts.admitted, inFlight.counts().admitted, "admitted after the stop")
    assert.strictEqual(inFlight.counts().admitted + inFlight.counts().refused, pieces.length)
    assert.strictEqual(report.durations.total, 0, "it waited for what had ended")
    assert.strictEqual(report.outcome, "graceful")
  })

const unasked = (kernel: Kernel, { pieces }: Scenario) =>
  Effect.gen(function*() {
    const inFlight = yield* kernel.InFlight.make
    const callers = yield* Effect.forEach(
      pieces,
      () => Effect.forkDetach(kernel.InFlight.run(inFlight, "work", Effect.never))
    )
    yield* Effect.sleep(1)
    yield* kernel.GracefulStop.run(
      { name: "api", inFlight, interrupt: Effect.never },
      { grace: 0, forceTimeout: pieces[0]! }
    )
    yield* Effect.sleep(1)
    for (const caller of callers) assert.isDefined(caller.pollUnsafe(), "it was never interrupted")
  })

export const laws = [
  { name: "3. what arrives in the moment of the stop is either admitted and waited for, or refused", round: gate },
  { name: "4. nothing is abandoned that was not interrupted, whatever the interrupt step does", round: unasked }
] as const

export const play = (law: typeof laws[number], kernel: Kernel, scenario: Scenario): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let round = 0; round < scenario.rounds; round++) yield* law.round(kernel, scenario)
  })
