/** What pairs of measurements say: the ratio of each pair, and how far the median of them is to be trusted. */

export interface Summary {
  readonly pairs: number
  readonly median: number
  readonly p10: number
  readonly min: number
  readonly max: number
  /** A 95 % confidence interval of the median, from the order of the ratios alone. */
  readonly low: number
  readonly high: number
}

/** The value below which a share of the sorted values lies; between two of them, in proportion. */
export const quantile = (sorted: ReadonlyArray<number>, share: number): number => {
  const at = share * (sorted.length - 1)
  const below = Math.floor(at)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below]! + (sorted[above]! - sorted[below]!) * (at - below)
}

export const median = (values: ReadonlyArray<number>): number => quantile(values.toSorted((a, b) => a - b), 0.5)

/** How many of the least and of the greatest values lie outside of the interval: a binomial tail of at most 2.5 %. */
const outside = (pairs: number): number => {
  let probability = 0.5 ** pairs
  let tail = probability
  let count = 0
  while (tail <= 0.025 && count < pairs) {
    count++
    probability *= (pairs - count + 1) / count
    tail += probability
  }
  return Math.max(0, count - 1)
}

export const summarize = (values: ReadonlyArray<number>): Summary => {
  if (values.length === 0) throw new RangeError("no pairs to summarize")
  const sorted = values.toSorted((a, b) => a - b)
  const cut = outside(sorted.length)
  return {
    pairs: sorted.length,
    median: quantile(sorted, 0.5),
    p10: quantile(sorted, 0.1),
    min: sorted[0]!,
    max: sorted.at(-1)!,
    low: sorted[cut]!,
    high: sorted.at(-1 - cut)!
  }
}

/** The ratio of each pair; above 1, the subject needs less than the base. */
export const ofPairs = (base: ReadonlyArray<number>, subject: ReadonlyArray<number>): ReadonlyArray<number> => {
  if (base.length !== subject.length) throw new RangeError("measurements without a pair")
  return base.map((value, i) => value / subject[i]!)
}

/** A goal: at least so much, or at most. */
export type Goal =
  | { readonly _tag: "AtLeast"; readonly value: number }
  | { readonly _tag: "AtMost"; readonly value: number }

export const atLeast = (value: number): Goal => ({ _tag: "AtLeast", value })
export const atMost = (value: number): Goal => ({ _tag: "AtMost", value })

/** `open`: the goal lies within the confidence interval of the median, so that noise could have decided. */
export interface Verdict {
  readonly met: boolean
  readonly open: boolean
}

export const judge = ({ _tag, value }: Goal, { high, low, median }: Summary): Verdict => ({
  met: _tag === "AtLeast" ? median >= value : median <= value,
  open: low < value && value < high
})
