/** Races: work that arrives, ends and is stopped all in the same moment, again and again. */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Make } from "../StopScenario.ts"
import { int } from "../Work.ts"
import { atMost, equal } from "./expect.ts"

export interface SameMoment {
  /** For each piece of work, how often it lets others run before it ends. */
  readonly pieces: ReadonlyArray<number>
  readonly rounds: number
}

export const arbitrary: Arbitrary.Arbitrary<SameMoment> = Arbitrary.all({
  pieces: Arbitrary.array(int(0, 4), { minLength: 1, maxLength: 3 }),
  rounds: int(1, 10)
})

export const name = "3. what arrives in the moment of the stop is either admitted and waited for, or refused"

const policy = { drainDelay: 0, grace: 10, forceTimeout: 10 }
const stage = { say: () => Effect.void, onEvent: () => {} }

const yields = (times: number): Effect.Effect<void> => Effect.replicateEffect(Effect.yieldNow, times, { discard: true })

const round = (make: Make, pieces: ReadonlyArray<number>, linger: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { run, stop } = yield* make(policy, stage)
    let began = 0
    let stepsAfterStop = 0
    const step = Effect.sync(() => {
      if (stop.phase() === "Stopped") stepsAfterStop++
    })
    const work = (length: number) =>
      Effect.suspend(() => {
        began++
        return Effect.as(Effect.andThen(step, Effect.andThen(yields(length), step)), "done")
      })
    const callers = yield* Effect.forEach(
      pieces,
      (length, index) => Effect.forkDetach(Effect.exit(run(work(length), `piece ${index}`)))
    )
    yield* yields(pieces[0]!)
    const report = yield* stop.stop
    yield* Fiber.awaitAll(callers)
    yield* Effect.sleep(1)
    equal(stepsAfterStop, 0, "steps after the stop")
    equal(report.counts.admitted, began, "admitted, of those that began")
    equal(report.counts.succeeded, began, "succeeded, of those that began")
    atMost(report.counts.admitted + report.counts.refused, pieces.length, "admitted and refused")
    atMost(report.durations.total, linger, "how long it waited for what had ended")
    equal(report.outcome, "graceful", "the outcome")
  }))

export const play = (make: Make, { pieces, rounds }: SameMoment, linger: number): Effect.Effect<void> =>
  Effect.replicateEffect(round(make, pieces, linger), rounds, { discard: true })
