/** One stop: what was in flight, what arrived, who stopped it and how, and what its steps did. */
import * as Arbitrary from "effect/Arbitrary"
import { int, millisOrForever, oneOf } from "./Work.ts"
import * as Work from "./Work.ts"

/** A step of the stop: what it does after some time. */
export interface Step {
  readonly does: "nothing" | "ends" | "fails" | "dies" | "hangs" | "is deaf" | "is deaf for ever"
  readonly after: number
}

export interface Piece {
  /** When it asks to be admitted. */
  readonly arrival: number
  /** When its caller goes away, if it does. */
  readonly cancelled: number | undefined
  readonly work: Work.Work
}

/** Somebody who calls `stop`, and may be interrupted while waiting. */
export interface Caller {
  readonly at: number
  readonly patience: number | undefined
}

export interface Scenario {
  readonly pieces: ReadonlyArray<Piece>
  readonly policy: { readonly drainDelay: number; readonly grace: number; readonly forceTimeout: number }
  readonly escalation: number | undefined
  readonly closing: { readonly at: number; readonly by: "end" | "interruption" }
  readonly callers: ReadonlyArray<Caller>
  readonly announce: Step
  readonly drain: Step
  readonly interrupt: Step
  readonly destroy: "works" | "throws"
}

const sometimes = (arbitrary: Arbitrary.Arbitrary<number>): Arbitrary.Arbitrary<number | undefined> =>
  Arbitrary.flatMap(int(0, 2), (n) => n < 2 ? Arbitrary.Constant(undefined) : arbitrary)

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

const piece = Arbitrary.all({
  arrival: int(0, 40),
  atTheGate: oneOf(false, false, true),
  cancelled: sometimes(int(0, 60)),
  work: Work.arbitrary
})

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.map(
  Arbitrary.all({
    pieces: Arbitrary.array(piece, { maxLength: 5 }),
    policy: Arbitrary.all({ drainDelay: int(0, 10), grace: millisOrForever(25), forceTimeout: int(0, 12) }),
    escalation: sometimes(int(0, 50)),
    closing: Arbitrary.all({ at: int(0, 20), by: oneOf("end", "interruption") }),
    callers: Arbitrary.array(
      Arbitrary.all({ at: int(0, 40), patience: sometimes(int(0, 20)) }),
      { maxLength: 3 }
    ),
    announce: step,
    drain: step,
    interrupt: step,
    destroy: oneOf("works", "works", "throws")
  }),
  ({ escalation, pieces, ...rest }) => ({
    ...rest,
    // an unlimited grace period ends only by an escalation
    escalation: rest.policy.grace === Number.POSITIVE_INFINITY ? escalation ?? 50 : escalation,
    // at the gate: it arrives in the very moment in which admission closes, if nothing else moves that moment
    pieces: pieces.map(({ arrival, atTheGate, ...piece }) => ({
      ...piece,
      arrival: atTheGate ? rest.closing.at + rest.policy.drainDelay : arrival
    }))
  })
)
