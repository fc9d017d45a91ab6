/** Watches where no `Lifecycle` was launched, whose budget has no end; tells how many workers that took. */
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeWatchdog from "@lastcall/core/NodeWatchdog"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { setImmediate } from "node:timers/promises"

let workers = 0
process.on("worker", () => workers++)

const tell = (what: string) =>
  Effect.map(Effect.promise(() => setImmediate()), () => console.log(`${what}: ${workers} workers`))

const program = Effect.gen(function*() {
  const { budget } = yield* Lifecycle.Lifecycle
  console.log(`the budget is ${Duration.isFinite(budget) ? "finite" : "infinite"}`)
  yield* NodeWatchdog.make()
  yield* tell("without a time of its own")
  yield* NodeWatchdog.make({ after: "1 day" })
  yield* tell("with one")
})

Effect.runFork(Effect.scoped(program))
