/** Interrupt steps that do nothing, again and again. */
import { assert } from "@effect/vitest"
import { int } from "@lastcall/testing/Work"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import type { Kernel } from "./kernel.ts"

export interface Scenario {
  readonly pieces: number
  readonly forceTimeout: number
  readonly rounds: number
}

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.all({
  pieces: int(1, 3),
  forceTimeout: int(0, 4),
  rounds: int(1, 10)
})

export const name = "4. nothing is abandoned that was not interrupted, whatever the interrupt step does"

const round = (kernel: Kernel, { forceTimeout, pieces }: Scenario) =>
  Effect.gen(function*() {
    const inFlight = yield* kernel.InFlight.make
    const callers = yield* Effect.forEach(
      Array.from({ length: pieces }),
      () => Effect.forkDetach(kernel.InFlight.run(inFlight, "work", Effect.never))
    )
    yield* Effect.sleep(1)
    yield* kernel.GracefulStop.run({ name: "api", inFlight, interrupt: Effect.never }, { grace: 0, forceTimeout })
    yield* Effect.sleep(1)
    for (const caller of callers) assert.isDefined(caller.pollUnsafe(), "it was never interrupted")
  })

export const play = (kernel: Kernel, scenario: Scenario): Effect.Effect<void> =>
  Effect.replicateEffect(round(kernel, scenario), scenario.rounds, { discard: true })
