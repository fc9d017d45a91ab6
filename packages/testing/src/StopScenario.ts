/**
 * One stop, played: what was in flight, what arrived, who stopped it and how, and what could be seen of it from outside.
 *
 * @since 0.1.0
 */
import type * as GracefulStop from "@lastcall/core/GracefulStop"
import type { StopReport } from "@lastcall/core/StopReport"
import * as Arbitrary from "effect/Arbitrary"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { int, millisOrForever, oneOf } from "./Work.ts"
import * as Work from "./Work.ts"

/**
 * A piece of work that asks to be admitted. Times are milliseconds from the start.
 *
 * @category models
 * @since 0.1.0
 */
export interface Piece {
  readonly arrival: number
  /** When its caller goes away, if it does. */
  readonly cancelled: number | undefined
  readonly work: Work.Work
}

/**
 * Somebody who calls `stop`, and may be interrupted while waiting.
 *
 * @category models
 * @since 0.1.0
 */
export interface Caller {
  readonly at: number
  readonly patience: number | undefined
}

/**
 * The policy of a resource, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  readonly drainDelay: number
  readonly grace: number
  readonly forceTimeout: number
}

/**
 * What happens to a resource.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scenario {
  readonly pieces: ReadonlyArray<Piece>
  readonly policy: Policy
  readonly escalation: number | undefined
  readonly closing: { readonly at: number; readonly by: "end" | "interruption" }
  readonly callers: ReadonlyArray<Caller>
}

const sometimes = (arbitrary: Arbitrary.Arbitrary<number>): Arbitrary.Arbitrary<number | undefined> =>
  Arbitrary.flatMap(int(0, 2), (n) => n < 2 ? Arbitrary.Constant(undefined) : arbitrary)

/**
 * Any scenario of at most five pieces of work. Callers of work do not go away, unless `cancels` says so.
 *
 * @category arbitraries
 * @since 0.1.0
 */
export const arbitrary = (options?: { readonly cancels?: boolean | undefined }): Arbitrary.Arbitrary<Scenario> =>
  Arbitrary.map(
    Arbitrary.all({
      pieces: Arbitrary.array(
        Arbitrary.all({
          arrival: int(0, 40),
          atTheGate: oneOf(false, false, true),
          cancelled: options?.cancels === true ? sometimes(int(0, 60)) : Arbitrary.Constant(undefined),
          work: Work.arbitrary
        }),
        { maxLength: 5 }
      ),
      policy: Arbitrary.all({ drainDelay: int(0, 10), grace: millisOrForever(25), forceTimeout: int(0, 12) }),
      escalation: sometimes(int(0, 50)),
      closing: Arbitrary.all({ at: int(0, 20), by: oneOf("end", "interruption") }),
      callers: Arbitrary.array(
        Arbitrary.all({ at: int(0, 40), patience: sometimes(int(0, 20)) }),
        { maxLength: 3 }
      )
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

/**
 * A resource as a scenario sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  /** Its stop: a `GracefulStop`, or a resource that offers the same. */
  readonly stop: Pick<GracefulStop.GracefulStop, "phase" | "stop" | "escalate">
  /**
   * Hands it work to do, as its users do: publishes a message, makes a request, borrows a member. It may end when the work is
   * handed over, or when the work has ended, and may fail where the resource refuses. `name` tells the pieces of work apart.
   */
  readonly run: (work: Effect.Effect<string, string>, name: string) => Effect.Effect<unknown, unknown>
}

/**
 * What can be seen on the stage of a scenario, and added to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stage {
  /** Adds an event. */
  readonly say: (subject: string, verb: string) => Effect.Effect<void>
  /** Hears of every event, after it was written down. */
  readonly onEvent: (listener: (event: Event) => void) => void
}

/**
 * Makes a resource with this policy; closing its scope stops it.
 *
 * @category models
 * @since 0.1.0
 */
export type Make = (policy: Policy, stage: Stage) => Effect.Effect<Subject, never, Scope.Scope>

/**
 * What happened, when, and in which phase of the stop: `piece 0 begins`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Event {
  readonly at: number
  readonly phase: GracefulStop.Phase
  readonly subject: string
  readonly verb: string
}

/**
 * A piece of work, and what became of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface PieceFacts extends Piece {
  readonly name: string
  readonly arrived: number | undefined
  readonly began: number | undefined
  /** When it ended, finalizers included. */
  readonly ended: number | undefined
  /** How the work ended. */
  readonly exit: Exit.Exit<string, string> | undefined
  /** What its caller got; `undefined` if it is still waiting long after the stop. */
  readonly returned: Exit.Exit<unknown, unknown> | undefined
}

