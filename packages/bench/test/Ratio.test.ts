import { assert, describe, it } from "@effect/vitest"
import { atLeast, atMost, judge, median, ofPairs, quantile, summarize } from "../src/Ratio.ts"

describe("Ratio", () => {
  it("takes the ratio of each pair, above 1 where the subject needs less", () => {
    assert.deepStrictEqual(ofPairs([10, 20, 30], [5, 20, 60]), [2, 1, 0.5])
    assert.throws(() => ofPairs([1, 2], [1]), "without a pair")
  })

  it("finds quantiles between two values in proportion", () => {
    assert.strictEqual(quantile([1, 2, 3, 4, 5], 0.5), 3)
    assert.strictEqual(quantile([1, 2], 0.5), 1.5)
    assert.closeTo(quantile([0, 10], 0.1), 1, 1e-9)
    assert.strictEqual(median([3, 1, 2]), 2)
  })

  it("summarizes: median, p10, least, greatest, and the interval that the order of the values gives", () => {
    const values = Array.from({ length: 15 }, (_, i) => 15 - i)
    const summary = summarize(values)
    assert.deepStrictEqual({ ...summary, p10: 0 }, { pairs: 15, median: 8, p10: 0, min: 1, max: 15, low: 4, high: 12 })
    assert.closeTo(summary.p10, 2.4, 1e-9)
    // Too few to say anything: the interval is all there is.
    const { high, low } = summarize([1, 2, 3, 4, 5])
    assert.deepStrictEqual([low, high], [1, 5])
    assert.deepStrictEqual(summarize([2]), { pairs: 1, median: 2, p10: 2, min: 2, max: 2, low: 2, high: 2 })
    assert.throws(() => summarize([]), "no pairs")
  })

  it("judges a goal by the median, and says when noise could have decided", () => {
    const summary = summarize(Array.from({ length: 15 }, (_, i) => 0.93 + i / 100))
    assert.deepStrictEqual(judge(atLeast(0.9), summary), { met: true, open: false })
    assert.deepStrictEqual(judge(atLeast(1), summary), { met: true, open: true })
    assert.deepStrictEqual(judge(atLeast(1.01), summary), { met: false, open: true })
    assert.deepStrictEqual(judge(atLeast(1.2), summary), { met: false, open: false })
    assert.deepStrictEqual(judge(atMost(1.2), summary), { met: true, open: false })
    assert.deepStrictEqual(judge(atMost(0.9), summary), { met: false, open: false })
  })
})
