/** What can be seen of a stop from outside: runs a scenario on a kernel and writes down what happens. */
import type * as GracefulStop from "@lastcall/core/GracefulStop"
import type * as InFlight from "@lastcall/core/InFlight"
import type { StopReport } from "@lastcall/core/StopReport"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Kernel } from "./kernel.ts"
import type { Scenario, Step } from "./Scenario.ts"
import * as Work from "./Work.ts"

export interface Event {
  readonly at: number
  readonly phase: GracefulStop.Phase
  readonly subject: string
  readonly verb: string
}

export interface Account {
  readonly counts: InFlight.Counts
  readonly size: number
  readonly open: boolean
}

export interface Observation {
  readonly report: StopReport
  readonly events: ReadonlyArray<Event>
  /** What the caller of each piece got; `undefined` if it is still waiting long after the stop. */
  readonly exits: ReadonlyArray<Exit.Exit<string, string | InFlight.Refused> | undefined>
  /** What each caller of `stop` got. */
  readonly callers: ReadonlyArray<Exit.Exit<StopReport> | undefined>
  /** What `InFlight` says each time that something happens. */
  readonly accounts: ReadonlyArray<Account>
  /** Whether admission was open when `awaitDraining` was over. */
  readonly openWhenDraining: boolean | undefined
  /** Long after the stop: how many are in flight, and whether `awaitEmpty` is over at once. */
  readonly sizeAfter: number
  readonly emptyAfter: boolean
  readonly finalCounts: InFlight.Counts
}

export const nameOf = (index: number): string => `piece ${index}`

/** Long after every stop: pieces and steps that are still alive now have been left behind. */
const afterwards = 300

const enactStep = (
  step: Step,
  name: string,
  action: Effect.Effect<unknown>,
  completion: Effect.Effect<unknown>,
  say: (subject: string, verb: string) => Effect.Effect<void>
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

export const observe = (kernel: Kernel, scenario: Scenario): Effect.Effect<Observation> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const inFlight = yield* kernel.InFlight.make
    const made = yield* Deferred.make<GracefulStop.GracefulStop>()
    const events: Array<Event> = []
    const accounts: Array<Account> = []
    let phase: () => GracefulStop.Phase = () => "Serving"

    const note = (subject: string, verb: string): void => {
      events.push({ at: clock.currentTimeMillisUnsafe(), phase: phase(), subject, verb })
      accounts.push({ counts: inFlight.counts(), size: inFlight.size(), open: inFlight.isOpen() })
    }
    const say = (subject: string, verb: string) => Effect.sync(() => note(subject, verb))
    const at = <A, E>(time: number, effect: Effect.Effect<A, E>) =>
      Effect.forkDetach(time === 0 ? effect : Effect.andThen(Effect.sleep(time), effect))

    const stoppable: GracefulStop.Stoppable = {
      name: "api",
      inFlight,
      announce: enactStep(scenario.announce, "announce", Effect.void, Effect.void, say),
      drain: enactStep(scenario.drain, "drain", Effect.sync(() => inFlight.close()), inFlight.awaitEmpty, say),
      interrupt: enactStep(
        scenario.interrupt,
        "interrupt",
        Effect.sync(() => inFlight.interruptAll()),
        inFlight.awaitEmpty,
        say
      ),
      destroy: () => {
        note("destroy", "runs")
        if (scenario.destroy === "throws") throw new Error("destroy throws")
      }
    }

    const owner = yield* Effect.forkDetach(Effect.scoped(Effect.gen(function*() {
      yield* Effect.addFinalizer(() => say("dependency", "is released"))
      const self = yield* kernel.GracefulStop.make(stoppable, scenario.policy)
      phase = self.phase
      yield* Deferred.succeed(made, self)
      yield* scenario.closing.by === "end" ? Effect.sleep(scenario.closing.at) : Effect.never
    })))
    const self = yield* Deferred.await(made)
    if (scenario.closing.by === "interruption") yield* at(scenario.closing.at, Fiber.interrupt(owner))

    const pieces: Array<Fiber.Fiber<string, string | InFlight.Refused>> = []
    for (const [index, piece] of scenario.pieces.entries()) {
      const name = nameOf(index)
      const fiber = yield* at(
        piece.arrival,
        Effect.andThen(
          say(name, "arrives"),
          Effect.onExit(
            kernel.InFlight.run(inFlight, name, Work.enact(piece.work, name, (verb) => say(name, verb))),
            () => say(name, "returns")
          )
        )
      )
      pieces.push(fiber)
      if (piece.cancelled !== undefined) yield* at(piece.cancelled, Fiber.interrupt(fiber))
    }
    const callers: Array<Fiber.Fiber<StopReport>> = []
    for (const { at: time, patience } of scenario.callers) {
      const fiber = yield* at(time, self.stop)
      callers.push(fiber)
      if (patience !== undefined) yield* at(time + patience, Fiber.interrupt(fiber))
    }
    if (scenario.escalation !== undefined) yield* at(scenario.escalation, self.escalate)
    let openWhenDraining: boolean | undefined
    yield* at(
      0,
      Effect.andThen(
        self.awaitDraining,
        Effect.sync(() => {
          openWhenDraining = inFlight.isOpen()
          note("awaitDraining", "is over")
        })
      )
    )
    yield* at(0, Effect.andThen(self.awaitAnnounced, say("awaitAnnounced", "is over")))

    yield* Fiber.await(owner)
    const report = yield* self.stop
    yield* Effect.sleep(afterwards)
    const empty = yield* Effect.forkDetach(inFlight.awaitEmpty, { startImmediately: true })
    yield* Effect.sleep(1)
    return {
      report,
      events,
      exits: pieces.map((fiber) => fiber.pollUnsafe()),
      callers: callers.map((fiber) => fiber.pollUnsafe()),
      accounts,
      openWhenDraining,
      sizeAfter: inFlight.size(),
      emptyAfter: empty.pollUnsafe() !== undefined,
      finalCounts: inFlight.counts()
    }
  })
