/** What made the difference, said from what was measured. */
import * as Paragraph from "./Paragraph.ts"
import * as Table from "./Table.ts"
import * as Tally from "./Tally.ts"
import type { Result } from "./Way.ts"

/** Whether Lastcall kept its word: no RPC lost, every stop clean, the database never used after its release. */
export const passed = (results: ReadonlyArray<Result>): boolean =>
  results.filter(({ way }) => way.stop === "Lastcall").every(({ stops, tally, way }) =>
    Tally.lost(tally) === 0 &&
    Tally.outstanding(tally) === 0 &&
    stops.length === way.restarts &&
    stops.every(({ exit, openAtRelease, released, usesAfterRelease }) =>
      exit === "0" && openAtRelease === 0 && usesAfterRelease === 0 &&
      released.map(({ what }) => what).join() === "public,admin,database"
    )
  )

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)}${Paragraph.fixedSpace}s`

const number = (n: number): string => n.toLocaleString("en-US")

const medianStop = ({ stops }: Result): string => seconds(Table.median(stops.map(({ millis }) => millis)))

const rpcs = (n: number): string => `${number(n)} RPC${n === 1 ? "" : "s"}`

/** "90 RPCs (48 Issue, 42 ListIdentities)", or "no RPC". */
const losses = ({ tally }: Result): string => {
  const methods = Object.entries(Tally.lostByMethod(tally)).toSorted(([, a], [, b]) => b - a)
  if (methods.length === 0) return "no RPC"
  return `${rpcs(Tally.lost(tally))} (${methods.map(([method, n]) => `${number(n)} ${method}`).join(", ")})`
}

const wholeTimeout = ({ graceMillis, stops }: Result): number =>
  stops.filter(({ millis }) => millis >= graceMillis).length

const times = (n: number, of: number): string => n === of ? `in all ${of} restarts` : `in ${n} of ${of} restarts`

const sentence = (result: Result): string => {
  const { graceMillis, stops, tally, watchesEnded, way } = result
  const spent = wholeTimeout(result)
  if (way.stop === "hard") {
    const handlers = stops.reduce((total, { openAtRelease }) => total + openAtRelease, 0)
    return `The hard stop lost ${losses(result)}: what is in flight is cut. ${
      number(handlers)
    } handlers still had the database open when it was released.`
  }
  if (way.stop === "recipe" && way.load === "easy") {
    return `In the easy case (short RPCs only, no watch, no silent peer) the recipe lost ${losses(result)} of ${
      number(tally.sent)
    } and took ${medianStop(result)} for a stop.` + (Tally.lost(tally) === 0 ? " There it is enough." : "")
  }
  if (way.stop === "recipe") {
    return `The recipe lost ${losses(result)}` + (spent === 0
      ? ` and never needed its whole timeout.`
      : ` and took its whole timeout of ${seconds(graceMillis)} ${
        times(spent, stops.length)
      }: a watch does not end by ` +
        `itself and a silent peer does not hang up, so the timer ends the wait${
          Tally.lost(tally) === 0 ? "." : ", and the force cuts what is left."
        }`)
  }
  const forced = stops.filter(({ released }) => released.some(({ forced }) => forced)).length
  return `Lastcall lost ${losses(result)} and needed ${medianStop(result)} for a stop, with a grace period of ${
    seconds(graceMillis)
  }: ` + (forced === 0
    ? `it waited for the longest RPC, ended ${watchesEnded} watch${watchesEnded === 1 ? "" : "es"} with a last ` +
      `message and closed the silent connections itself.`
    : `${times(forced, stops.length)} that was too short, and what was in flight was interrupted.`)
}

export const render = (results: ReadonlyArray<Result>): string =>
  results.map((result) => `- ${Paragraph.wrap(sentence(result), 106, "  ")}`).join("\n")
