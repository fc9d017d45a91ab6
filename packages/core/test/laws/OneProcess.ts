/** The promises about the stop of a process, as checks of what was observed. */
import { assert } from "@effect/vitest"
import type { Phase } from "@lastcall/core/Lifecycle"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { type Facts, failure } from "./Process.ts"
import { ordered, type Resource, resources } from "./ProcessTree.ts"

export interface Law {
  readonly name: string
  readonly check: (facts: Facts) => void
}

/** Shares of a budget may be fractions of a millisecond. */
const precision = 0.001

const stopMillis = ({ scenario: { options } }: Facts): number => Math.max(0, options.budget - options.reserve)

const indexOf = ({ events }: Facts, subject: string, verb: string): number =>
  events.findIndex((event) => event.subject === subject && event.verb === verb)

const timeOf = (facts: Facts, subject: string, verb: string): number | undefined =>
  facts.events[indexOf(facts, subject, verb)]?.at

/** The resources that were made, with what is reported of them. */
const made = (facts: Facts) =>
  resources(facts.scenario.tree).flatMap(({ name, resource }) =>
    indexOf(facts, name, "made") === -1
      ? []
      : [{ name, resource, reports: facts.report.resources.filter((report) => report.name === name) }]
  )

const forceTimeoutOf = ({ scenario: { options } }: Facts, { policy }: Resource): number =>
  policy.forceTimeout ?? options.forceTimeout

/** How long the drain delay may be, where these are to be forced in what is left. */
const drainDelayBeside = (facts: Facts, list: ReadonlyArray<{ readonly resource: Resource }>): number => {
  const forces = list.reduce((sum, { resource }) => sum + forceTimeoutOf(facts, resource), 0)
  return Math.max(stopMillis(facts) / 2, stopMillis(facts) - forces)
}

/** When the process, once it stopped, was told to hurry. */
const hurriedAt = ({ asked, scenario: { escalation } }: Facts): number => Math.max(asked, escalation ?? Infinity)

const names = (list: ReadonlyArray<string>, facts: Facts) =>
  made(facts).filter(({ name, resource }) => list.includes(name) && resource.alone === undefined).map(({ name }) =>
    name
  )

/** Those whose drain began: that of one with no time at all is cut before, where the scheduler preempts it at once. */
const drained = (list: ReadonlyArray<string>, facts: Facts) =>
  list.filter((name) => {
    const hasBegun = indexOf(facts, name, "drains") !== -1
    if (!facts.preempts) assert.isTrue(hasBegun, `${name} drains`)
    return hasBegun
  })

