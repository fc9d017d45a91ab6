/**
 * The stop of a process: many resources, one announcement, one drain delay, one budget, one report.
 *
 * The contract of {@link launch} when it is interrupted (SIGTERM under `NodeRuntime.runMain`), or asked to stop, in order:
 *
 * 1. **Announce** to every resource at once: health and readiness say that the end is coming, everything is still served.
 * 2. **Drain delay**, once for all. It ends early after a quiet period without new work, and when the rest of the budget is
 *    what the resources need to be forced: half of it is left to it in any case.
 * 3. **Close** the layers in their order: what depends on others stops first, dependencies are released after their
 *    dependents. Each resource drains within what is left of the budget, keeping back what those after it need to be forced,
 *    half of the budget at most.
 * 4. **Report**: the reports of all resources, in the order in which they stopped.
 *
 * The time of the budget begins with the announcement. When it is spent, everything that is left is forced at once; no step
 * of any stop is skipped. An escalation forces all drains at once.
 *
 * Resources made with `GracefulStop` find the lifecycle in their context. Without one, each stops correctly alone.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type * as Tracer from "effect/Tracer"
import { logged } from "./internal/logged.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import * as StopBudget from "./StopBudget.ts"
import * as StopEvent from "./StopEvent.ts"
import * as StopPolicy from "./StopPolicy.ts"
import * as StopRegistry from "./StopRegistry.ts"
import type { ProcessReport, StopReport } from "./StopReport.ts"

/**
 * The phases of a process. It is ready when every layer is built and the warm-up has ended.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "Starting" | "Ready" | "Announced" | "Draining" | "Stopped"

/**
 * How a process stops. A bare number is milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long the whole stop may take. Default: 25 seconds, below the 30 of Kubernetes' `terminationGracePeriodSeconds`.
   */
  readonly budget?: Duration.Input | undefined
  /**
   * What is kept back of the budget for releasing what is no stoppable resource: pools, files. Default: 1 second.
   */
  readonly reserve?: Duration.Input | undefined
  /**
   * How long everything is served after the announcement. It is cut when the rest of the budget is what the resources need to
   * be forced, one after the other, but not before half of the budget is over. Default: 0.
   */
  readonly drainDelay?: Duration.Input | undefined
  /**
   * Ends the drain delay early when no new work came for so long. Default: the drain delay is waited out.
   */
  readonly quietPeriod?: Duration.Input | undefined
  /**
   * The grace period of resources that do not state their own, and of a start that cannot be interrupted. Default: 10 seconds.
   */
  readonly grace?: Duration.Input | undefined
  /** The force timeout of resources that do not state their own. Default: 2 seconds. */
  readonly forceTimeout?: Duration.Input | undefined
}

/**
 * The lifecycle of the process, as everything in it can see it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lifecycle {
  readonly phase: () => Phase
  /** From the announcement until everything is to have stopped and been released. Infinite outside of {@link launch}. */
  readonly budget: Duration.Duration
  /** The phase now, and each that it comes to. */
  readonly changes: Stream.Stream<Phase>
  /** Waits until the process drains: a consumer, a cron loop, a long stream can end itself then. */
  readonly awaitDraining: Effect.Effect<void>
  /** Asks for the stop; returns at once. */
  readonly stop: Effect.Effect<void>
  /**
   * Asks for the stop because a part of the process failed: `launch` fails with this cause in the end. When the process is to
   * stop already, whyever, the cause is logged and changes nothing.
   */
  readonly failCause: (cause: Cause.Cause<never>) => Effect.Effect<void>
  /** Someone is in a hurry: the drain delay ends, and all drains go to force. Finalizers still run. */
  readonly escalate: Effect.Effect<void>
  /** The events of all resources from now on. */
  readonly events: Stream.Stream<StopEvent.StopEvent>
  /** Hears each event until the scope closes, before what is told next happens. */
  readonly onEvent: (
    listener: (event: StopEvent.StopEvent) => Effect.Effect<unknown>
  ) => Effect.Effect<void, never, Scope.Scope>
  /** The resources that have not stopped, in the order in which they were made. */
  readonly members: () => ReadonlyArray<StopRegistry.Member>
}

