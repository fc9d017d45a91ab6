/**
 * What the kernel promises about one stop beyond the laws of every resource: what its steps do, and what `InFlight` counts by
 * kind. A law with the name of one of `StopLaws` adds to it.
 */
import { assert } from "@effect/vitest"
import type { Counts } from "@lastcall/core/InFlight"
import * as Work from "@lastcall/testing/Work"
import { type Facts, inFlightAtForce, lastEnd } from "./Facts.ts"
import type { Scenario, Step } from "./Steps.ts"

export interface Law {
  readonly name: string
  readonly check: (facts: Facts) => void
}

const isWork = (verb: string): boolean => verb === "begins" || verb === "steps" || verb === "ends"

/** How long a step keeps its phase busy at most, by itself. */
const lengthOfStep = ({ after, does }: Step): number => {
  if (does === "nothing") return 0
  return does === "hangs" || does === "is deaf for ever" ? Number.POSITIVE_INFINITY : after
}

const fails = ({ does }: Step): boolean => does === "fails" || does === "dies"

/** How much of the force timeout the interrupt step leaves to the work. */
const forceWindow = ({ interrupt, policy }: Scenario): number =>
  interrupt.does === "nothing" || interrupt.does === "ends"
    ? policy.forceTimeout
    : Math.min(lengthOfStep(interrupt), policy.forceTimeout)

const outcomes = ({ abandoned, destroyed, failed, interrupted, succeeded }: Counts): number =>
  succeeded + failed + interrupted + destroyed + abandoned

