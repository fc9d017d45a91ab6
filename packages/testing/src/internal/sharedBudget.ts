/** Several resources of one kind that stop under one budget. */
import * as StopBudget from "@lastcall/core/StopBudget"
import type { StopReport } from "@lastcall/core/StopReport"
import * as Arbitrary from "effect/Arbitrary"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Make, Policy } from "../StopScenario.ts"
import * as Work from "../Work.ts"
import { int, millisOrForever, oneOf } from "../Work.ts"
import { atLeast, atMost, equal } from "./expect.ts"

interface Resource {
  readonly policy: Policy
  /** Handed over at zero. */
  readonly work: ReadonlyArray<Work.Work>
}

export interface SharedBudget {
  readonly total: number
  readonly order: "sequential" | "parallel"
  readonly closing: number
  /** In the order in which they are made: the last one stops first. */
  readonly resources: ReadonlyArray<Resource>
}

export const arbitrary: Arbitrary.Arbitrary<SharedBudget> = Arbitrary.all({
  total: int(0, 80),
  order: oneOf("sequential", "parallel"),
  closing: int(1, 20),
  resources: Arbitrary.array(
    Arbitrary.all({
      policy: Arbitrary.all({ drainDelay: int(0, 8), grace: millisOrForever(40), forceTimeout: int(0, 12) }),
      work: Arbitrary.array(Work.arbitrary, { maxLength: 2 })
    }),
    { minLength: 1, maxLength: 4 }
  )
})

export interface BudgetFacts {
  readonly scenario: SharedBudget
  /** How long the closing of the scope took. */
  readonly took: number
  /** In the order of `resources`. */
  readonly stopped: ReadonlyArray<
    { readonly resource: Resource; readonly report: StopReport; readonly lastEnd: number }
  >
}

export const play = (make: Make, scenario: SharedBudget): Effect.Effect<BudgetFacts> =>
  Effect.gen(function*() {
    const now = yield* Effect.map(Clock.Clock, (clock) => () => clock.currentTimeMillisUnsafe())
    const scope = yield* Scope.make(scenario.order)
    const budget = yield* StopBudget.make(scenario.total)

    const open = Effect.fnUntraced(function*(resource: Resource) {
      let lastEnd = 0
      const { run, stop } = yield* make(resource.policy, { say: () => Effect.void, onEvent: () => {} })
      for (const [index, work] of resource.work.entries()) {
        const enacted = Work.enact(work, `piece ${index}`, (verb) =>
          Effect.sync(() => {
            if (verb === "ends") lastEnd = now()
          }))
        yield* Effect.forkDetach(run(enacted, `piece ${index}`))
      }
      return Effect.map(stop.stop, (report) => ({ resource, report, lastEnd }))
    })

    const opened = yield* Effect.forEach(scenario.resources, open).pipe(
      Effect.provideService(StopBudget.StopBudget, budget),
      Scope.provide(scope)
    )
    yield* Effect.sleep(scenario.closing)
    const start = now()
    yield* Scope.close(scope, Exit.void)
    const took = now() - start
    return { scenario, took, stopped: yield* Effect.all(opened) }
  })

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0)

const endOf = ({ durations, startedAt }: StopReport): number => startedAt + durations.total

const forceTimeouts = (resources: ReadonlyArray<Resource>): number =>
  sum(resources.map(({ policy }) => policy.forceTimeout))

export interface SharedBudgetLaw {
  readonly name: string
  readonly check: (facts: BudgetFacts, linger: number) => void
}

export const laws: ReadonlyArray<SharedBudgetLaw> = [
  {
    name: "7. several of them end within one budget",
    check({ scenario: { total }, took }) {
      atMost(took, total, "it took")
    }
  },
  {
    name: "7. several of them stop in the declared order: one after the other, or together",
    check({ scenario, stopped }) {
      let previousEnd = scenario.closing
      for (const { report } of stopped.toReversed()) {
        atLeast(report.startedAt, previousEnd, "the start")
        if (scenario.order === "parallel") atMost(report.startedAt, scenario.closing, "the start")
        else previousEnd = endOf(report)
      }
    }
  },
  {
    name: "7. one that hangs does not keep the others from draining",
    check({ scenario: { closing, order, resources, total }, stopped }, linger) {
      if (forceTimeouts(resources) >= total) return
      for (const [index, { report, resource: { policy, work } }] of stopped.entries()) {
        const reserved = order === "sequential" ? forceTimeouts(resources.slice(0, index)) : 0
        const left = closing + total - report.startedAt - policy.forceTimeout - reserved
        const needs = Math.max(policy.drainDelay, ...work.map((work) => Work.length(work) - report.startedAt)) + linger
        if (needs < Math.min(policy.drainDelay + policy.grace, left)) equal(report.outcome, "graceful", "the outcome")
      }
    }
  }
]
