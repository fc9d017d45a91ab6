/** The promises as properties of a kernel: the laws of every resource, and what only the kernel promises. */
import * as StopLaws from "@lastcall/testing/StopLaws"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import { int } from "@lastcall/testing/Work"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Facts from "./Facts.ts"
import type { Kernel } from "./kernel.ts"
import * as OneProcess from "./OneProcess.ts"
import * as OneStop from "./OneStop.ts"
import * as Process from "./Process.ts"
import * as ProcessTree from "./ProcessTree.ts"
import * as SharedBudget from "./SharedBudget.ts"
import * as Steps from "./Steps.ts"
import * as Unasked from "./Unasked.ts"

/** `undefined` is the order in which fibers become ready, a number the seed of a shuffled one. */
type Seed = number | undefined

export interface Property {
  readonly name: string
  /** Looks for a counterexample, and describes it. */
  readonly check: (
    kernel: Kernel,
    mode: Mode,
    options: Arbitrary.CheckOptions & { readonly seed: number }
  ) => Effect.Effect<string | undefined>
}

/** Both modes: the order in which fibers become ready, and one that is shuffled by a seed among the inputs. */
export const modes = {
  "in order": Arbitrary.Constant(undefined),
  "shuffled": int(0, 1_000_000)
} as const

export type Mode = keyof typeof modes

const property = <A>(
  name: string,
  input: Arbitrary.Arbitrary<A>,
  holds: (kernel: Kernel, input: A, seed: Seed) => Effect.Effect<void>
): Property => ({
  name,
  check: (kernel, mode, options) =>
    Effect.map(
      Arbitrary.checkEffect(
        Arbitrary.all({ input, seed: modes[mode] as Arbitrary.Arbitrary<Seed> }),
        (value) =>
          Effect.provideService(holds(kernel, value.input, value.seed), References.MinimumLogLevel, "None").pipe(
            (effect) => VirtualTime.run(effect, { seed: value.seed, horizon: "20 seconds" }),
            // a cause as a failure, so that a property that dies shrinks like one that fails
            Effect.catchCause((cause) => Effect.fail(Cause.pretty(cause))),
            Effect.as(true)
          ),
        options
      ),
      Arbitrary.formatCheckFailure
    )
})

/** `InFlight` and `GracefulStop` by themselves, as one resource among others. */
const worker = (kernel: Kernel): StopLaws.Make => (policy) =>
  Effect.gen(function*() {
    const inFlight = yield* kernel.InFlight.make
    const stop = yield* kernel.GracefulStop.make({ name: "api", inFlight }, policy)
    return { stop, run: (work, name) => kernel.InFlight.run(inFlight, name, work) }
  })

const ofEveryResource = StopLaws.laws.map(({ check, name }): Property => ({
  name: `${name} (every resource)`,
  check: (kernel, interleaving, options) =>
    Effect.match(check(worker(kernel), { ...options, interleaving }), {
      onFailure: ({ message }) => message,
      onSuccess: () => undefined
    })
}))

/** Steps may take longer than the work, or end the waiting for it: the kernel has laws of its own for these. */
const dependsOnSteps = new Set([
  "1. it waits no longer than for the last piece of work",
  "4. what is interrupted runs its finalizers, and is waited for until the force timeout"
])

const ofOneStop = Array.from(
  new Set([...StopLaws.checks, ...OneStop.laws].map(({ name }) => name)),
  (name) => {
    const ofAny = dependsOnSteps.has(name) ? [] : StopLaws.checks.filter((law) => law.name === name)
    const ofKernel = OneStop.laws.filter((law) => law.name === name)
    return property(
      name,
      Steps.arbitrary,
      (kernel, scenario) =>
        Effect.map(Facts.observe(kernel, scenario), (facts) => {
          for (const { check } of ofAny) check(facts, 0)
          for (const { check } of ofKernel) check(facts)
        })
    )
  }
)

const ofSharedBudget = SharedBudget.laws.map(({ check, name }) =>
  property(
    name,
    SharedBudget.arbitrary,
    (kernel, scenario) => Effect.map(SharedBudget.observe(kernel, scenario), check)
  )
)

const ofOneProcess = OneProcess.laws.map(({ check, name }) =>
  property(
    name,
    ProcessTree.arbitrary,
    (kernel, scenario, seed) => Effect.map(Process.observe(kernel, scenario, seed !== undefined), check)
  )
)

export const properties: ReadonlyArray<Property> = [
  ...ofEveryResource,
  ...ofOneStop,
  property(Unasked.name, Unasked.arbitrary, Unasked.play),
  ...ofSharedBudget,
  ...ofOneProcess
]
