/** The promises as properties: each takes a kernel and a seed, and can be falsified. */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import { falsifiable, type Seed, simulate } from "../simulation.ts"
import { factsOf } from "./Facts.ts"
import type { Kernel } from "./kernel.ts"
import { observe } from "./Observation.ts"
import * as OneProcess from "./OneProcess.ts"
import * as OneStop from "./OneStop.ts"
import * as Process from "./Process.ts"
import * as ProcessTree from "./ProcessTree.ts"
import * as SameMoment from "./SameMoment.ts"
import * as Scenario from "./Scenario.ts"
import * as SharedBudget from "./SharedBudget.ts"
import { int } from "./Work.ts"

export interface Property<A = unknown> {
  readonly name: string
  readonly input: Arbitrary.Arbitrary<A>
  readonly holds: (kernel: Kernel, input: A, seed: Seed) => Effect.Effect<void, string>
}

/** Forgets the type of the input, which only `holds` looks at. */
const property = <A>(self: Property<A>): Property => self as unknown as Property

const ofOneStop = OneStop.laws.map(({ check, name }) =>
  property({
    name,
    input: Scenario.arbitrary,
    holds: (kernel, scenario, seed) =>
      falsifiable(Effect.map(
        simulate(seed, observe(kernel, scenario)),
        (observation) => check(factsOf(scenario, observation))
      ))
  })
)

const ofSharedBudget = SharedBudget.laws.map(({ check, name }) =>
  property({
    name,
    input: SharedBudget.arbitrary,
    holds: (kernel, scenario, seed) =>
      falsifiable(Effect.map(simulate(seed, SharedBudget.observe(kernel, scenario)), check))
  })
)

const ofSameMoment = SameMoment.laws.map((law) =>
  property({
    name: law.name,
    input: SameMoment.arbitrary,
    holds: (kernel, scenario, seed) => falsifiable(simulate(seed, SameMoment.play(law, kernel, scenario)))
  })
)

const ofOneProcess = OneProcess.laws.map(({ check, name }) =>
  property({
    name,
    input: ProcessTree.arbitrary,
    holds: (kernel, scenario, seed) =>
      falsifiable(Effect.map(simulate(seed, Process.observe(kernel, scenario, seed !== undefined)), check))
  })
)

export const properties: ReadonlyArray<Property> = [...ofOneStop, ...ofSameMoment, ...ofSharedBudget, ...ofOneProcess]

/** Both modes: the default scheduler, and one that is shuffled by a seed among the inputs. */
export const modes = {
  "in order": Arbitrary.Constant(undefined),
  "shuffled": int(0, 1_000_000)
} as const

export type Mode = keyof typeof modes

/** Checks a property of a kernel; a description of the counterexample if there is one. */
export const check = (
  { holds, input }: Property,
  kernel: Kernel,
  mode: Mode,
  options: Arbitrary.CheckOptions
): Effect.Effect<string | undefined> =>
  Effect.map(
    Arbitrary.checkEffect(
      Arbitrary.all({ input, seed: modes[mode] as Arbitrary.Arbitrary<Seed> }),
      (value) => Effect.as(holds(kernel, value.input, value.seed), true),
      options
    ),
    Arbitrary.formatCheckFailure
  )
