/** Whether what a process holds grows with the rounds. */
import { quantities, type Quantity, type Sample } from "./Sample.ts"

/**
 * How much of each may come on top: per round, less than any leak that comes with each round; and once, for what V8 compiles
 * and caches while a run is young.
 */
export const bounds: { readonly [Q in Quantity]: { readonly perRound: number; readonly once: number } } = {
  heap: { perRound: 4_096, once: 2_000_000 },
  external: { perRound: 4_096, once: 1_000_000 },
  handles: { perRound: 0.2, once: 0 },
  descriptors: { perRound: 0.2, once: 0 },
  fibers: { perRound: 0.2, once: 0 },
  listeners: { perRound: 0.2, once: 0 }
}

/**
 * The slope of a line through the values: the median of the slopes between all pairs (Theil and Sen), which a few values
 * that are far off do not move.
 */
export const slope = (values: ReadonlyArray<number>): number => {
  const slopes: Array<number> = []
  for (let i = 0; i < values.length; i++) {
    for (let j = i + 1; j < values.length; j++) slopes.push((values[j]! - values[i]!) / (j - i))
  }
  slopes.sort((a, b) => a - b)
  return slopes.length === 0 ? 0 : slopes[slopes.length >> 1]!
}

export interface Growth {
  readonly quantity: Quantity
  readonly perRound: number
  /** What it may be. */
  readonly bound: number
  readonly first: number
  readonly last: number
  readonly isLeak: boolean
}

/** What grew, per round, over the samples after the warm-up. */
export const of = (samples: ReadonlyArray<Sample>): ReadonlyArray<Growth> =>
  quantities.map((quantity) => {
    const values = samples.map((sample) => sample[quantity])
    const perRound = slope(values)
    const bound = bounds[quantity].perRound + bounds[quantity].once / Math.max(1, values.length)
    return {
      quantity,
      perRound,
      bound,
      first: values[0] ?? 0,
      last: values.at(-1) ?? 0,
      isLeak: perRound > bound
    }
  })
