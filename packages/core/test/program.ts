/** A program of stoppable resources in virtual time, and what can be seen of its stop. */
import * as GracefulStop from "@lastcall/core/GracefulStop"
import type { InFlight } from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { ProcessReport } from "@lastcall/core/StopReport"
import { drive } from "@lastcall/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"

export interface Resource extends StopPolicy.Options {
  readonly inFlight?: InFlight | undefined
  /** What building it takes and does. */
  readonly build?: Effect.Effect<unknown>
  readonly announce?: Effect.Effect<unknown>
  readonly drain?: Effect.Effect<unknown>
  readonly interrupt?: Effect.Effect<unknown>
  /** A finalizer of its own that runs when it has stopped. */
  readonly release?: Effect.Effect<unknown>
}

export const deafForEver: Effect.Effect<never> = Effect.uninterruptible(Effect.never)

/** One that is forced in the end, and does not end by that. */
export const stuck: Resource = { drain: Effect.never, interrupt: deafForEver }

export const quietly: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  References.MinimumLogLevel,
  "None"
)

/** A program that writes down what happens, each line with its time. */
export const make = Effect.gen(function*() {
  // a `TestClock` that was never adjusted cannot sleep in the finalizer of an interrupted fiber
  yield* TestClock.adjust(0)
  const clock = yield* Clock.Clock
  const lines: Array<string> = []
  const say = (what: string) => Effect.sync(() => void lines.push(`${clock.currentTimeMillisUnsafe()} ${what}`))

  const resource = (name: string, options: Resource = {}): Layer.Layer<never> =>
    Layer.effectDiscard(Effect.gen(function*() {
      yield* options.build ?? Effect.void
      yield* Effect.addFinalizer(() => Effect.andThen(options.release ?? Effect.void, say(`${name} released`)))
      yield* GracefulStop.make({
        name,
        inFlight: options.inFlight,
        announce: Effect.andThen(say(`${name} announces`), options.announce ?? Effect.void),
        drain: Effect.andThen(say(`${name} drains`), options.drain ?? Effect.void),
        interrupt: Effect.andThen(say(`${name} is interrupted`), options.interrupt ?? Effect.void),
        destroy: () => void lines.push(`${clock.currentTimeMillisUnsafe()} ${name} destroyed`)
      }, options)
      yield* say(`${name} serves`)
    }))

  /** Starts the program, until it is ready or waits for something. */
  const launch = <E>(layer: Layer.Layer<never, E>, options?: Lifecycle.LaunchOptions) =>
    Effect.gen(function*() {
      let report: ProcessReport | undefined
      let lifecycle: Lifecycle.Lifecycle | undefined
      const seesLifecycle = Layer.effectDiscard(
        Effect.map(Lifecycle.Lifecycle, (self) => {
          lifecycle = self
        })
      )
      const fiber: Fiber.Fiber<ProcessReport, E> = yield* Effect.forkDetach(
        quietly(Lifecycle.launch(Layer.provide(layer, seesLifecycle), {
          ...options,
          onReport: (value) => {
            report = value
            return options?.onReport?.(value) ?? Effect.void
          }
        })),
        { startImmediately: true }
      )
      yield* TestClock.adjust(0)
      lines.length = 0
      return {
        fiber,
        lifecycle: lifecycle!,
        report: () => report!,
        /** Interrupts it, as `runMain` does, and waits for its end. */
        interrupt: Effect.suspend((): Effect.Effect<Exit.Exit<ProcessReport, E>> => {
          fiber.interruptUnsafe()
          return Effect.exit(drive(fiber))
        }),
        end: Effect.suspend((): Effect.Effect<Exit.Exit<ProcessReport, E>> => Effect.exit(drive(fiber)))
      }
    })

  return { lines, say, resource, launch }
})
