/** Stops on SIGTERM as its argument says: blocked in the stop, with a handle left, or cleanly. */
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as NodeWatchdog from "@lastcall/core/NodeWatchdog"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const hang = process.argv[2]

const Api = Layer.effectDiscard(Effect.gen(function*() {
  const inFlight = yield* InFlight.make
  const kind = inFlight.kind("job")
  yield* GracefulStop.make({
    name: "api",
    inFlight,
    drain: Effect.suspend(() => {
      if (hang !== "blocked") return Effect.void
      kind.admit()
      return Effect.never
    })
  }, { grace: "1 second" })
  // As a server's socket does, this keeps the process alive while it serves; nothing else here would.
  const open = setInterval(() => {}, 1_000)
  if (hang !== "handle") yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(open)))
}))

/** Blocks a turn after the drain began, so that the watchdog has heard of it. */
const Blocker = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  yield* lifecycle.onEvent((event) =>
    Effect.sync(() => {
      if (hang !== "blocked" || event._tag !== "DrainStarted") return
      setImmediate(() => {
        for (;;);
      })
    })
  )
}))

const Watchdog = NodeWatchdog.layer({ after: "2 seconds" })

/** Stops on its own while the process serves. */
const Alone = Layer.effectDiscard(
  hang === "alone" ? Effect.scoped(GracefulStop.make({ name: "alone" })) : Effect.void
).pipe(Layer.provide(Watchdog))

const App = Api.pipe(
  Layer.provide(Blocker),
  Layer.provide(Watchdog),
  Layer.provide(NodeSignals.layer())
)

// Without `runMain`, which would exit by itself after a signal whatever handles are left.
Effect.runFork(Lifecycle.launch(Layer.merge(App, Alone), {
  warmUp: Effect.andThen(
    hang === "alone" ? Effect.sleep("2500 millis") : Effect.void,
    Effect.sync(() => console.log("serving"))
  )
}))
