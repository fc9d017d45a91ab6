/**
 * How long the whole process may take to stop, over all its resources.
 *
 * Deadlines per resource add up when resources stop one after the other; a budget does not. Its time begins with the
 * first stop under it. A resource may drain until what is left is just what it and those still waiting need to be forced,
 * but what is kept back for those is at most half of the budget less its own force: however many are waiting, and they may be
 * going to stop at the same time, there is time to drain.
 * When nothing is left, everything is forced at once. No step of any stop is skipped for lack of time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import { monotonicMillis } from "./internal/monotonic.ts"
import { millis } from "./StopPolicy.ts"

/**
 * The part of one resource in a budget.
 *
 * @category models
 * @since 0.1.0
 */
export interface Share {
  /** The stop of this resource has begun. Starts the time of the budget if nothing else did, unless it is held. */
  begin(): void
  /** Whether the time of the budget runs. */
  hasBegun(): boolean
  /** Waits until the time of the budget runs. */
  readonly awaitBegin: Effect.Effect<void>
  /** Until when it may drain, in milliseconds of the monotonic clock. It may move later as others begin to stop, or end. */
  drainUntil(): number
  /** How many milliseconds its force may take if it begins now. */
  forceFor(): number
  /** It has stopped, and needs nothing any more. */
  end(): void
}

/**
 * A budget that resources share.
 *
 * @category models
 * @since 0.1.0
 */
export interface StopBudget {
  readonly total: Duration.Duration
  /** Starts the time, if nothing did before. The first stop does so too. */
  begin(): void
  /**
   * Takes back that the time has begun. From now on only `begin` starts it, no stop of a resource: what stops until then
   * does so on its own, with nothing but its policy.
   */
  hold(): void
  /** Takes a share for a resource whose force may take this many milliseconds. */
  share(forceMillis: number): Share
}

type Stage = "waiting" | "stopping" | "ended"

/**
 * Makes a budget. The time does not run before the first stop. A defect of type `StopPolicyError` if it makes no sense.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (total: Duration.Input): Effect.Effect<StopBudget> =>
  Effect.map(Clock.Clock, (clock) => {
    const duration = Duration.millis(millis("budget", total, "any"))
    const shares = new Set<{ readonly forceMillis: number; stage: Stage }>()
    const begun = Latch.makeUnsafe(false)
    let begunAt: number | undefined
    let held = false

    const now = () => monotonicMillis(clock)
    const until = () => held ? Number.POSITIVE_INFINITY : (begunAt ?? now()) + Duration.toMillis(duration)
    const begin = () => {
      held = false
      begunAt ??= now()
      begun.openUnsafe()
    }
    const reservedForWaiting = () => {
      let reserved = 0
      for (const share of shares) if (share.stage === "waiting") reserved += share.forceMillis
      return reserved
    }

    return {
      total: duration,
      begin,
      hold() {
        held = true
        begunAt = undefined
        begun.closeUnsafe()
      },
      share(forceMillis) {
        const self = { forceMillis, stage: "waiting" as Stage }
        shares.add(self)
        return {
          begin() {
            if (!held) begin()
            self.stage = "stopping"
          },
          hasBegun: () => begunAt !== undefined,
          awaitBegin: begun.await,
          drainUntil() {
            const own = until() - forceMillis
            return Math.max(own - reservedForWaiting(), ((begunAt ?? now()) + own) / 2)
          },
          forceFor() {
            const left = Math.max(0, until() - now())
            const wanted = forceMillis + reservedForWaiting()
            return wanted <= left ? forceMillis : left * (forceMillis / wanted)
          },
          end() {
            self.stage = "ended"
            shares.delete(self)
          }
        }
      }
    }
  })

/**
 * The budget that a resource takes its share of when it is made; without one each resource has only its own policy.
 *
 * @category references
 * @since 0.1.0
 */
export const StopBudget: Context.Reference<StopBudget | undefined> = Context.Reference<StopBudget | undefined>(
  "@lastcall/core/StopBudget",
  { defaultValue: () => undefined }
)

/**
 * Gives all resources that are built with this layer one budget.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (total: Duration.Input): Layer.Layer<never> => Layer.effect(StopBudget, make(total))
