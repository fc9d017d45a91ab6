/** `node examples/rolling-restart/src/main.ts`: each of three replicas is restarted three times under load, in two ways. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Account from "./Account.ts"
import * as Rollout from "./Rollout.ts"
import * as Table from "./Table.ts"

const options = {
  restarts: 9,
  holdMillis: 2_000,
  graceMillis: 2_500,
  load: { perSecond: 250, longMillis: 1_000 },
  note: (line: string) => void process.stdout.write(`${line}\n`)
}

const program = Effect.gen(function*() {
  const recipe = yield* Rollout.run({ way: "recipe", ...options })
  const lastcall = yield* Rollout.run({ way: "Lastcall", ...options })
  process.stdout.write(`\n${Table.render([recipe, lastcall])}\n`)
  if (!Account.isKept(lastcall)) {
    process.stdout.write("\nLastcall did not keep its word; see the table.\n")
    process.exitCode = 1
  }
})

NodeRuntime.runMain(program)
