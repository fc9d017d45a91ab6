/**
 * `pnpm soak`: starts, loads and stops servers and clients again and again, and looks whether anything is left.
 *
 *     pnpm soak                          for 2 minutes
 *     pnpm soak --minutes 60
 *     pnpm soak --rounds 30 --warm-up 10
 *     pnpm soak --leak socket            leaks one per round on purpose: socket, timer, memory, fiber, listener; may be repeated
 *
 * Every second stop is forced. It exits with 1 if something grows by more than its bound per round after the warm-up, or a
 * stop is not what it should be.
 */
import * as StopReport from "@lastcall/core/StopReport"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Leak from "./Leak.ts"
import * as Options from "./Options.ts"
import * as Round from "./Round.ts"
import * as Sample from "./Sample.ts"
import * as Trend from "./Trend.ts"

const read = (): Options.Options => {
  try {
    return Options.parse(process.argv.slice(2))
  } catch (error) {
    console.error((error as Error).message)
    process.exit(2)
  }
}
const { leaks, minutes, rounds, warmUp } = read()
const until = performance.now() + minutes * 60_000

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

const samples: Array<Sample.Sample> = []
const wrong: Array<string> = []
let done = 0
for (; done < warmUp + rounds && (performance.now() < until || done < warmUp + 2); done++) {
  const ending = done % 2 === 0 ? "graceful" : "forced"
  const hangs = setTimeout(() => {
    console.log(`round ${done} hangs`)
    process.exit(1)
  }, 60_000)
  const { connections, report } = await Effect.runPromise(
    Sample.watched(Effect.provideService(Round.run(ending), References.MinimumLogLevel, "None"))
  )
  clearTimeout(hangs)
  const api = report.resources.find(({ name }) => name === "api")
  if (api?.outcome !== ending) wrong.push(`round ${done}: not ${ending}:\n${StopReport.renderProcess(report)}`)
  if (connections > 0) wrong.push(`round ${done}: the server has stopped and has ${connections} connections`)
  for (const kind of leaks) await Leak.leak[kind]()
  const sample = await Sample.take(collect, samples.at(-1))
  if (done >= warmUp) samples.push(sample)
}

const growths = Trend.of(samples)
const number = (value: number) => Number.isInteger(value) ? String(value) : value.toFixed(2)
console.log(`${done} rounds, the first ${warmUp} to warm up`)
for (const { bound, first, isLeak, last, perRound, quantity } of growths) {
  const mark = isLeak ? "GROWS" : "     "
  console.log(
    `${mark} ${quantity.padEnd(11)} ${first} -> ${last}, ${number(perRound)} per round (bound ${number(bound)})`
  )
}
for (const line of wrong) console.log(line)
const code = wrong.length > 0 || growths.some(({ isLeak }) => isLeak) ? 1 : 0
// Not by itself: what was leaked on purpose would keep it.
process.exit(code)