/**
 * The lifecycle of the process. Outside of {@link launch} it is ready for ever, and asking it to stop does nothing.
 *
 * @category references
 * @since 0.1.0
 */
export const Lifecycle: Context.Reference<Lifecycle> = Context.Reference<Lifecycle>("@lastcall/core/Lifecycle", {
  defaultValue: () => ({
    phase: () => "Ready",
    budget: Duration.infinity,
    changes: Stream.concat(Stream.make<[Phase]>("Ready"), Stream.never),
    awaitDraining: Effect.never,
    stop: Effect.void,
    failCause: () => Effect.void,
    escalate: Effect.void,
    events: Stream.never,
    onEvent: () => Effect.void,
    members: () => []
  })
})

/**
 * Waits until the process drains.
 *
 * @category waiting
 * @since 0.1.0
 */
export const awaitDraining: Effect.Effect<void> = Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.awaitDraining)

/**
 * Builds the layer and keeps it until the process is to stop; then stops it as the contract of this module says.
 *
 * **Details**
 *
 * It is to stop when this effect is interrupted, when something calls `Lifecycle.stop`, or when a part of the process failed
 * (`Lifecycle.failCause`). Interrupted, it ends interrupted; asked, it returns the report; failed, it fails. A layer that
 * fails while it is built stops what had been built, in order, without a drain delay: the process was never ready. Asked to
 * stop while layers are being built, it announces to those that are, and then ends the building; if that fails, so does
 * `launch`. Building that cannot be interrupted is waited for like a drain: for the grace period, until the rest of the budget
 * is what those that are built need to be forced (half of it at most), or until an escalation, and for a second at least.
 * Then what is built stops, in order, and the building is waited for again: until the budget is over, or for a second after
 * an escalation. If it is left behind, the stop counts as forced. Where a part of the building did end, and all its
 * resources have stopped, they may still be releasing what they used: what is below them is released when the rest of the
 * budget is the reserve, or a grace period after an escalation, 10 seconds at most.
 *
 * What stops on its own while the process is ready, a resource in a scope of its own, is no part of the stop of the process:
 * it has its own policy, takes nothing from the budget, and is not in the report.
 *
 * A stop that has begun is not interruptible. Use {@link teardown} with `runMain` for the exit code. A defect of type
 * `StopPolicyError` if an option makes no sense.
 *
 * **Example** (The main program)
 *
 * ```ts
 * import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
 * import * as Lifecycle from "@lastcall/core/Lifecycle"
 * import * as NodeSignals from "@lastcall/core/NodeSignals"
 * import * as Layer from "effect/Layer"
 *
 * const App = Layer.empty
 *
 * App.pipe(
 *   Layer.provide(NodeSignals.layer()),
 *   Lifecycle.launch({ budget: "25 seconds", drainDelay: "5 seconds" }),
 *   NodeRuntime.runMain({ teardown: Lifecycle.teardown })
 * )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const launch: {
  (
    options?: LaunchOptions
  ): <ROut, E, RIn>(layer: Layer.Layer<ROut, E, RIn>) => Effect.Effect<ProcessReport, E, RIn>
  <ROut, E, RIn>(
    layer: Layer.Layer<ROut, E, RIn>,
    options?: LaunchOptions
  ): Effect.Effect<ProcessReport, E, RIn>
} = dual(
  (args) => Layer.isLayer(args[0]),
  <ROut, E, RIn>(layer: Layer.Layer<ROut, E, RIn>, options?: LaunchOptions): Effect.Effect<ProcessReport, E, RIn> =>
    Effect.flatMap(make(options), (process) => process.launch(layer))
)

/**
 * The options of {@link launch}.
 *
 * @category models
 * @since 0.1.0
 */