/**
 * A scenario and what was seen of it. Times are milliseconds of the `Clock`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Facts<S extends Scenario = Scenario> {
  readonly scenario: S
  readonly report: StopReport
  readonly events: ReadonlyArray<Event>
  readonly pieces: ReadonlyArray<PieceFacts>
  /** What each caller of `stop` got. */
  readonly callers: ReadonlyArray<Exit.Exit<StopReport> | undefined>
  readonly start: number
  readonly drainStart: number
  /** When the drain was cut short; `Infinity` if it was not. */
  readonly forcedAt: number
  readonly end: number
}

/** Long after every stop: pieces and steps that are still alive now have been left behind. */
const afterwards = 300

/**
 * Plays a scenario with a resource of its own. In virtual time, which it expects to be at 0.
 *
 * @category running
 * @since 0.1.0
 */
export const play = <S extends Scenario>(make: Make, scenario: S): Effect.Effect<Facts<S>> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const made = yield* Deferred.make<Subject>()
    const events: Array<Event> = []
    const listeners: Array<(event: Event) => void> = []
    let phase: () => GracefulStop.Phase = () => "Serving"

    const say = (subject: string, verb: string) =>
      Effect.sync(() => {
        const event = { at: clock.currentTimeMillisUnsafe(), phase: phase(), subject, verb }
        events.push(event)
        for (const listener of listeners) listener(event)
      })
    const at = <A, E>(time: number, effect: Effect.Effect<A, E>) =>
      Effect.forkDetach(time === 0 ? effect : Effect.andThen(Effect.sleep(time), effect))

    const owner = yield* Effect.forkDetach(
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.addFinalizer(() => say("dependency", "is released"))
        const subject = yield* make(scenario.policy, { say, onEvent: (listener) => void listeners.push(listener) })
        phase = subject.stop.phase
        yield* Deferred.succeed(made, subject)
        yield* scenario.closing.by === "end" ? Effect.sleep(scenario.closing.at) : Effect.never
      })).pipe(Effect.tapCause((cause) => Deferred.failCause(made, cause)))
    )
    const { run, stop } = yield* Deferred.await(made)
    if (scenario.closing.by === "interruption") yield* at(scenario.closing.at, Fiber.interrupt(owner))

    const exits: Array<Exit.Exit<string, string> | undefined> = []
    const callersOfWork: Array<Fiber.Fiber<unknown, unknown>> = []
    for (const [index, { arrival, cancelled, work }] of scenario.pieces.entries()) {
      const name = nameOf(index)
      const enacted = Effect.onExit(
        Work.enact(work, name, (verb) => say(name, verb)),
        (exit) => Effect.sync(() => void (exits[index] = exit))
      )
      const fiber = yield* at(
        arrival,
        Effect.andThen(say(name, "arrives"), Effect.onExit(run(enacted, name), () => say(name, "returns")))
      )
      callersOfWork.push(fiber)
      if (cancelled !== undefined) yield* at(cancelled, Fiber.interrupt(fiber))
    }
    const callers: Array<Fiber.Fiber<StopReport>> = []
    for (const { at: time, patience } of scenario.callers) {
      const fiber = yield* at(time, stop.stop)
      callers.push(fiber)
      if (patience !== undefined) yield* at(time + patience, Fiber.interrupt(fiber))
    }
    if (scenario.escalation !== undefined) yield* at(scenario.escalation, stop.escalate)

    yield* Fiber.await(owner)
    const report = yield* stop.stop
    yield* Effect.sleep(afterwards)

    const timeOf = (subject: string, verb: string) =>
      events.find((event) => event.subject === subject && event.verb === verb)?.at
    const { announced, draining, total } = report.durations
    return {
      scenario,
      report,
      events,
      callers: callers.map((fiber) => fiber.pollUnsafe()),
      start: report.startedAt,
      drainStart: report.startedAt + announced,
      forcedAt: report.outcome === "forced" ? report.startedAt + announced + draining : Number.POSITIVE_INFINITY,
      end: report.startedAt + total,
      pieces: scenario.pieces.map((piece, index) => {
        const name = nameOf(index)
        return {
          ...piece,
          name,
          arrived: timeOf(name, "arrives"),
          began: timeOf(name, "begins"),
          ended: timeOf(name, "ends"),
          exit: exits[index],
          returned: callersOfWork[index]!.pollUnsafe()
        }
      })
    }
  })

const nameOf = (index: number): string => `piece ${index}`
