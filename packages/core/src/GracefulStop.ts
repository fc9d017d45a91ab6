/**
 * The stop protocol: one state machine that every resource uses.
 *
 * ```text
 * Serving -> Announced -> Draining -> Stopped
 *                            |
 *                            +-> Interrupting -> Destroying -> Stopped    (grace over, budget over, escalated, or failed)
 * ```
 *
 * The contract of a stop, in order:
 *
 * 1. **Announce.** `announce` runs and the drain delay passes; everything is still served. An announcement that takes
 *    longer than the drain delay takes its time from the grace period; an escalation ends the phase.
 * 2. **Drain.** `drain` runs: it stops admission and ends when nothing is in flight. If that happens within the grace
 *    period, the stop is graceful and nothing else is done.
 * 3. **Interrupt.** Otherwise `interrupt` runs: it asks what is in flight to end, and ends when it has, finalizers
 *    included. It gets the force timeout.
 * 4. **Destroy.** Then `destroy` runs. It is synchronous and so cannot hang. What is still in flight is abandoned: it is
 *    logged and named in the report.
 * 5. **Report.** All callers of `stop` get the same {@link StopReport}.
 *
 * It ends within drain delay + grace period + force timeout, whatever the steps do: each runs in a fiber of its own that is
 * left behind when its time is over, so neither an effect that cannot be interrupted nor a finalizer that hangs holds the
 * stop. A step that fails or dies is told and reported, and the steps after it still run.
 *
 * What happens is told as `StopEvent`s to the `StopEvent.Sink` in the context, which logs them by default.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { InFlight } from "./InFlight.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import { StopBudget } from "./StopBudget.ts"
import * as StopEvent from "./StopEvent.ts"
import * as StopPolicy from "./StopPolicy.ts"
import { StopRegistry } from "./StopRegistry.ts"
import type { ForcedBy, StopReport } from "./StopReport.ts"

/**
 * The states of the protocol.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "Serving" | "Announced" | "Draining" | "Interrupting" | "Destroying" | "Stopped"

/** The legal transitions; there are no others. */
const transitions: { readonly [From in Phase]: ReadonlyArray<Phase> } = {
  Serving: ["Announced"],
  Announced: ["Draining"],
  Draining: ["Interrupting", "Stopped"],
  Interrupting: ["Destroying"],
  Destroying: ["Stopped"],
  Stopped: []
}

/**
 * How a thing is stopped. With `inFlight` every step has a default: `drain` closes admission, `interrupt` interrupts what
 * is in flight, and both wait until nothing is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stoppable {
  /** The name in logs and in the report. */
  readonly name: string
  /** What was admitted and has not ended. A drain is not over before it is empty. */
  readonly inFlight?: InFlight | undefined
  /** Says that the end is coming. Everything is still served. */
  readonly announce?: Effect.Effect<unknown, unknown> | undefined
  /** Stops admission, and ends when nothing is left to wait for. */
  readonly drain?: Effect.Effect<unknown, unknown> | undefined
  /**
   * Asks what is in flight to end, and ends when it has. As a function it is told how many milliseconds it has.
   */
  readonly interrupt?:
    | Effect.Effect<unknown, unknown>
    | ((forceMillis: number) => Effect.Effect<unknown, unknown>)
    | undefined
  /** Destroys what is left, synchronously. */
  readonly destroy?: (() => void) | undefined
}

/**
 * A thing that can be stopped once.
 *
 * @category models
 * @since 0.1.0
 */
export interface GracefulStop {
  readonly name: string
  /** The phase it is in now. */
  readonly phase: () => Phase
  /**
   * Until when its drain may go on, in milliseconds since the epoch; `undefined` while it does not drain, or without limit.
   */
  readonly deadline: () => number | undefined
  /**
   * Announces the end ahead of the stop, and waits until that is done; the stop then neither announces nor waits for a
   * drain delay of its own. A `Lifecycle` does so for all its resources at once.
   */
  readonly announce: Effect.Effect<void>
  /** Waits until the announcement: the end is coming, everything is still served. */
  readonly awaitAnnounced: Effect.Effect<void>
  /** Waits until the drain has begun: nothing new is admitted. */
  readonly awaitDraining: Effect.Effect<void>
  /**
   * Stops it, and returns what happened. The first call starts the stop; every call waits for that one stop and returns
   * its one report. Interrupting a caller interrupts its waiting, not the stop.
   */
  readonly stop: Effect.Effect<StopReport>
  /**
   * Someone is in a hurry: the drain goes to force at once, a running one as well as one to come. It does not start a
   * stop. Interrupted work still gets the force timeout for its finalizers.
   */
  readonly escalate: Effect.Effect<void>
}