export interface LaunchOptions extends Options {
  /**
   * What must have ended before the process is ready, when every layer is built: filling caches, a first query. It runs
   * while everything is served already; until it ends the phase is `Starting`. If it fails or dies, so does `launch`.
   */
  readonly warmUp?: Effect.Effect<unknown> | undefined
  /**
   * Hears the report, after everything has been released. It has what is left of the budget, or a second. Default: nothing;
   * each resource has logged its own.
   */
  readonly onReport?: ((report: ProcessReport) => Effect.Effect<unknown>) | undefined
  /** Hears each event, besides the `StopEvent.Sink` that `launch` finds in its context: the log by default. */
  readonly onEvent?: ((event: StopEvent.StopEvent) => Effect.Effect<unknown>) | undefined
}

/**
 * Stops layers one after the other, the first first: each has stopped before the next begins to.
 *
 * **Details**
 *
 * They are built the other way round, the last first. With `gap`, the next begins to stop no earlier than so long after the
 * one before it began: servers that share clients must not send their GOAWAYs within one round trip of each other, since a
 * client retries transparently only once (measured: at 50 ms round trip and no gap 49 of some 5,000 RPCs lost, with 200 ms
 * none). An escalation skips the gaps.
 *
 * @category order
 * @since 0.1.0
 */
export const sequence = <const Layers extends ReadonlyArray<Layer.Layer<never, unknown, unknown>>>(
  layers: Layers,
  options?: { readonly gap?: Duration.Input | undefined }
): Group<Layers> => {
  const gapMillis = StopPolicy.millis("gap", options?.gap ?? 0, "finite")
  const group = layers.reduceRight<Layer.Layer<never, unknown, unknown> | undefined>(
    (later, layer) => {
      if (later === undefined) return layer
      return gapMillis === 0 ? Layer.provide(layer, later) : withGap(layer, gapMillis, later)
    },
    undefined
  )
  return (group ?? Layer.empty) as Group<Layers>
}

/**
 * Layers as one: it fails as any of them does, and needs what they need.
 *
 * @category models
 * @since 0.1.0
 */
export type Group<Layers extends ReadonlyArray<Layer.Layer<never, unknown, unknown>>> = Layer.Layer<
  never,
  Layer.Error<Layers[number]>,
  Layer.Services<Layers[number]>
>

/**
 * Stops layers at the same time.
 *
 * @category order
 * @since 0.1.0
 */
export const parallel = <const Layers extends ReadonlyArray<Layer.Layer<never, unknown, unknown>>>(
  layers: Layers
): Group<Layers> => layers.reduce((left, right) => Layer.merge(left, right), Layer.empty) as Group<Layers>

/**
 * The exit code of a stop that was forced, as of `timeout(1)` for a command that it had to end.
 *
 * @category exit codes
 * @since 0.1.0
 */
export const forcedExitCode = 124

/**
 * The exit code of a program: 0 after a clean stop, {@link forcedExitCode} after a forced one, the program's own if it
 * failed (Effect's default: 1, or what the error says). Without a report an interrupted program keeps Effect's 130.
 *
 * @category exit codes
 * @since 0.1.0
 */
export const exitCode = (exit: Exit.Exit<unknown, unknown>, report: ProcessReport | undefined): number => {
  if (report !== undefined && (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause))) {
    return report.outcome === "graceful" ? 0 : forcedExitCode
  }
  let code = 0
  Runtime.defaultTeardown(exit, (own) => {
    code = own
  })
  return code
}

/**
 * For `NodeRuntime.runMain`: exits with {@link exitCode} of the program and the report of its {@link launch}.
 *
 * @category exit codes
 * @since 0.1.0
 */
export const teardown: Runtime.Teardown = (exit, onExit) => onExit(exitCode(exit, lastReport))

/** The report of the stop of this process: `teardown` is called with an exit only. */
let lastReport: ProcessReport | undefined

