/** A program as its users write it: resources under a lifecycle, run by `runMain`. It does what its {@link Plan} says. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import type { Behaviour, Plan } from "./Plan.ts"

const plan: Plan = JSON.parse(process.argv[2]!)

class NoPort extends Data.TaggedError("NoPort") {}

class NoPortWithCode extends Data.TaggedError("NoPort") {
  override readonly [Runtime.errorExitCode] = 42
}

const say = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))

const deaf = Effect.uninterruptible(Effect.never)

const resource = (name: string, behaviour: Behaviour): Layer.Layer<never, NoPort | NoPortWithCode> =>
  Layer.effectDiscard(Effect.gen(function*() {
    if (behaviour === "never ready") return yield* Effect.andThen(say(`${name} is being built`), Effect.never)
    if (behaviour === "fails to build") return yield* new NoPort()
    if (behaviour === "fails to build with code 42") return yield* new NoPortWithCode()
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        say(`${name} released`),
        behaviour === "has a finalizer that dies" ? Effect.die(`${name} half released`) : Effect.void
      )
    )
    yield* GracefulStop.make({
      name,
      drain: Effect.andThen(
        say(`${name} drains`),
        behaviour === "hangs" || behaviour === "is deaf" ? Effect.never : Effect.sleep("20 millis")
      ),
      interrupt: Effect.andThen(say(`${name} is interrupted`), behaviour === "is deaf" ? deaf : Effect.void)
    })
  }))

/** Waits until the process is ready, and does the next thing. */
const whenReady = Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  yield* Stream.runHead(Stream.filter(lifecycle.changes, (phase) => phase === "Ready"))
  yield* say("ready")
  if (plan.whenReady === "asks for the stop") yield* lifecycle.stop
  if (plan.whenReady === "fails") yield* lifecycle.failCause(Cause.die(new Error("the accept loop")))
  if (plan.whenReady === "fails with code 42") yield* lifecycle.failCause(Cause.die(new NoPortWithCode()))
})

const signals = plan.signals === false
  ? Layer.empty
  : NodeSignals.layer(plan.signals === undefined ? {} : { signals: plan.signals })

Lifecycle.sequence(
  Object.entries(plan.resources).map(([name, behaviour]) => resource(name, behaviour)),
  { gap: plan.gap }
).pipe(
  Layer.provide(signals),
  Layer.provide(Layer.effectDiscard(Effect.forkDetach(whenReady))),
  Lifecycle.launch({
    ...plan.options,
    onReport: ({ durations, outcome }) => say(`report: ${outcome} ${durations.total}`)
  }),
  NodeRuntime.runMain(plan.teardown === false ? {} : { teardown: Lifecycle.teardown })
)
