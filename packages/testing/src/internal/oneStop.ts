/** The promises about one stop that hold for every resource, as checks of what was seen of it. */
import type { Phase } from "@lastcall/core/GracefulStop"
import type { Counts } from "@lastcall/core/InFlight"
import { StopReport } from "@lastcall/core/StopSchema"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Check } from "../StopLaws.ts"
import type { Facts } from "../StopScenario.ts"
import * as Work from "../Work.ts"
import { atLeast, atMost, equal, isTrue } from "./expect.ts"

const phases: ReadonlyArray<Phase> = ["Serving", "Announced", "Draining", "Interrupting", "Destroying", "Stopped"]

const isWork = (verb: string): boolean => verb === "begins" || verb === "steps" || verb === "ends"

const outcomes = ({ abandoned, destroyed, failed, interrupted, succeeded }: Counts): number =>
  succeeded + failed + interrupted + destroyed + abandoned

const lastEnd = ({ pieces }: Facts): number => Math.max(0, ...pieces.map(({ ended }) => ended ?? 0))

/** An exit without stack traces. */
const plain = (exit: Exit.Exit<unknown, unknown> | undefined): unknown => {
  if (exit === undefined) return "has not ended"
  if (Exit.isSuccess(exit)) return `succeeds with ${exit.value}`
  return exit.cause.reasons.map((reason) => {
    if (Cause.isFailReason(reason)) return `fails with ${reason.error}`
    return Cause.isDieReason(reason) ? `dies with ${reason.defect}` : "is interrupted"
  }).join(", ")
}

/** What was in flight when the stop was forced, began before, and had its own time left. */
const inFlightAtForce = ({ forcedAt, pieces }: Facts) =>
  pieces.flatMap((piece) => {
    const { began, cancelled, work } = piece
    if (began === undefined || cancelled !== undefined || forcedAt === Number.POSITIVE_INFINITY) return []
    const age = forcedAt - began
    if (age <= 0 || age === work.duration || age >= Work.length(work)) return []
    return [{ ...piece, began, expectedEnd: forcedAt + Work.lengthOfEnd(work, age) }]
  })

/** How many had begun and not ended when the stop was over: those that surely had not, and those that may not have. */
const leftAtEnd = ({ end, pieces }: Facts) => {
  const begun = pieces.filter(({ began }) => began !== undefined && began <= end)
  return {
    atLeast: begun.filter(({ began, ended }) => began! < end && (ended ?? Infinity) > end).length,
    atMost: begun.filter(({ ended }) => (ended ?? Infinity) >= end).length
  }
}

