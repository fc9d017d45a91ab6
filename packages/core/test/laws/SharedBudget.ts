/** Several resources that stop under one budget (promise 7 of the design). */
import { assert } from "@effect/vitest"
import type * as GracefulStop from "@lastcall/core/GracefulStop"
import type { StopReport } from "@lastcall/core/StopReport"
import { int, millisOrForever, oneOf } from "@lastcall/testing/Work"
import * as Work from "@lastcall/testing/Work"
import * as Arbitrary from "effect/Arbitrary"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Kernel } from "./kernel.ts"

interface Resource {
  readonly policy: { readonly drainDelay: number; readonly grace: number; readonly forceTimeout: number }
  /** Admitted at zero. */
  readonly work: ReadonlyArray<Work.Work>
  readonly drain: "ends" | "hangs" | "is deaf for ever"
}

export interface Scenario {
  readonly total: number
  readonly order: "sequential" | "parallel"
  readonly closing: number
  /** In the order in which they are declared: the last one stops first. */
  readonly resources: ReadonlyArray<Resource>
}

const resource: Arbitrary.Arbitrary<Resource> = Arbitrary.all({
  policy: Arbitrary.all({ drainDelay: int(0, 8), grace: millisOrForever(40), forceTimeout: int(0, 12) }),
  work: Arbitrary.array(Work.arbitrary, { maxLength: 2 }),
  drain: oneOf("ends", "ends", "ends", "hangs", "is deaf for ever")
})

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.all({
  total: int(0, 80),
  order: oneOf("sequential", "parallel"),
  closing: int(1, 20),
  resources: Arbitrary.array(resource, { minLength: 1, maxLength: 4 })
})

interface Stopped {
  readonly resource: Resource
  readonly report: StopReport
  readonly start: number
  readonly end: number
  readonly forcedAt: number
  /** When each piece of work ended, by its kind. */
  readonly ends: ReadonlyMap<string, number>
  /** How long the drain would take if nothing cut it short. */
  readonly drainLength: number
  readonly stepsAfterStop: ReadonlyArray<string>
  readonly destroyed: number
  readonly releasedAt: number
}

export interface Facts {
  readonly scenario: Scenario
  /** How long the closing of the scope took. */
  readonly took: number
  readonly stopped: ReadonlyArray<Stopped>
}

export interface Law {
  readonly name: string
  readonly check: (facts: Facts) => void
}

export const observe = (kernel: Kernel, scenario: Scenario): Effect.Effect<Facts> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    const scope = yield* Scope.make(scenario.order)
    const budget = yield* kernel.StopBudget.make(scenario.total)

    const open = Effect.fnUntraced(function*(resource: Resource) {
      const inFlight = yield* kernel.InFlight.make
      const ends = new Map<string, number>()
      const stepsAfterStop: Array<string> = []
      let destroyed = 0
      let releasedAt = Number.NaN
      const drain = Effect.andThen(
        Effect.sync(() => inFlight.close()),
        resource.drain === "hangs" ? Effect.never : Effect.uninterruptible(Effect.never)
      )
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          releasedAt = now()
        })
      )
      const self: GracefulStop.GracefulStop = yield* kernel.GracefulStop.make({
        name: "resource",
        inFlight,
        drain: resource.drain === "ends" ? undefined : drain,
        destroy: () => {
          destroyed++
        }
      }, resource.policy)
      for (const [index, work] of resource.work.entries()) {
        const name = `work ${index}`
        yield* Effect.forkDetach(kernel.InFlight.run(
          inFlight,
          name,
          Work.enact(work, name, (verb) =>
            Effect.sync(() => {
              if (verb === "ends") ends.set(name, now())
              if (self.phase() === "Stopped") stepsAfterStop.push(name)
            }))
        ))
      }
      return Effect.gen(function*() {
        const report = yield* self.stop
        const start = report.startedAt
        return {
          resource,
          report,
          start,
          end: start + report.durations.total,
          forcedAt: start + report.durations.announced + report.durations.draining,
          ends,
          drainLength: resource.drain === "ends"
            ? Math.max(resource.policy.drainDelay, ...resource.work.map((work) => Work.length(work) - start))
            : Number.POSITIVE_INFINITY,
          stepsAfterStop,
          destroyed,
          releasedAt
        }
      })
    })

    const opened = yield* Effect.forEach(scenario.resources, open).pipe(
      Effect.provideService(kernel.StopBudget.StopBudget, budget),
      Scope.provide(scope)
    )
    yield* Effect.sleep(scenario.closing)
    const start = now()
    yield* Scope.close(scope, Exit.void)
    const took = now() - start
    yield* Effect.sleep(300)
    return { scenario, took, stopped: yield* Effect.all(opened) }
  })

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0)

/** A share of the budget may be a fraction of a millisecond. */
const precision = 0.001

const forceTimeouts = (resources: ReadonlyArray<Resource>): number =>
  sum(resources.map(({ policy }) => policy.forceTimeout))

/** The force timeouts of those that stop later and are reserved while this one drains. */
const reserved = ({ order, resources }: Scenario, index: number): number =>
  order === "sequential" ? forceTimeouts(resources.slice(0, index)) : 0

