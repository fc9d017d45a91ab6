/** What is seen of a stop of the kernel: all that can be seen of any resource, and what only `InFlight` and the steps say. */
import type * as GracefulStop from "@lastcall/core/GracefulStop"
import type * as InFlight from "@lastcall/core/InFlight"
import * as StopScenario from "@lastcall/testing/StopScenario"
import * as Work from "@lastcall/testing/Work"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Kernel } from "./kernel.ts"
import type { Scenario, Step } from "./Steps.ts"

export interface Account {
  readonly counts: InFlight.Counts
  readonly size: number
  readonly open: boolean
}

interface PieceFacts extends StopScenario.PieceFacts {
  readonly refused: boolean
  readonly abandoned: boolean
}

export interface Facts extends StopScenario.Facts<Scenario> {
  readonly pieces: ReadonlyArray<PieceFacts>
  /** What `InFlight` says each time that something happens. */
  readonly accounts: ReadonlyArray<Account>
  /** Whether admission was open when `awaitDraining` was over. */
  readonly openWhenDraining: boolean | undefined
  /** Long after the stop: how many are in flight, and whether `awaitEmpty` is over at once. */
  readonly sizeAfter: number
  readonly emptyAfter: boolean
  readonly finalCounts: InFlight.Counts
}

const enact = (
  step: Step,
  name: string,
  action: Effect.Effect<unknown>,
  completion: Effect.Effect<unknown>,
  say: StopScenario.Stage["say"]
): Effect.Effect<unknown, unknown> | undefined => {
  if (step.does === "nothing") return undefined
  const pause = step.after === 0 ? Effect.void : Effect.sleep(step.after)
  const middle: Effect.Effect<unknown, unknown> = {
    "ends": Effect.andThen(pause, completion),
    "fails": Effect.andThen(pause, Effect.fail(`${name} fails`)),
    "dies": Effect.andThen(pause, Effect.die(`${name} dies`)),
    "hangs": Effect.never,
    "is deaf": Effect.uninterruptible(pause),
    "is deaf for ever": Effect.uninterruptible(Effect.never)
  }[step.does]
  return Effect.onExit(
    Effect.andThen(Effect.andThen(say(name, "begins"), action), middle),
    () => say(name, "ends")
  )
}

export const observe = (kernel: Kernel, scenario: Scenario): Effect.Effect<Facts> =>
  Effect.gen(function*() {
    const inFlight = yield* kernel.InFlight.make
    const accounts: Array<Account> = []
    let openWhenDraining: boolean | undefined

    const make: StopScenario.Make = (policy, { onEvent, say }) =>
      Effect.gen(function*() {
        onEvent(() => accounts.push({ counts: inFlight.counts(), size: inFlight.size(), open: inFlight.isOpen() }))
        const stop: GracefulStop.GracefulStop = yield* kernel.GracefulStop.make({
          name: "api",
          inFlight,
          announce: enact(scenario.announce, "announce", Effect.void, Effect.void, say),
          drain: enact(scenario.drain, "drain", Effect.sync(() => inFlight.close()), inFlight.awaitEmpty, say),
          interrupt: enact(
            scenario.interrupt,
            "interrupt",
            Effect.sync(() => inFlight.interruptAll()),
            inFlight.awaitEmpty,
            say
          ),
          destroy: () => {
            Effect.runSync(say("destroy", "runs"))
            if (scenario.destroy === "throws") throw new Error("destroy throws")
          }
        }, policy)
        yield* Effect.forkDetach(
          Effect.andThen(
            stop.awaitDraining,
            Effect.suspend(() => {
              openWhenDraining = inFlight.isOpen()
              return say("awaitDraining", "is over")
            })
          )
        )
        yield* Effect.forkDetach(Effect.andThen(stop.awaitAnnounced, say("awaitAnnounced", "is over")))
        return { stop, run: (work, name) => kernel.InFlight.run(inFlight, name, work) }
      })

    const facts = yield* StopScenario.play(make, scenario)
    const empty = yield* Effect.forkDetach(inFlight.awaitEmpty, { startImmediately: true })
    yield* Effect.sleep(1)
    return {
      ...facts,
      pieces: facts.pieces.map((piece) => ({
        ...piece,
        refused: piece.returned !== undefined && isRefusal(piece.returned),
        abandoned: facts.report.abandoned.some(({ kind }) => kind === piece.name)
      })),
      accounts,
      openWhenDraining,
      sizeAfter: inFlight.size(),
      emptyAfter: empty.pollUnsafe() !== undefined,
      finalCounts: inFlight.counts()
    }
  })

const isRefusal = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  exit.cause.reasons.some((reason) =>
    Cause.isFailReason(reason) && reason.error instanceof Error && reason.error.name === "Refused"
  )

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
