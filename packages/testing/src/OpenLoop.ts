/**
 * Load at a constant rate, whatever becomes of what was sent before: what clients in the field do to a server that restarts.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as CheckedOption from "./internal/checkedOption.ts"

/**
 * A load that runs. Sent = succeeded + failures + in flight.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenLoop<E> {
  readonly sent: () => number
  readonly succeeded: () => number
  /** What failed, each with its error; a defect as it is. */
  readonly failures: () => ReadonlyArray<E | unknown>
  readonly inFlight: () => number
  /** Sends no more, and waits for what was sent. */
  readonly end: Effect.Effect<void>
}

/**
 * The options of a load.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<E, R> {
  /** How many are sent in a second: above 0 and finite, not necessarily whole. */
  readonly perSecond: number
  /** Sends one: the first is 0. */
  readonly send: (n: number) => Effect.Effect<unknown, E, R>
}

const tickMillis = 5

/**
 * Sends until it is ended or the scope closes, which interrupts what is in flight. What a busy machine delays is sent
 * later, all at once: the rate holds over time. A rate that makes no sense is a defect: a `TestOptionError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = <E, R>(options: Options<E, R>): Effect.Effect<OpenLoop<E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const { send } = options
    const perSecond = CheckedOption.rate("OpenLoop.start", "perSecond", options.perSecond)
    const clock = yield* Clock.Clock
    const scope = yield* Effect.scope
    const context = yield* Effect.context<R>()
    const failures: Array<E | unknown> = []
    const over = Deferred.makeUnsafe<void>()
    const start = clock.currentTimeMillisUnsafe()
    let sent = 0
    let succeeded = 0
    let inFlight = 0
    let isEnded = false

    const settle = (): void => {
      inFlight--
      if (isEnded && inFlight === 0) Deferred.doneUnsafe(over, Effect.void)
    }
    const one = (n: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        sent++
        inFlight++
        return send(n)
      }).pipe(
        Effect.matchCause({
          onSuccess: () => void succeeded++,
          onFailure: (cause) => void failures.push(Cause.squash(cause))
        }),
        Effect.ensuring(Effect.sync(settle)),
        Effect.provide(context)
      )
    const tick: Effect.Effect<void> = Effect.suspend(() => {
      const due = Math.floor((clock.currentTimeMillisUnsafe() - start) * perSecond / 1_000)
      return Effect.forEach(
        Array.from({ length: Math.max(0, due - sent) }, (_, i) => sent + i),
        (n) => Effect.forkIn(one(n), scope, { startImmediately: true }),
        { discard: true }
      )
    })
    yield* Effect.forkIn(
      Effect.whileLoop({
        while: () => !isEnded,
        body: () => Effect.andThen(tick, Effect.sleep(tickMillis)),
        step: () => {}
      }),
      scope
    )

    return {
      sent: () => sent,
      succeeded: () => succeeded,
      failures: () => failures,
      inFlight: () => inFlight,
      end: Effect.suspend(() => {
        isEnded = true
        return inFlight === 0 ? Effect.void : Deferred.await(over)
      })
    }
  })