const budgetEnd = ({ closing, total }: Scenario): number => closing + total

const ownUntil = (scenario: Scenario, index: number): number =>
  budgetEnd(scenario) - scenario.resources[index]!.policy.forceTimeout

/** What is kept back for others is at most half of what there is to both. */
const halfway = (scenario: Scenario, index: number): number => (scenario.closing + ownUntil(scenario, index)) / 2

/** Until when one may drain that began at `start`. */
const drainsUntil = (scenario: Scenario, index: number, start: number): number =>
  Math.max(start, ownUntil(scenario, index) - reserved(scenario, index), halfway(scenario, index))

/** Those that wait need no more than what is kept back for them. */
const wholeForcesFit = (scenario: Scenario): boolean =>
  forceTimeouts(scenario.resources) < scenario.total &&
  scenario.resources.every((_, index) =>
    ownUntil(scenario, index) - reserved(scenario, index) >= halfway(scenario, index)
  )

export const laws: ReadonlyArray<Law> = [
  {
    name: "7. together they end within the budget, to the millisecond",
    check({ scenario: { total }, took }) {
      assert.isAtMost(took, total + precision)
    }
  },
  {
    name: "7. they stop in the declared order: one after the other, or together",
    check({ scenario, stopped }) {
      let previousEnd = scenario.closing
      for (const { end, releasedAt, start } of stopped.toReversed()) {
        assert.approximately(start, previousEnd, precision)
        if (scenario.order === "parallel") continue
        assert.approximately(releasedAt, end, precision, "its dependency is released next")
        previousEnd = end
      }
    }
  },
  {
    name: "7. each drains until its time is over, neither shorter nor longer",
    check({ scenario, stopped }) {
      for (const [index, { forcedAt, report, resource: { policy }, start }] of stopped.entries()) {
        const grace = start + policy.drainDelay + policy.grace
        if (report.forcedBy === undefined) continue
        if (report.forcedBy === "grace") assert.approximately(forcedAt, grace, precision)
        else {
          assert.strictEqual(report.forcedBy, "budget")
          assert.approximately(forcedAt, drainsUntil(scenario, index, start), precision)
        }
      }
    }
  },
  {
    name: "7. one that hangs does not keep the others from draining",
    check({ scenario, stopped }) {
      for (const [index, { drainLength, report, resource: { policy }, start }] of stopped.entries()) {
        const left = drainsUntil(scenario, index, start) - start
        if (drainLength < Math.min(policy.drainDelay + policy.grace, left) - precision) {
          assert.strictEqual(report.outcome, "graceful")
        }
      }
    }
  },
  {
    name: "7. half of the time without its own force is there to drain, however many wait",
    check({ scenario, stopped }) {
      for (const [index, { drainLength, forcedAt, report, resource: { policy }, start }] of stopped.entries()) {
        if (report.outcome === "graceful") continue
        const wanted = start + Math.min(drainLength, policy.drainDelay + policy.grace)
        assert.isAtLeast(forcedAt, Math.min(wanted, halfway(scenario, index)) - precision)
      }
    }
  },
  {
    name: "7. those that wait keep their force timeout, whatever the others take",
    check({ scenario, stopped }) {
      if (!wholeForcesFit(scenario)) return
      for (const { forcedAt, report, resource } of stopped) {
        if (report.outcome === "graceful") continue
        for (const [index, work] of resource.work.entries()) {
          const need = Work.lengthOfEnd(work, forcedAt)
          if (need >= resource.policy.forceTimeout - precision || forcedAt === work.duration) continue
          assert.notInclude(report.abandoned.map(({ kind }) => kind), `work ${index}`)
        }
      }
    }
  },
  {
    name: "7. where the force timeouts do not fit, each takes no more than its part of what is left",
    check({ scenario, stopped }) {
      for (const [index, { forcedAt, report, resource: { policy } }] of stopped.entries()) {
        const left = Math.max(0, scenario.closing + scenario.total - forcedAt)
        const wanted = policy.forceTimeout + reserved(scenario, index)
        if (wanted <= left || report.outcome === "graceful") continue
        assert.isAtMost(report.durations.interrupting, left * policy.forceTimeout / wanted + precision)
      }
    }
  },
  {
    name: "7. for lack of time no interruption and no destroy is skipped",
    check({ stopped }) {
      for (const { destroyed, ends, forcedAt, report, resource } of stopped) {
        assert.strictEqual(destroyed, report.outcome === "forced" ? 1 : 0)
        if (report.outcome === "graceful") continue
        for (const [index, work] of resource.work.entries()) {
          if (work.deaf || work.finalizer === Infinity || work.duration <= forcedAt) continue
          assert.approximately(ends.get(`work ${index}`) ?? Infinity, forcedAt + work.finalizer, precision)
        }
      }
    }
  },
  {
    name: "7. under a budget too, only abandoned work takes steps after the stop",
    check({ stopped }) {
      for (const { report, stepsAfterStop } of stopped) {
        const abandoned = report.abandoned.map(({ kind }) => kind)
        for (const name of stepsAfterStop) assert.include(abandoned, name)
      }
    }
  }
]
