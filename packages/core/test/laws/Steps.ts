/** One stop of the kernel's own: a scenario, and what the steps of the stop do. */
import * as StopScenario from "@lastcall/testing/StopScenario"
import { int, oneOf } from "@lastcall/testing/Work"
import * as Arbitrary from "effect/Arbitrary"

/** A step of the stop: what it does after some time. */
export interface Step {
  readonly does: "nothing" | "ends" | "fails" | "dies" | "hangs" | "is deaf" | "is deaf for ever"
  readonly after: number
}

export interface Scenario extends StopScenario.Scenario {
  readonly announce: Step
  readonly drain: Step
  readonly interrupt: Step
  readonly destroy: "works" | "throws"
}

const step: Arbitrary.Arbitrary<Step> = Arbitrary.all({
  does: oneOf(
    "nothing",
    "nothing",
    "nothing",
    "nothing",
    "ends",
    "ends",
    "fails",
    "dies",
    "hangs",
    "is deaf",
    "is deaf for ever"
  ),
  after: int(0, 12)
})

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.map(
  Arbitrary.all({
    scenario: StopScenario.arbitrary({ cancels: true }),
    announce: step,
    drain: step,
    interrupt: step,
    destroy: oneOf("works", "works", "throws")
  }),
  ({ scenario, ...steps }) => ({ ...scenario, ...steps })
)