/** `layer` stops before `later`, which begins no earlier than the gap after `layer` began. */
const withGap = <E, R>(
  layer: Layer.Layer<never, E, R>,
  millis: number,
  later: Layer.Layer<never, E, R>
): Layer.Layer<never, E, R> =>
  Layer.unwrap(Effect.map(Clock.Clock, (clock) => {
    // Where the layer was never built, there is nothing to keep a distance to.
    let began = Number.NEGATIVE_INFINITY
    const begins = Layer.effectDiscard(
      Effect.addFinalizer(() => Effect.sync(() => void (began = monotonicMillis(clock))))
    )
    const ends = Layer.effectDiscard(Effect.gen(function*() {
      const escalated = yield* Escalated
      const budget = yield* StopBudget.StopBudget
      const budgetSpent = budget === undefined ? Effect.never : spent(budget, clock)
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const left = began + millis - monotonicMillis(clock)
          return Effect.raceAllFirst([Effect.sleep(Duration.millis(left)), escalated, budgetSpent])
        })
      )
    }))
    return begins.pipe(Layer.provide(layer), Layer.provide(ends), Layer.provide(later))
  }))

/** Ends when someone has escalated. */
const Escalated: Context.Reference<Effect.Effect<void>> = Context.Reference<Effect.Effect<void>>(
  "@lastcall/core/Lifecycle/Escalated",
  { defaultValue: () => Effect.never }
)

/** How long announcements may take where there is no longer drain delay to wait for anyway. */
const announceMillis = 1_000

/** How long `onReport` may take where less than that is left of the budget. */
const reportMillis = 1_000

/** How long the building of layers may take to end in any case, and beyond the budget where the reserve is less. */
const unbuildMillis = 1_000

/** How long what has stopped may be released after an escalation while building goes on, where the grace period is longer. */
const releaseMillis = 10_000

/**
 * Waits until what is left of the budget is just what those that have not stopped need to be forced, half of it at most, or so
 * much earlier.
 */
const spent = (budget: StopBudget.StopBudget, clock: Clock.Clock, early = 0): Effect.Effect<void> => {
  const share = budget.share(0)
  const wait: Effect.Effect<void> = Effect.suspend(() => {
    const left = share.drainUntil() - early - monotonicMillis(clock)
    return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(Duration.millis(left)), wait)
  })
  return wait
}

const causeOf = <E>(exit: Exit.Exit<unknown, E>): Cause.Cause<E> => Exit.isFailure(exit) ? exit.cause : Cause.empty

/** What failed in an exit, besides interruptions and what is known. */
const without = <E>(known: Cause.Cause<E>, exit: Exit.Exit<unknown, E>): Exit.Exit<void, E> => {
  const died = causeOf(exit).reasons.filter((reason) =>
    !Cause.isInterruptReason(reason) && !known.reasons.includes(reason)
  )
  return died.length === 0 ? Exit.void : Exit.failCause(Cause.fromReasons(died))
}

const logError = (...message: ReadonlyArray<unknown>): Effect.Effect<void> => logged(Effect.logError(...message))

