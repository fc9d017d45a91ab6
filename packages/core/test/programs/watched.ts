/** Stops on SIGTERM as its argument says: blocked in the stop, with a handle left, or cleanly. */
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as NodeWatchdog from "@lastcall/core/NodeWatchdog"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

const [, , hang, after = "1 second", budget] = process.argv

const block = (): void => {
  for (;;);
}

/** As a server's socket does, it keeps the process alive while it serves; nothing else here would. */
const Open = Layer.effectDiscard(Effect.gen(function*() {
  const open = setInterval(() => {}, 1_000)
  if (hang !== "handle") yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(open)))
  if (hang === "blocked below") yield* Effect.addFinalizer(() => Effect.sync(block))
}))

const Database = Layer.effectDiscard(GracefulStop.make({ name: "database" }))

const Api = Layer.effectDiscard(Effect.gen(function*() {
  const inFlight = yield* InFlight.make
  const kind = inFlight.kind("job")
  yield* GracefulStop.make({
    name: "api",
    inFlight,
    drain: Effect.suspend(() => {
      if (hang === "slow") return Effect.sleep("300 millis")
      if (hang !== "blocked") return Effect.void
      kind.admit()
      return Effect.never
    })
  }, { grace: "1 second" })
}))

/** Blocks a turn after the drain began, so that the watchdog has heard of it. */
const Blocker = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  yield* lifecycle.onEvent((event) =>
    Effect.sync(() => {
      if (hang === "blocked" && event._tag === "DrainStarted") setImmediate(block)
    })
  )
}))

/** No resource, so nothing of its stop is told. */
const Above = Layer.effectDiscard(Effect.addFinalizer(() => hang === "hangs above" ? Effect.never : Effect.sync(block)))

/** Stops on its own. */
const alone = Effect.scoped(GracefulStop.make({ name: "alone" }))

/** Says that it serves, when it is ready. */
const Serving = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  if (hang === "alone") yield* alone
  yield* lifecycle.changes.pipe(
    Stream.filter((phase) => phase === "Ready"),
    Stream.runHead,
    Effect.andThen(hang === "alone" ? Effect.andThen(alone, Effect.sleep("1500 millis")) : Effect.void),
    Effect.andThen(Effect.sync(() => console.log("serving"))),
    Effect.forkScoped
  )
}))

const Resources = hang === "blocked below"
  ? Layer.empty
  : hang === "blocked above" || hang === "hangs above"
  ? Above
  : Api.pipe(Layer.provide(Database), Layer.provide(Blocker))

const App = Layer.merge(Resources, Serving).pipe(
  Layer.provide(NodeWatchdog.layer(after === "of the budget" ? {} : { after: after as Duration.Input })),
  Layer.provide(NodeSignals.layer()),
  Layer.provide(Open)
)

// Without `runMain`, which would exit by itself after a signal whatever handles are left.
Effect.runFork(Lifecycle.launch(App, { budget: budget as Duration.Input | undefined }))