/**
 * Makes a stoppable thing a scoped resource: closing the scope stops it. A defect of type `StopPolicyError` if the policy
 * makes no sense.
 *
 * **Details**
 *
 * It takes a share of the `StopBudget` in the context, if there is one. The steps run with the context that `make` was
 * called in. Closing the scope of an interrupted fiber (SIGTERM under `runMain`) stops it just the same.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  stoppable: Stoppable,
  policy?: StopPolicy.Options
): Effect.Effect<GracefulStop, never, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.tap(makeUnscoped(stoppable, policy), (self) => Effect.addFinalizer(() => self.stop))
  )

/**
 * Acquires a resource whose release is a graceful stop.
 *
 * @category constructors
 * @since 0.1.0
 */
export const acquire = <A, E, R>(
  resource: Effect.Effect<A, E, R>,
  stoppable: (resource: A) => Stoppable,
  policy?: StopPolicy.Options
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptible(Effect.tap(resource, (value) => make(stoppable(value), policy)))

/**
 * Stops a thing now.
 *
 * @category running
 * @since 0.1.0
 */
export const run = (stoppable: Stoppable, policy?: StopPolicy.Options): Effect.Effect<StopReport> =>
  Effect.flatMap(makeUnscoped(stoppable, policy), (self) => self.stop)

/**
 * Full control: the caller says when it stops. Nothing stops it when a scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnscoped = (stoppable: Stoppable, options?: StopPolicy.Options): Effect.Effect<GracefulStop> =>
  Effect.gen(function*() {
    const policy = StopPolicy.make(StopPolicy.orElse(options, yield* StopPolicy.Defaults))
    const context = yield* Effect.context<never>()
    const clock = yield* Clock.Clock
    const budget = yield* StopBudget
    const share = budget?.share(policy.forceTimeoutMillis)
    const registry = yield* StopRegistry
    const sink = yield* StopEvent.Sink
    const { inFlight, name } = stoppable

    const now = () => monotonicMillis(clock)
    const announced = Latch.makeUnsafe(false)
    const draining = Latch.makeUnsafe(false)
    const escalated = Latch.makeUnsafe(false)
    const reported = Deferred.makeUnsafe<StopReport>()
    const failures: Array<string> = []
    /** Fibers of steps whose time was over: told to end, never waited for. */
    const left: Array<Fiber.Fiber<unknown, unknown>> = []
    let phase: Phase = "Serving"
    let started = false
    let notified = 0
    let drainUntil = Number.POSITIVE_INFINITY

    const enter = (next: Phase): void => {
      if (!transitions[phase].includes(next)) throw new Error(`illegal transition from ${phase} to ${next}`)
      phase = next
    }

    /** Tells what happened. A sink that dies or hangs is left behind: it must not hold the stop. */
    const tell = (event: StopEvent.Told): Effect.Effect<void> =>
      Effect.asVoid(
        Effect.forkDetach(
          Effect.suspend(() => sink({ ...event, at: clock.currentTimeMillisUnsafe() } as StopEvent.StopEvent)),
          { startImmediately: true }
        )
      )

    const failed = (step: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const pretty = Cause.pretty(cause)
        failures.push(`${step}: ${pretty}`)
        return tell({ _tag: "StepFailed", resource: name, step, cause: pretty })
      })

    const begin = (step: Effect.Effect<unknown, unknown>) =>
      Effect.tap(
        Effect.forkDetach(step, { startImmediately: true }),
        (fiber) => Effect.sync(() => void left.push(fiber))
      )

    /** Waits for a step; its failure is logged. */
    const settled = (step: string, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<"done" | "failed"> =>
      Effect.flatMap(
        Fiber.await(fiber),
        (exit) =>
          Exit.isSuccess(exit)
            ? Effect.succeed("done" as const)
            : Effect.as(failed(step, exit.cause), "failed" as const)
      )

    const sleepUntil = (deadline: number): Effect.Effect<void> =>
      Effect.suspend(() => deadline <= now() ? Effect.void : Effect.sleep(Duration.millis(deadline - now())))

    /** Enters the phase in the step that looks at it, since others may announce too; then begins the announcement. */
    const beginAnnouncement = Effect.suspend(() => {
      if (phase !== "Serving") return Effect.undefined
      enter("Announced")
      announced.openUnsafe()
      return Effect.andThen(tell({ _tag: "Announced", resource: name }), begin(stoppable.announce ?? Effect.void))
    })

    const announceAhead = Effect.flatMap(
      beginAnnouncement,
      (fiber) => fiber === undefined ? Effect.void : settled("announce", fiber)
    )

    const announce = Effect.fnUntraced(function*(
      fiber: Fiber.Fiber<unknown, unknown>,
      until: number,
      drainDelayOver: number
    ) {
      // In one step with the stop: between a race of nothing and the drain, work could come.
      if (stoppable.announce === undefined && policy.drainDelayMillis === 0) return
      yield* Effect.raceAllFirst([
        Effect.andThen(settled("announce", fiber), sleepUntil(drainDelayOver)),
        graceOver(until),
        escalated.await
      ])
    })

    /** A budget that has not begun may begin meanwhile, and end before the deadline. */
    const sleepUnlessBudgetBegins = (deadline: number): Effect.Effect<void> =>
      share === undefined || share.hasBegun()
        ? sleepUntil(deadline)
        : Effect.raceFirst(sleepUntil(deadline), share.awaitBegin)

    const forceOver = (until: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const deadline = Math.min(until, now() + (share?.forceFor() ?? Number.POSITIVE_INFINITY))
        return share === undefined || share.hasBegun()
          ? sleepUntil(deadline)
          : Effect.raceFirst(sleepUntil(deadline), Effect.andThen(share.awaitBegin, forceOver(until)))
      })

    /** Waits for the end of the grace period or of this resource's time in the budget, whichever is first. */
    const graceOver = (until: number): Effect.Effect<ForcedBy> =>
      Effect.suspend(() => {
        const budgetUntil = share?.drainUntil() ?? Number.POSITIVE_INFINITY
        const deadline = Math.min(until, budgetUntil)
        if (deadline > now()) return Effect.andThen(sleepUnlessBudgetBegins(deadline), graceOver(until))
        return Effect.succeed(until <= budgetUntil ? "grace" : "budget")
      })

    const drain = Effect.fnUntraced(function*(until: number): Effect.fn.Return<ForcedBy | undefined> {
      // not left to the step's fiber, which may be preempted before it closes
      if (stoppable.drain === undefined) inFlight?.close()
      const fiber = yield* begin(Effect.andThen(
        stoppable.drain ?? Effect.void,
        inFlight === undefined ? Effect.void : Effect.suspend(() => {
          inFlight.close()
          return inFlight.awaitEmpty
        })
      ))
      draining.openUnsafe()
      notified = inFlight?.size() ?? 0
      yield* tell({ _tag: "DrainStarted", resource: name, inFlight: notified })
      return yield* Effect.raceAllFirst([
        Effect.map(
          settled("drain", fiber),
          (result): ForcedBy | undefined => result === "done" ? undefined : "failure"
        ),
        graceOver(until),
        Effect.as(escalated.await, "escalation" as const),
        tellStillRunning(until, Math.min(firstReminderMillis, Math.max(1, (until - now()) / 4)))
      ])
    })

    /** Tells now and then what is still running, at growing distances. */
    const tellStillRunning = (until: number, afterMillis: number): Effect.Effect<never> =>
      Effect.andThen(
        Effect.sleep(Duration.millis(afterMillis)),
        Effect.suspend(() => {
          const deadline = Math.min(until, share?.drainUntil() ?? Number.POSITIVE_INFINITY)
          const leftMillis = deadline === Number.POSITIVE_INFINITY ? null : Math.max(0, deadline - now())
          const running = inFlight?.running() ?? []
          return Effect.andThen(
            tell({ _tag: "StillRunning", resource: name, running, leftMillis }),
            tellStillRunning(until, Math.min(afterMillis * 2, lastReminderMillis))
          )
        })
      )

    const interrupt = Effect.fnUntraced(function*() {
      const forceMillis = share?.forceFor() ?? policy.forceTimeoutMillis
      const until = now() + forceMillis
      const before = inFlight?.size() ?? 0
      inFlight?.close()
      const fiber = yield* begin(Effect.suspend(() => {
        if (typeof stoppable.interrupt === "function") return stoppable.interrupt(forceMillis)
        if (stoppable.interrupt !== undefined) return stoppable.interrupt
        inFlight?.interruptAll()
        return inFlight?.awaitEmpty ?? Effect.void
      }))
      yield* Effect.raceAllFirst([settled("interrupt", fiber), forceOver(until)])
      const after = inFlight?.size() ?? 0
      yield* tell({ _tag: "Interrupted", resource: name, ended: before - after, left: after })
      // nothing is abandoned that was not asked to end, whatever became of the step
      yield* interruptRest
    })

    const interruptRest = Effect.suspend(() => {
      try {
        inFlight?.interruptAll()
        return Effect.void
      } catch (defect) {
        return failed("interrupt", Cause.die(defect))
      }
    })

    const destroy = Effect.suspend(() => {
      try {
        stoppable.destroy?.()
        return Effect.void
      } catch (defect) {
        return failed("destroy", Cause.die(defect))
      }
    })

    const abandon = Effect.suspend(() => {
      const abandoned = inFlight?.running() ?? []
      for (const entry of inFlight?.entries() ?? []) entry.end("abandoned")
      return Effect.as(tell({ _tag: "Destroyed", resource: name, abandoned }), abandoned)
    })

    const protocol = Effect.gen(function*(): Effect.fn.Return<StopReport> {
      const startedAt = clock.currentTimeMillisUnsafe()
      const start = now()
      share?.begin()
      const announcement = yield* beginAnnouncement
      const drainDelayOver = announcement === undefined ? start : start + policy.drainDelayMillis
      const until = drainDelayOver + policy.graceMillis
      drainUntil = until

      if (announcement !== undefined) yield* announce(announcement, until, drainDelayOver)

      const drainStart = now()
      enter("Draining")
      const forcedBy = yield* drain(until)

      const drainEnd = now()
      const blockers = inFlight?.running() ?? []
      let abandoned: StopReport["abandoned"] = []
      if (forcedBy !== undefined) {
        enter("Interrupting")
        yield* tell({ _tag: "DrainCut", resource: name, by: forcedBy, blockers })
        yield* interrupt()
        enter("Destroying")
        yield* destroy
        abandoned = yield* abandon
      }

      const slowest = inFlight?.slowest()
      const end = now()
      for (const fiber of left) fiber.interruptUnsafe()
      enter("Stopped")
      const report: StopReport = {
        name,
        outcome: forcedBy === undefined ? "graceful" : "forced",
        ...(forcedBy === undefined ? {} : { forcedBy }),
        startedAt,
        durations: {
          announced: drainStart - start,
          draining: drainEnd - drainStart,
          interrupting: end - drainEnd,
          total: end - start
        },
        counts: inFlight?.counts() ?? noCounts,
        kinds: inFlight?.countsByKind() ?? {},
        notified,
        ...(slowest === undefined ? {} : { slowest }),
        blockers,
        abandoned,
        failures
      }
      yield* tell({ _tag: "Stopped", resource: name, report })
      return report
    })

    /** A tracer that throws is told, and neither holds the stop nor takes its report. */
    const inSpan = (self: Effect.Effect<StopReport>): Effect.Effect<StopReport> => {
      let hasBegun = false
      let report: StopReport | undefined
      const spanned = Effect.suspend(() =>
        Effect.withSpan(
          Effect.tap(
            Effect.suspend(() => {
              hasBegun = true
              return self
            }),
            (made) => {
              report = made
              const { counts, forcedBy, outcome } = made
              return Effect.annotateCurrentSpan({ outcome, ...(forcedBy === undefined ? {} : { forcedBy }), ...counts })
            }
          ),
          `stop ${name}`,
          { parent: registry?.parentSpan(context) }
        )
      )
      return Effect.catchCause(spanned, (cause) => {
        if (!hasBegun) return Effect.andThen(failed("span", cause), self)
        if (report === undefined) return Effect.failCause(cause)
        return Effect.as(tell({ _tag: "StepFailed", resource: name, step: "span", cause: Cause.pretty(cause) }), report)
      })
    }

    const runOnce = Effect.suspend(() => {
      if (started) return Effect.void
      started = true
      return Effect.forkDetach(
        Effect.onExit(
          Effect.provideContext(Effect.suspend(() => inSpan(protocol)), context),
          (exit) =>
            Effect.sync(() => {
              share?.end()
              unregister?.(Exit.isSuccess(exit) ? exit.value : undefined)
              Deferred.doneUnsafe(reported, exit)
            })
        ),
        { startImmediately: true }
      )
    })

    const self: GracefulStop = {
      name,
      phase: () => phase,
      deadline() {
        const deadline = Math.min(drainUntil, share?.drainUntil() ?? Number.POSITIVE_INFINITY)
        return phase !== "Draining" || deadline === Number.POSITIVE_INFINITY
          ? undefined
          : clock.currentTimeMillisUnsafe() + deadline - now()
      },
      announce: Effect.provideContext(Effect.uninterruptible(announceAhead), context),
      awaitAnnounced: announced.await,
      awaitDraining: draining.await,
      stop: Effect.andThen(Effect.uninterruptible(runOnce), Deferred.await(reported)),
      escalate: Effect.asVoid(escalated.open)
    }
    const unregister = registry?.register({ stop: self, inFlight })
    return self
  })

/**
 * The first reminder of what is still running comes after a second, or a quarter of the time if that is less; each next after
 * twice as long, up to a minute.
 */
const firstReminderMillis = 1_000
const lastReminderMillis = 60_000

const noCounts = { admitted: 0, succeeded: 0, failed: 0, interrupted: 0, destroyed: 0, abandoned: 0, refused: 0 }
