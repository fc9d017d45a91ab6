/** What can be seen of the stop of a process: launches a tree of resources and writes down what happens. */
import type * as Lifecycle from "@lastcall/core/Lifecycle"
import type { ProcessReport, StopReport } from "@lastcall/core/StopReport"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Kernel } from "./kernel.ts"
import type { Resource, Scenario, Step, Tree } from "./ProcessTree.ts"
import { branches } from "./ProcessTree.ts"

export interface Event {
  readonly at: number
  readonly subject: string
  readonly verb: string
}

export interface Facts {
  readonly scenario: Scenario
  readonly events: ReadonlyArray<Event>
  readonly report: ProcessReport
  readonly exit: Exit.Exit<ProcessReport>
  readonly phases: ReadonlyArray<Lifecycle.Phase>
  /** When it was asked to stop, and how long it took from then until `launch` ended. */
  readonly asked: number
  readonly took: number
  /** When it became ready; `undefined` if it never did. */
  readonly readyAt: number | undefined
  /** What is reported of those that stopped on their own. */
  readonly alone: ReadonlyArray<StopReport>
  /** Whether a step may be preempted before it begins, and so be cut short in no time. */
  readonly preempts: boolean
}

const enact = ({ after, does }: Step, say: Effect.Effect<void>): Effect.Effect<unknown, unknown> => {
  const pause = after === 0 ? Effect.void : Effect.sleep(after)
  return Effect.andThen(
    say,
    {
      "ends": pause,
      "fails": Effect.andThen(pause, Effect.fail("a step")),
      "dies": Effect.andThen(pause, Effect.die("a step")),
      "hangs": Effect.never,
      "is deaf for ever": Effect.uninterruptible(Effect.never)
    }[does]
  )
}

export const failure = "a part of the process"

export const observe = (kernel: Kernel, scenario: Scenario, preempts: boolean): Effect.Effect<Facts> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    const events: Array<Event> = []
    const alone: Array<StopReport> = []
    const note = (subject: string, verb: string) => void events.push({ at: now(), subject, verb })
    const at = <A, E>(time: number, effect: Effect.Effect<A, E>) =>
      Effect.forkDetach(Effect.andThen(time <= now() ? Effect.void : Effect.sleep(time - now()), effect))

    const layerOfResource = (name: string, self: Resource): Layer.Layer<never> =>
      Layer.effectDiscard(Effect.gen(function*() {
        const say = (verb: string) => Effect.sync(() => note(name, verb))
        if (self.building > 0) yield* Effect.sleep(self.building)
        yield* Effect.addFinalizer(() =>
          Effect.andThen(
            say("released"),
            self.release === "dies" ? Effect.die(`the finalizer of ${name}`) : Effect.void
          )
        )
        const stop = yield* kernel.GracefulStop.make({
          name,
          announce: enact(self.announce, say("announces")),
          drain: enact(self.drain, say("drains")),
          interrupt: enact(self.interrupt, say("interrupts")),
          destroy: () => {
            note(name, "destroys")
            if (self.destroy === "throws") throw new Error("a step")
          }
        }, self.policy)
        note(name, "made")
        if (self.alone !== undefined) {
          yield* at(
            scenario.closing.at + self.alone,
            Effect.tap(stop.stop, (report) => Effect.sync(() => alone.push(report)))
          )
        }
      }))

    const layerOf = (tree: Tree, path = "r"): Layer.Layer<never> => {
      if (tree._tag === "Resource") return layerOfResource(path, tree.resource)
      const layers = branches(tree, path).map(({ name, tree }) => layerOf(tree, name))
      if (tree._tag === "Parallel") return kernel.Lifecycle.parallel(layers)
      return tree._tag === "Sequence"
        ? kernel.Lifecycle.sequence(layers, { gap: tree.gap })
        : Layer.provide(layers[0]!, layers[1]!)
    }

    const phases: Array<Lifecycle.Phase> = []
    let readyAt: number | undefined
    const lifecycle = yield* Deferred.make<Lifecycle.Lifecycle>()
    const seesLifecycle = Layer.effectDiscard(Effect.gen(function*() {
      const self = yield* kernel.Lifecycle.Lifecycle
      yield* Effect.forkDetach(Stream.runForEach(self.changes, (phase) =>
        Effect.sync(() => {
          phases.push(phase)
          if (phase === "Ready") readyAt = now()
        })))
      yield* Deferred.succeed(lifecycle, self)
    }))
    let report: ProcessReport | undefined
    const process = yield* Effect.forkDetach(kernel.Lifecycle.launch(
      Layer.provide(layerOf(scenario.tree), seesLifecycle),
      {
        ...scenario.options,
        warmUp: Effect.sleep(scenario.warmUp),
        onReport: (value) =>
          Effect.sync(() => {
            report = value
          })
      }
    ))
    const self = yield* Deferred.await(lifecycle)
    if (scenario.escalation !== undefined) yield* at(scenario.escalation, self.escalate)
    yield* Effect.sleep(scenario.closing.at)
    const asked = now()
    if (scenario.closing.by === "interruption") process.interruptUnsafe()
    else if (scenario.closing.by === "request") yield* self.stop
    else yield* self.failCause(Cause.die(failure))
    const exit = yield* Fiber.await(process)
    const took = now() - asked
    yield* Effect.sleep(10)
    return { scenario, events, report: report!, exit, phases, asked, took, readyAt, alone, preempts }
  })
