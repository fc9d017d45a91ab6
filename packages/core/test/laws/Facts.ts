/** What follows from a scenario and what was observed of it. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { nameOf, type Observation } from "./Observation.ts"
import type { Piece, Scenario } from "./Scenario.ts"
import * as Work from "./Work.ts"

/** A scenario, what was observed of it, and what follows from both. */
export interface Facts extends Observation {
  readonly scenario: Scenario
  readonly start: number
  readonly drainStart: number
  /** When the drain was cut short; `Infinity` if it was not. */
  readonly forcedAt: number
  readonly end: number
  readonly pieces: ReadonlyArray<PieceFacts>
}

interface PieceFacts extends Piece {
  readonly name: string
  readonly arrived: number | undefined
  readonly began: number | undefined
  readonly ended: number | undefined
  readonly exit: Exit.Exit<string, unknown> | undefined
  readonly refused: boolean
  readonly abandoned: boolean
}

export const factsOf = (scenario: Scenario, observation: Observation): Facts => {
  const { events, report } = observation
  const timeOf = (subject: string, verb: string) =>
    events.find((event) => event.subject === subject && event.verb === verb)?.at
  const drainEnd = report.startedAt + report.durations.announced + report.durations.draining
  return {
    ...observation,
    scenario,
    start: report.startedAt,
    drainStart: report.startedAt + report.durations.announced,
    forcedAt: report.outcome === "forced" ? drainEnd : Number.POSITIVE_INFINITY,
    end: report.startedAt + report.durations.total,
    pieces: scenario.pieces.map((piece, index) => {
      const name = nameOf(index)
      const exit = observation.exits[index]
      return {
        ...piece,
        name,
        arrived: timeOf(name, "arrives"),
        began: timeOf(name, "begins"),
        ended: timeOf(name, "ends"),
        exit,
        refused: exit !== undefined && isRefusal(exit),
        abandoned: report.abandoned.some(({ kind }) => kind === name)
      }
    })
  }
}

const isRefusal = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  exit.cause.reasons.some((reason) =>
    Cause.isFailReason(reason) && reason.error instanceof Error && reason.error.name === "Refused"
  )

/** An exit without stack traces. */
export const plain = (exit: Exit.Exit<unknown, unknown> | undefined): unknown => {
  if (exit === undefined) return "still waiting"
  if (Exit.isSuccess(exit)) return { succeeds: exit.value }
  return exit.cause.reasons.map((reason) => {
    if (Cause.isFailReason(reason)) return { fails: reason.error }
    return Cause.isDieReason(reason) ? { dies: reason.defect } : "interrupted"
  })
}

/** What was in flight when the stop was forced, began before, and had its own time left. */
export const inFlightAtForce = ({ forcedAt, pieces }: Facts) =>
  pieces.flatMap((piece) => {
    const { began, cancelled, work } = piece
    if (began === undefined || cancelled !== undefined || forcedAt === Number.POSITIVE_INFINITY) return []
    const age = forcedAt - began
    if (age <= 0 || age === work.duration || age >= Work.length(work)) return []
    return [{ ...piece, began, expectedEnd: forcedAt + Work.lengthOfEnd(work, age) }]
  })

export const lastEnd = ({ pieces }: Facts): number => Math.max(0, ...pieces.map(({ ended }) => ended ?? 0))
