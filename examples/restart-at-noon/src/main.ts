/** `npm run demo`: a server is restarted under load in three ways, and the table says what each has cost. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Demo from "./Demo.ts"
import { longMillis } from "./LoadEvent.ts"
import * as Progress from "./Progress.ts"
import * as StopText from "./StopText.ts"
import * as Table from "./Table.ts"
import * as Verdict from "./Verdict.ts"
import * as Way from "./Way.ts"

const restarts = 4
const graceMillis = 1_800

const intro = `Restart at noon: two replicas of an identity server are restarted in turn under load, in three ways.
Each has a public server on TCP, an admin server on a Unix socket, and a database. One client keeps a watch
open, one peer per replica says nothing, some RPCs take ${longMillis / 1000} s.
The recipe's timeout and Lastcall's grace: ${graceMillis / 1000} s.
This takes less than a minute.
`

const program = Effect.gen(function*() {
  const progress = Progress.make(process.stdout)
  process.stdout.write(`${intro}\n`)
  const results = yield* Effect.ensuring(
    Demo.run({ ways: Way.all(restarts), graceMillis, progress }),
    Effect.sync(progress.end)
  )
  const sections = [Table.render(results), Verdict.render(results), StopText.lastReport(results)]
  process.stdout.write(`\n${sections.filter((section) => section !== undefined).join("\n\n")}\n`)
  if (!Verdict.passed(results)) {
    process.stdout.write("\nLastcall did not keep its word; see the table.\n")
    process.exitCode = 1
  }
})

NodeRuntime.runMain(program)