export const laws: ReadonlyArray<Law> = [
  {
    name: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    check(facts) {
      assert.isAtMost(facts.took, stopMillis(facts) + precision)
      assert.strictEqual(facts.report.startedAt, facts.asked)
      assert.approximately(facts.report.durations.total, facts.took, precision)
    }
  },
  {
    name: "9. all are told before any drains",
    check(facts) {
      if (stopMillis(facts) === 0 || hurriedAt(facts) === facts.asked) return
      const selves = made(facts).filter(({ resource }) => resource.alone === undefined).map(({ name }) => name)
      const first = Math.min(...drained(selves, facts).map((name) => indexOf(facts, name, "drains")))
      for (const name of selves) {
        // What was made in that very moment may be preempted before it is told.
        if (facts.preempts && timeOf(facts, name, "made") === facts.events[first]?.at) continue
        assert.isBelow(indexOf(facts, name, "announces"), first, name)
      }
    }
  },
  {
    name:
      "9. the drain delay passes once, if the process was ready, and no longer than the budget or until someone hurries",
    check(facts) {
      const { report, scenario: { options, tree } } = facts
      const delay = facts.phases.includes("Ready") ? options.drainDelay : 0
      const untilHurried = hurriedAt(facts) - facts.asked
      const all = made(facts)
      const surely = all.filter(({ name, resource }) =>
        resource.alone === undefined && timeOf(facts, name, "made")! < facts.asked
      )
      const slowest = Math.max(
        ...resources(tree).map(({ resource: { announce } }) =>
          announce.does === "hangs" || announce.does === "is deaf for ever" ? Infinity : announce.after
        )
      )
      assert.isAtLeast(
        report.durations.drainDelay,
        Math.min(delay, drainDelayBeside(facts, all), untilHurried) - precision
      )
      assert.isAtMost(
        report.durations.drainDelay,
        Math.min(Math.max(delay, slowest), drainDelayBeside(facts, surely), untilHurried) + precision
      )
    }
  },
  {
    name: "9. what stops later begins when what stops before has been released",
    check(facts) {
      for (const { first, second } of ordered(facts.scenario.tree)) {
        for (const later of drained(names(second, facts), facts)) {
          for (const earlier of names(first, facts)) {
            assert.isBelow(indexOf(facts, earlier, "released"), indexOf(facts, later, "drains"), `${earlier}, ${later}`)
          }
        }
      }
    }
  },
  {
    name: "9. what stops later begins no earlier than the gap after what stops before began",
    check(facts) {
      const forces = made(facts).reduce((sum, { resource }) => sum + forceTimeoutOf(facts, resource), 0)
      const atMost = Math.min(facts.asked + stopMillis(facts) - forces, hurriedAt(facts))
      for (const { first, gap, second } of ordered(facts.scenario.tree)) {
        const began = drained(names(first, facts), facts).map((name) => timeOf(facts, name, "drains")!)
        const begins = drained(names(second, facts), facts).map((name) => timeOf(facts, name, "drains")!)
        // One that was not made keeps no distance.
        if (began.length === 0 || began.length < first.length) continue
        for (const at of begins) assert.isAtLeast(at, Math.min(Math.min(...began) + gap, atMost) - precision)
      }
    }
  },
  {
    name: "9. each has one report, in the order of stopping, and the outcome is that of the worst",
    check(facts) {
      const { report } = facts
      for (const { name, reports, resource } of made(facts)) {
        if (resource.alone === undefined) assert.lengthOf(reports, 1, name)
        else assert.isAtMost(reports.length, 1, name)
      }
      const ends = report.resources.map(({ durations, startedAt }) => startedAt + durations.total)
      for (const [index, end] of ends.entries()) assert.isAtLeast(end, (ends[index - 1] ?? 0) - precision)
      assert.strictEqual(
        report.outcome,
        report.resources.some(({ outcome }) => outcome === "forced") ? "forced" : "graceful"
      )
    }
  },
  {
    name: "9. no step of any stop is skipped, and none runs twice",
    check(facts) {
      for (const { name, reports: [report], resource } of made(facts)) {
        const times = (verb: string) =>
          facts.events.filter((event) => event.subject === name && event.verb === verb).length
        assert.strictEqual(times("released"), 1, `${name} is released`)
        if (report === undefined) {
          assert.isDefined(resource.alone)
          continue
        }
        const forced = report.outcome === "forced" ? 1 : 0
        assert.strictEqual(times("destroys"), forced, `${name} destroys`)
        for (const [verb, expected] of [["announces", 1], ["drains", 1], ["interrupts", forced]] as const) {
          assert.isAtMost(times(verb), expected, `${name} ${verb}`)
          if (!facts.preempts) assert.strictEqual(times(verb), expected, `${name} ${verb}`)
        }
      }
    }
  },
  {
    name: "9. when someone hurries no drain, no drain delay and no gap goes on",
    check(facts) {
      const { asked, report, scenario: { escalation }, took } = facts
      if (escalation === undefined) return
      let forces = 0
      for (const { durations, name, startedAt } of report.resources) {
        const drained = startedAt + durations.announced + durations.draining
        assert.isAtMost(drained, Math.max(startedAt, escalation) + precision, name)
        forces += durations.interrupting
      }
      assert.isAtMost(asked + took, hurriedAt(facts) + forces + precision)
    }
  },
  {
    name: "9. the time of the budget begins when the process is asked to stop",
    check(facts) {
      const forces = made(facts).reduce((sum, { resource }) => sum + forceTimeoutOf(facts, resource), 0)
      for (const { durations, forcedBy, name, startedAt } of facts.report.resources) {
        if (forcedBy !== "budget" || startedAt < facts.asked) continue
        const cut = startedAt + durations.announced + durations.draining
        assert.isAtLeast(cut, facts.asked + Math.max(0, stopMillis(facts) - forces) - precision, name)
      }
    }
  },
  {
    name: "9. what stops on its own while the process is ready is no part of the stop",
    check({ alone, asked, readyAt = Infinity, report }) {
      for (const { durations, forcedBy, name, startedAt } of alone) {
        const end = startedAt + durations.total
        if (startedAt <= readyAt || end >= asked) continue
        assert.notStrictEqual(forcedBy, "budget", name)
        assert.notInclude(report.resources.map(({ name }) => name), name)
      }
      if (readyAt === Infinity) return
      for (const { durations, name, startedAt } of report.resources) {
        assert.isAtLeast(startedAt + durations.total, asked - precision, name)
      }
    }
  },
  {
    name: "9. the phases come in order, each once",
    check({ phases }) {
      const all: ReadonlyArray<Phase> = ["Starting", "Ready", "Announced", "Draining", "Stopped"]
      const passed = all.filter((phase) => phase !== "Ready" || phases.includes("Ready"))
      // the stream begins with the phase at that time
      assert.deepStrictEqual(phases, passed.slice(passed.indexOf(phases[0]!)))
      assert.include(["Starting", "Ready"], phases[0])
    }
  },
  {
    name: "9. it ends as it was asked to, with what died meanwhile",
    check(facts) {
      const { exit, report, scenario: { closing } } = facts
      const reasons = Exit.isSuccess(exit) ? [] : exit.cause.reasons
      const dead = reasons.flatMap((reason) => Cause.isDieReason(reason) ? [reason.defect] : [])
      const finalizers = resources(facts.scenario.tree).filter(({ name, resource }) =>
        resource.release === "dies" && indexOf(facts, name, "released") !== -1
      ).map(({ name }) => `the finalizer of ${name}`)
      assert.sameMembers(dead, closing.by === "failure" ? [failure, ...finalizers] : finalizers)
      assert.strictEqual(reasons.some(Cause.isInterruptReason), closing.by === "interruption")
      if (Exit.isSuccess(exit)) assert.strictEqual(exit.value, report)
    }
  }
]