export const laws: ReadonlyArray<Check> = [
  {
    name: "1. it ends within drain delay, grace period and force timeout",
    check({ end, report, scenario: { escalation, policy }, start }) {
      const { announced, draining, interrupting, total } = report.durations
      atMost(Math.abs(announced + draining + interrupting - total), 0, "the total less the parts")
      atMost(total, policy.drainDelay + policy.grace + policy.forceTimeout, "it took")
      if (escalation !== undefined) {
        atMost(end, Math.max(escalation, start) + policy.forceTimeout, "the end after an escalation")
      }
    }
  },
  {
    name: "1. it starts with the first call",
    check({ scenario: { callers, closing }, start }) {
      atLeast(start, Math.min(closing.at, ...callers.map(({ at }) => at)), "the start")
      const patient = callers.filter(({ patience }) => patience !== 0)
      atMost(start, Math.min(closing.at, ...patient.map(({ at }) => at)), "the start")
    }
  },
  {
    name: "1. for the drain delay everything is still served, unless someone escalates",
    check({ report, scenario: { escalation, policy }, start }) {
      atLeast(
        report.durations.announced,
        Math.min(policy.drainDelay, Math.max(0, (escalation ?? Infinity) - start)),
        "the drain delay"
      )
    }
  },
  {
    name: "1. it is forced neither early nor late",
    check({ forcedAt, report, scenario: { escalation, policy }, start }) {
      if (report.forcedBy === "grace") equal(forcedAt, start + policy.drainDelay + policy.grace, "the force")
      if (report.forcedBy === "escalation") equal(forcedAt, Math.max(start, escalation ?? Infinity), "the force")
      isTrue(report.forcedBy !== "budget", "it is forced by a budget that there is not")
    }
  },
  {
    name: "1. it waits no longer than for the last piece of work",
    check(facts, linger) {
      const { drainStart, end, forcedAt, report } = facts
      if (report.abandoned.length > 0) return
      const from = report.outcome === "graceful" ? drainStart : forcedAt
      atMost(end, Math.max(from, lastEnd(facts)) + linger, "the end")
    }
  },
  {
    name: "2. work that fits ends as if nothing had happened",
    check({ forcedAt, pieces }) {
      for (const { began, cancelled, ended, exit, name, work } of pieces) {
        if (began === undefined) continue
        const expected = began + Work.length(work)
        if (expected >= forcedAt || expected >= (cancelled ?? Infinity)) continue
        equal(plain(exit), plain(Work.ending(work, name)), name)
        equal(ended, expected, `the end of ${name}`)
      }
    }
  },
  {
    name: "3. work is admitted until the drain and refused from then on",
    check({ drainStart, pieces }) {
      for (const { arrived, began, cancelled, name } of pieces) {
        if (arrived === undefined || arrived === drainStart || arrived === cancelled) continue
        if (arrived < drainStart) isTrue(began !== undefined, `${name} came before the drain and was not admitted`)
        else isTrue(began === undefined, `${name} came after the drain had begun and was admitted`)
      }
    }
  },
  {
    name: "3. nothing is lost: what began was admitted, and counted",
    check({ pieces, report }) {
      const begun = pieces.filter(({ began }) => began !== undefined).length
      const arrived = pieces.filter(({ arrived }) => arrived !== undefined).length
      atLeast(report.counts.admitted, begun, "admitted")
      atMost(report.counts.admitted, arrived, "admitted")
      atMost(report.counts.admitted + report.counts.refused, arrived, "admitted and refused")
    }
  },
  {
    name: "4. no work takes a step after the stop, except what was abandoned",
    check({ events, pieces, report }) {
      const released = events.findIndex(({ subject }) => subject === "dependency")
      const late = new Set(
        events.flatMap(({ phase, subject, verb }, index) =>
          pieces.some(({ name }) => name === subject) && isWork(verb) && (phase === "Stopped" || index > released)
            ? [subject]
            : []
        )
      )
      atMost(late.size, report.counts.abandoned, `pieces that are active after the stop (${Array.from(late)})`)
    }
  },
  {
    name: "4. what was abandoned is what had not ended",
    check(facts) {
      const { counts, abandoned, outcome } = facts.report
      const left = leftAtEnd(facts)
      equal(abandoned.length, counts.abandoned, "the abandoned that are named")
      atLeast(abandoned.length, left.atLeast, "abandoned")
      atMost(abandoned.length, left.atMost, "abandoned")
      if (outcome === "graceful") equal(abandoned.length, 0, "abandoned in a graceful stop")
    }
  },
  {
    name: "4. what is interrupted runs its finalizers, and is waited for until the force timeout",
    check(facts, linger) {
      const { end, forcedAt, scenario: { policy } } = facts
      for (const { ended, expectedEnd, name } of inFlightAtForce(facts)) {
        if (expectedEnd === Number.POSITIVE_INFINITY) continue
        equal(ended, expectedEnd, `the end of ${name}`)
        if (expectedEnd < forcedAt + policy.forceTimeout - linger) {
          atLeast(end, expectedEnd, `the end of the stop, which waits for ${name}`)
        }
      }
    }
  },
  {
    name: "4. a dependency is released once, after the stop",
    check({ end, events, scenario }) {
      const released = events.filter(({ subject }) => subject === "dependency")
      equal(released.length, 1, "how often it is released")
      equal(released[0]!.phase, "Stopped", "the phase in which it is released")
      atLeast(released[0]!.at, Math.max(end, scenario.closing.at), "when it is released")
    }
  },
  {
    name: "5. stopping many times is one stop with one report",
    check({ callers, report, scenario }) {
      for (const [index, exit] of callers.entries()) {
        if (exit === undefined) isTrue(false, `caller ${index} of stop still waits`)
        else if (Exit.isSuccess(exit)) isTrue(exit.value === report, `caller ${index} of stop got another report`)
        else isTrue(scenario.callers[index]!.patience !== undefined, `caller ${index} of stop got no report`)
      }
    }
  },
  {
    name: "5. the phases are in order",
    check({ events }) {
      const order = events.map(({ phase }) => phases.indexOf(phase))
      for (let i = 1; i < order.length; i++) {
        isTrue(order[i]! >= order[i - 1]!, `${phases[order[i]!]} comes after ${phases[order[i - 1]!]}`)
      }
    }
  },
  {
    name: "6. in the report, admitted = succeeded + failed + interrupted + destroyed + abandoned",
    check({ report: { counts, kinds, outcome } }) {
      equal(counts.admitted, outcomes(counts), "admitted")
      for (const [kind, ofKind] of Object.entries(kinds)) {
        equal(ofKind.admitted, outcomes(ofKind), `admitted of ${kind}`)
      }
      for (const key of Object.keys(counts) as Array<keyof Counts>) {
        equal(counts[key], Object.values(kinds).reduce((sum, ofKind) => sum + ofKind[key], 0), `${key} of all kinds`)
      }
      if (outcome === "graceful") equal(counts.interrupted, 0, "interrupted in a graceful stop")
    }
  },
  {
    name: "6. in a graceful stop what succeeded and what failed is counted as such",
    check({ pieces, report: { counts, outcome } }) {
      if (outcome === "forced") return
      const begun = pieces.filter(({ began }) => began !== undefined)
      const succeeded = begun.filter(({ exit }) => exit !== undefined && Exit.isSuccess(exit)).length
      equal(counts.succeeded, succeeded, "succeeded")
      // one that is interrupted before its first step is admitted, and fails
      atLeast(counts.failed, begun.length - succeeded, "failed")
    }
  },
  {
    name: "6. a report goes through JSON unchanged",
    check({ report }) {
      const codec = Schema.toCodecJson(StopReport)
      const json = JSON.stringify(Schema.encodeSync(codec)(report))
      equal(Schema.decodeSync(codec)(JSON.parse(json)), report, "the report")
    }
  },
  {
    name: "8. nothing is left: no work, and nobody who waits",
    check({ pieces, report }) {
      const running = pieces.filter(({ began, ended }) => began !== undefined && ended === undefined)
      const waiting = pieces.filter(({ arrived, returned }) => arrived !== undefined && returned === undefined)
      atMost(running.length, report.counts.abandoned, "pieces that are still running")
      atMost(waiting.length, report.counts.abandoned, "callers that still wait")
    }
  }
]