export const laws: ReadonlyArray<Law> = [
  {
    name: "1. the announcement lasts for the drain delay, or longer if the step takes longer",
    check({ report, scenario: { announce, escalation, policy }, start }) {
      const wanted = Math.max(lengthOfStep(announce), policy.drainDelay)
      const allowed = Math.min(policy.drainDelay + policy.grace, Math.max(0, (escalation ?? Infinity) - start))
      assert.strictEqual(report.durations.announced, Math.min(wanted, allowed))
    }
  },
  {
    name: "1. it is forced neither early nor late",
    check({ drainStart, forcedAt, report, scenario: { drain } }) {
      if (report.forcedBy !== "failure") return
      assert.strictEqual(forcedAt, fails(drain) ? drainStart + drain.after : Infinity)
    }
  },
  {
    name: "1. it waits no longer than for the last piece of work",
    check(facts) {
      const { drainStart, end, forcedAt, report, scenario: { drain, interrupt } } = facts
      if (report.outcome === "graceful") {
        assert.strictEqual(end, Math.max(drainStart + lengthOfStep(drain), lastEnd(facts)))
      } else if (interrupt.does === "nothing" && report.abandoned.length === 0) {
        assert.strictEqual(end, Math.max(forcedAt, lastEnd(facts)))
      }
    }
  },
  {
    name: "2. work that fits ends as if nothing had happened",
    check({ forcedAt, pieces, report }) {
      for (const { began, cancelled, exit, name, returned, work } of pieces) {
        if (began === undefined) continue
        const expected = began + Work.length(work)
        if (expected >= forcedAt || expected >= (cancelled ?? Infinity)) continue
        assert.deepStrictEqual(returned, exit, `the caller of ${name}`)
        const { failed, succeeded } = report.kinds[name]!
        assert.deepStrictEqual({ failed, succeeded }, {
          failed: work.ending === "succeeds" ? 0 : 1,
          succeeded: work.ending === "succeeds" ? 1 : 0
        })
      }
    }
  },
  {
    name: "2. work whose caller goes away is interrupted and counts as failed, and the caller waits for it",
    check({ events, forcedAt, pieces, report }) {
      for (const { began, cancelled, ended, name, work } of pieces) {
        if (began === undefined) continue
        const returns = events.findIndex(({ subject, verb }) => subject === name && verb === "returns")
        const ends = events.findIndex(({ subject, verb }) => subject === name && verb === "ends")
        if (returns !== -1) assert.isTrue(ends !== -1 && ends < returns, `the caller of ${name} did not wait`)
        if (cancelled === undefined || cancelled <= began || cancelled >= began + work.duration) continue
        const expected = cancelled + Work.lengthOfEnd(work, cancelled - began)
        if (expected >= forcedAt || expected === Number.POSITIVE_INFINITY) continue
        assert.strictEqual(ended, expected, name)
        if (!work.deaf) assert.strictEqual(report.kinds[name]!.failed, 1, name)
      }
    }
  },
  {
    name: "3. work is admitted until the drain and refused from then on",
    check({ drainStart, openWhenDraining, pieces, scenario }) {
      for (const { arrived, cancelled, name, refused } of pieces) {
        if (arrived === undefined || arrived === drainStart || arrived === cancelled) continue
        assert.strictEqual(refused, arrived > drainStart, name)
      }
      if (scenario.drain.does === "nothing") assert.isFalse(openWhenDraining, "open after awaitDraining")
    }
  },
  {
    name: "3. once admission is closed nothing is admitted, and it stays closed",
    check({ accounts }) {
      const closed = accounts.slice(accounts.findIndex(({ open }) => !open))
      for (const { counts, open } of closed) {
        assert.isFalse(open)
        assert.strictEqual(counts.admitted, closed[0]!.counts.admitted)
      }
    }
  },
  {
    name: "3. nothing is lost: what arrived was admitted or refused, and counted",
    check({ finalCounts, pieces }) {
      const arrived = pieces.filter(({ arrived, cancelled }) => arrived !== undefined && arrived !== cancelled)
      assert.isAtLeast(finalCounts.admitted + finalCounts.refused, arrived.length)
      assert.isAtMost(finalCounts.admitted + finalCounts.refused, pieces.length)
      assert.strictEqual(finalCounts.refused, pieces.filter(({ refused }) => refused).length)
    }
  },
  {
    name: "4. what was abandoned is what had not ended",
    check({ end, pieces, report }) {
      for (const { abandoned, began, ended, name } of pieces) {
        if (abandoned) assert.isAtLeast(ended ?? Infinity, end, name)
        else if (began !== undefined) assert.isAtMost(ended ?? Infinity, end, name)
      }
      const blockers = report.blockers.map(({ kind }) => kind)
      for (const { kind } of report.abandoned) assert.include(blockers, kind)
    }
  },
  {
    name: "4. what is interrupted runs its finalizers, and is waited for until the force timeout",
    check(facts) {
      const { forcedAt, report, scenario } = facts
      for (const { abandoned, began, ended, expectedEnd, name, work } of inFlightAtForce(facts)) {
        if (expectedEnd === Number.POSITIVE_INFINITY) continue
        assert.strictEqual(ended, expectedEnd, name)
        if (expectedEnd >= forcedAt + forceWindow(scenario)) continue
        assert.isFalse(abandoned, name)
        if (!work.deaf && work.duration > forcedAt - began) {
          assert.strictEqual(report.kinds[name]!.interrupted, 1, name)
        }
      }
    }
  },
  {
    name: "4. a dependency is released once, after the stop",
    check({ end, events, scenario }) {
      const released = events.find(({ subject }) => subject === "dependency")
      assert.strictEqual(released?.at, Math.max(end, scenario.closing.at))
    }
  },
  {
    name: "5. each step runs once, in its phase",
    check({ end, events, report, scenario }) {
      const begun = (subject: string) => events.filter((event) => event.subject === subject && event.verb === "begins")
      const { announced, draining, interrupting } = report.durations
      const steps = [
        ["announce", "Announced", announced],
        ["drain", "Draining", draining],
        ["interrupt", "Interrupting", interrupting]
      ] as const
      for (const [name, phase, duration] of steps) {
        const runs = begun(name)
        // a phase that takes no time may be over before its step gets a turn
        if (duration > 0) assert.lengthOf(runs, scenario[name].does === "nothing" ? 0 : 1, name)
        else assert.isAtMost(runs.length, 1, name)
        if (duration > 0) { for (const run of runs) assert.strictEqual(run.phase, phase) }
      }
      const destroyed = events.filter(({ subject }) => subject === "destroy")
      assert.lengthOf(destroyed, report.outcome === "forced" ? 1 : 0)
      for (const { at, phase } of destroyed) assert.deepStrictEqual({ at, phase }, { at: end, phase: "Destroying" })
    }
  },
  {
    name: "5. destroy comes after the last step of what was not abandoned",
    check({ end, events, pieces }) {
      const destroy = events.findIndex(({ subject }) => subject === "destroy")
      if (destroy === -1) return
      for (const { at, subject, verb } of events.slice(destroy)) {
        if (at > end && isWork(verb)) {
          assert.isTrue(pieces.find(({ name }) => name === subject)?.abandoned ?? true, subject)
        }
      }
    }
  },
  {
    name: "5. a step that fails is reported and does not hide the steps after it",
    check({ drainStart, end, report, scenario: { announce, destroy, drain, interrupt } }) {
      const reported = (step: string) => report.failures.filter((failure) => failure.startsWith(`${step}: `)).length
      if (!fails(announce)) assert.strictEqual(reported("announce"), 0)
      else if (announce.after < report.durations.announced) assert.strictEqual(reported("announce"), 1)
      if (report.forcedBy === "failure") assert.strictEqual(reported("drain"), 1)
      else if (!fails(drain) || drainStart + drain.after > end) assert.strictEqual(reported("drain"), 0)
      if (!fails(interrupt)) assert.strictEqual(reported("interrupt"), 0)
      else if (interrupt.after < report.durations.interrupting) assert.strictEqual(reported("interrupt"), 1)
      assert.strictEqual(reported("destroy"), destroy === "throws" && report.outcome === "forced" ? 1 : 0)
    }
  },
  {
    name: "6. at every moment, admitted = what ended + what is in flight",
    check({ accounts }) {
      for (const { counts, size } of accounts) assert.strictEqual(counts.admitted, outcomes(counts) + size)
    }
  },
  {
    name: "6. in the report, admitted = succeeded + failed + interrupted + destroyed + abandoned",
    check({ finalCounts, pieces, report }) {
      assert.deepStrictEqual(
        { ...finalCounts, refused: 0 },
        { ...report.counts, refused: 0 },
        "no count moves afterwards"
      )
      for (const { abandoned, name } of pieces) {
        assert.strictEqual(report.kinds[name]?.abandoned ?? 0, abandoned ? 1 : 0, name)
      }
    }
  },
  {
    name: "8. nothing is left: no step, and nothing in flight",
    check({ emptyAfter, end, events, scenario, sizeAfter }) {
      assert.strictEqual(sizeAfter, 0)
      assert.isTrue(emptyAfter, "awaitEmpty still waits")
      for (const name of ["announce", "drain", "interrupt"] as const) {
        const of = events.filter(({ subject }) => subject === name)
        if (of.length === 0 || scenario[name].does.startsWith("is deaf")) continue
        assert.strictEqual(of.at(-1)!.verb, "ends", `${name} is still running`)
        assert.isAtMost(of.at(-1)!.at, end, name)
      }
    }
  }
]
