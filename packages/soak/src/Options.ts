/** The options of `pnpm soak`. */
import { parseArgs } from "node:util"
import * as Leak from "./Leak.ts"

export interface Options {
  readonly minutes: number
  readonly rounds: number
  readonly warmUp: number
  readonly leaks: ReadonlyArray<Leak.Kind>
}

/** Throws what is wrong with them. */
export const parse = (args: ReadonlyArray<string>): Options => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "2" },
      rounds: { type: "string", default: "Infinity" },
      "warm-up": { type: "string", default: "30" },
      leak: { type: "string", multiple: true, default: [] }
    }
  })
  const above0 = (option: "minutes" | "rounds" | "warm-up"): number => {
    const value = Number(values[option])
    if (value > 0) return value
    throw new Error(`--${option} is ${values[option]}: must be a number above 0`)
  }
  const leaks = values.leak.map((value) => {
    const kind = Leak.kinds.find((kind) => kind === value)
    if (kind === undefined) throw new Error(`--leak is ${value}: must be one of ${Leak.kinds.join(", ")}`)
    return kind
  })
  return { minutes: above0("minutes"), rounds: above0("rounds"), warmUp: above0("warm-up"), leaks }
}