/** A listener of the program: that it fails is logged and has no consequences. */
const reported = (name: string, listener: Effect.Effect<unknown>): Effect.Effect<void> =>
  Effect.catchCause(
    Effect.asVoid(listener),
    (cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError(`${name} failed`, cause)
  )

interface Process {
  readonly launch: <ROut, E, RIn>(layer: Layer.Layer<ROut, E, RIn>) => Effect.Effect<ProcessReport, E, RIn>
}

const make = Effect.fnUntraced(function*(options: LaunchOptions = {}): Effect.fn.Return<Process> {
  const clock = yield* Clock.Clock
  const budgetMillis = StopPolicy.millis("budget", options.budget ?? "25 seconds", "any")
  const reserveMillis = StopPolicy.millis("reserve", options.reserve ?? "1 second", "finite")
  const drainDelayMillis = StopPolicy.millis("drainDelay", options.drainDelay ?? 0, "finite")
  const quietMillis = options.quietPeriod === undefined
    ? undefined
    : StopPolicy.millis("quietPeriod", options.quietPeriod, "finite")
  const defaults: StopPolicy.Options = { grace: options.grace, forceTimeout: options.forceTimeout }
  const { graceMillis } = StopPolicy.make(defaults)

  const stopMillis = Math.max(0, budgetMillis - reserveMillis)
  const budget = yield* StopBudget.make(Duration.millis(stopMillis))
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const phase = yield* SubscriptionRef.make<Phase>("Starting")
  const events = yield* PubSub.unbounded<StopEvent.StopEvent>()
  const draining = Latch.makeUnsafe(false)
  const escalated = Latch.makeUnsafe(false)
  const asked = Deferred.makeUnsafe<void>()
  const members = new Set<StopRegistry.Member>()
  const reports: Array<StopReport> = []
  const listeners = new Set<(event: StopEvent.StopEvent) => Effect.Effect<unknown>>([yield* StopEvent.Sink])
  if (options.onEvent !== undefined) listeners.add(options.onEvent)
  const now = () => monotonicMillis(clock)
  const current = () => SubscriptionRef.getUnsafe(phase)
  let span: Tracer.Span | undefined

  const sink = (event: StopEvent.StopEvent): Effect.Effect<void> =>
    Effect.suspend(() => {
      PubSub.publishUnsafe(events, event)
      return Effect.forEach(
        listeners,
        (listener) =>
          Effect.forkDetach(reported("a listener of events", Effect.suspend(() => listener(event))), {
            startImmediately: true
          }),
        { discard: true }
      )
    })

  const endSpan = (): void => {
    const ended = span
    span = undefined
    if (ended === undefined) return
    const end = Effect.sync(() => ended.end(clock.currentTimeNanosUnsafe(), Exit.void))
    run(Effect.catchCause(end, (cause) => Effect.logError("the span of the stop could not be ended", cause)))
  }

  const registry: StopRegistry.StopRegistry = {
    register(member) {
      members.add(member)
      // It came while the process stops already: it is told at once.
      if (current() !== "Starting" && current() !== "Ready") run(member.stop.announce)
      if (escalated.isOpen()) run(member.stop.escalate)
      return (report) => {
        members.delete(member)
        // What stops on its own while the process is ready is no part of the stop of the process.
        if (report !== undefined && current() !== "Ready") reports.push(report)
        if (members.size === 0) endSpan()
      }
    },
    // The tracer is the resource's: its exporter lives below the resource, and the span ends before that is released.
    parentSpan(context) {
      if (current() === "Starting" || current() === "Ready") return undefined
      // Where its tracer throws, its own span says so, and the next resource makes this one.
      return span ??= Exit.getSuccess(Effect.runSyncExitWith(context)(Effect.makeSpan("stop", { root: true }))).pipe(
        Option.getOrUndefined
      )
    }
  }

  const lifecycle: Lifecycle = {
    phase: current,
    budget: Duration.millis(budgetMillis),
    changes: SubscriptionRef.changes(phase),
    awaitDraining: draining.await,
    stop: Effect.asVoid(Deferred.succeed(asked, undefined)),
    failCause: (cause) =>
      Effect.flatMap(
        Deferred.failCause(asked, cause),
        (isFirst) => isFirst ? Effect.void : logError("a part of the process failed during the stop", cause)
      ),
    escalate: Effect.suspend(() => {
      escalated.openUnsafe()
      return Effect.forEach(members, ({ stop }) => stop.escalate, { discard: true })
    }),
    events: Stream.fromPubSub(events),
    onEvent: (listener) =>
      Effect.acquireRelease(
        Effect.sync(() => void listeners.add(listener)),
        () => Effect.sync(() => void listeners.delete(listener))
      ),
    members: () => Array.from(members)
  }

  const sleepUntil = (deadline: number): Effect.Effect<void> =>
    Effect.suspend(() => Effect.sleep(Duration.millis(deadline - now())))

  /** Waits until no member has admitted anything for the quiet period. */
  const quiet = (quietMillis: number, since: number): Effect.Effect<void> => {
    // Admissions bear the time of the wall clock, which may be set meanwhile: then they count as late as they may have been.
    const wallAhead = () => clock.currentTimeMillisUnsafe() - now()
    const ahead = wallAhead()
    const seen = new Map<StopRegistry.Member, number>()
    let last = since
    const wait: Effect.Effect<void> = Effect.suspend(() => {
      const at = now()
      const leastAhead = Math.min(ahead, wallAhead())
      for (const member of members) {
        const admittedAt = member.inFlight?.lastAdmittedAt()
        if (admittedAt === undefined || admittedAt === seen.get(member)) continue
        seen.set(member, admittedAt)
        last = Math.max(last, Math.min(at, admittedAt - leastAhead))
      }
      const left = last + quietMillis - at
      return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(Duration.millis(left)), wait)
    })
    return wait
  }

  const announce = Effect.fnUntraced(function*(drainDelay: number) {
    const start = now()
    const fibers = yield* Effect.forEach(
      Array.from(members),
      ({ stop }) => Effect.forkDetach(stop.announce, { startImmediately: true })
    )
    const told = Effect.raceFirst(
      Fiber.awaitAll(fibers),
      sleepUntil(start + Math.max(announceMillis, drainDelay))
    )
    const delay = quietMillis === undefined
      ? sleepUntil(start + drainDelay)
      : Effect.raceFirst(sleepUntil(start + drainDelay), quiet(quietMillis, start))
    yield* Effect.raceAllFirst([Effect.andThen(told, delay), escalated.await, spent(budget, clock)])
  })

  /** What has stopped until now is no part of the stop of the process, and neither is the time it took. */
  const becomeReady = SubscriptionRef.updateSome(phase, (phase) => {
    if (phase !== "Starting") return Option.none()
    reports.length = 0
    budget.hold()
    return Option.some<Phase>("Ready")
  })

  const isStopping = (): boolean =>
    Array.from(members).some(({ stop }) => stop.phase() !== "Serving" && stop.phase() !== "Announced")

  /**
   * Waits until members are left of which none has stopped or is stopping for a while: nothing closes them. Where none is left,
   * what they used is being released, or nothing is: that is waited for until the reserve begins, or for so long after the last
   * of them has stopped and someone has escalated.
   */
  const idle = (until: number, since: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const stopped = reports.length
      const left = until - now()
      const isShort = members.size === 0 && left > 0 && left < unbuildMillis
      return Effect.andThen(
        Effect.sleep(Duration.millis(isShort ? left : unbuildMillis)),
        Effect.suspend(() => {
          const at = now()
          if (isStopping() || reports.length > stopped) return idle(until, at)
          if (members.size > 0 || at >= until) return Effect.void
          if (!escalated.isOpen()) return idle(until, at)
          return at - since < Math.min(graceMillis, releaseMillis) ? idle(until, since) : Effect.void
        })
      )
    })

  /** Waits until what was built is to stop although the building has not ended; so many had stopped before it was to end. */
  const overdue = Effect.fnUntraced(function*(start: number, stopped: number) {
    // Building that is interrupted stops what it had built, in order; another part of it may go on, and hold the rest.
    const hasBegun = () => isStopping() || reports.length > stopped
    const early = spent(budget, clock, unbuildMillis)
    yield* Effect.sleep(Duration.millis(unbuildMillis))
    yield* Effect.raceAllFirst([
      Effect.sleep(Duration.millis(graceMillis - unbuildMillis)),
      Effect.andThen(early, Effect.suspend(() => hasBegun() ? Effect.void : spent(budget, clock))),
      escalated.await
    ])
    if (!hasBegun()) return
    yield* Effect.raceFirst(early, escalated.await)
    yield* idle(start + stopMillis, now())
  })

  /** Ends the building of a process that never became ready, and with it what was built, where it can be interrupted. */
  const unbuild = Effect.fnUntraced(function*(serving: Fiber.Fiber<never, unknown>, start: number, until: number) {
    const stopped = reports.length
    serving.interruptUnsafe()
    yield* Effect.raceAllFirst([Fiber.await(serving), overdue(start, stopped), sleepUntil(until)])
    if (serving.pollUnsafe() !== undefined) return
    yield* logged(
      Effect.logWarning("the start of the process cannot be interrupted: what is built stops before it has ended")
    )
  })

  const close = Effect.fnUntraced(function*<E>(
    scope: Scope.Closeable,
    serving: Fiber.Fiber<never, E>,
    exit: Exit.Exit<unknown, E>
  ) {
    const startedAt = clock.currentTimeMillisUnsafe()
    const start = now()
    const wasReady = yield* SubscriptionRef.modify(phase, (phase) => {
      // What has stopped on its own until now, while the process started, takes nothing from it.
      budget.hold()
      budget.begin()
      return [phase === "Ready", "Announced" as const]
    })
    yield* announce(wasReady ? drainDelayMillis : 0)
    const drainStart = now()
    yield* SubscriptionRef.set(phase, "Draining")
    draining.openUnsafe()
    const until = start + stopMillis + Math.max(reserveMillis, unbuildMillis)
    if (serving.pollUnsafe() === undefined) yield* unbuild(serving, start, until)
    const released = yield* Effect.exit(Scope.close(scope, exit))
    endSpan()
    if (serving.pollUnsafe() === undefined) {
      const hurry = Effect.andThen(escalated.await, Effect.sleep(Duration.millis(unbuildMillis)))
      yield* Effect.raceAllFirst([Fiber.await(serving), hurry, sleepUntil(until)])
    }
    const served = serving.pollUnsafe()
    const isLeftBehind = served === undefined
    if (isLeftBehind) yield* logError("the start of the process did not end, and is left behind")
    const built = isLeftBehind ? Exit.void : without(causeOf(exit), served)
    // A finalizer that dies hides neither the others nor the cause of the stop, and runMain would not log it.
    if (Exit.isFailure(built)) yield* logError("the start of the process failed during the stop", built.cause)
    if (Exit.isFailure(released)) yield* logError("a finalizer failed during the stop", released.cause)
    const closed = Exit.asVoidAll([built, released])
    const end = now()
    const report: ProcessReport = {
      outcome: isLeftBehind || reports.some(({ outcome }) => outcome === "forced") ? "forced" : "graceful",
      startedAt,
      durations: { drainDelay: drainStart - start, closing: end - drainStart, total: end - start },
      resources: reports.slice()
    }
    lastReport = report
    yield* SubscriptionRef.set(phase, "Stopped")
    if (options.onReport !== undefined) {
      const onReport = reported("onReport", Effect.suspend(() => options.onReport!(report)))
      const fiber = yield* Effect.forkDetach(onReport)
      yield* Effect.raceFirst(Fiber.await(fiber), sleepUntil(Math.max(start + budgetMillis, end + reportMillis)))
      fiber.interruptUnsafe()
    }
    return [report, closed] as const
  })

  return {
    launch: (layer) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          lastReport = undefined
          const serving = yield* Effect.forkDetach(
            Layer.buildWithScope(layer, scope).pipe(
              Effect.andThen(options.warmUp ?? Effect.void),
              Effect.andThen(becomeReady),
              Effect.andThen(Effect.never)
            ),
            { startImmediately: true }
          )
          const exit = yield* Effect.exit(restore(Effect.raceFirst(Fiber.join(serving), Deferred.await(asked))))
          // From now on what else fails is no cause of the stop; an interruption hides none that came before it.
          yield* Deferred.succeed(asked, undefined)
          const failed = Cause.combine(causeOf(exit), causeOf(yield* Effect.exit(Deferred.await(asked))))
          const [report, closed] = yield* close(scope, serving, exit)
          const cause = Exit.isFailure(closed) ? Cause.combine(failed, closed.cause) : failed
          return cause.reasons.length === 0 ? report : yield* Effect.failCause(cause)
        })
      ).pipe(
        Effect.provideService(Lifecycle, lifecycle),
        Effect.provideService(StopRegistry.StopRegistry, registry),
        Effect.provideService(StopBudget.StopBudget, budget),
        Effect.provideService(StopPolicy.Defaults, defaults),
        Effect.provideService(StopEvent.Sink, sink),
        Effect.provideService(Escalated, escalated.await)
      )
  }
})
