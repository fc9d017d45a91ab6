import { assert, it } from "@effect/vitest"
import type { Sample } from "../src/Sample.ts"
import * as Trend from "../src/Trend.ts"

const sample = (over: Partial<Sample>): Sample => ({
  heap: 0,
  external: 0,
  handles: 0,
  descriptors: 0,
  fibers: 0,
  listeners: 0,
  ...over
})

const leaks = (samples: ReadonlyArray<Sample>): ReadonlyArray<string> =>
  Trend.of(samples).filter(({ isLeak }) => isLeak).map(({ quantity }) => quantity)

it("one more in each round is a leak, a value that is far off is none", () => {
  assert.deepStrictEqual(leaks([1, 2, 3, 4, 5, 6].map((fibers) => sample({ fibers }))), ["fibers"])
  assert.deepStrictEqual(leaks([1, 1, 1, 1, 1, 9].map((fibers) => sample({ fibers }))), [])
  assert.deepStrictEqual(leaks([6, 5, 4, 3, 2, 1].map((fibers) => sample({ fibers }))), [])
})

it("memory may grow a little in a short run, and not on and on", () => {
  const growing = (rounds: number) => Array.from({ length: rounds }, (_, i) => sample({ heap: i * 100_000 }))
  assert.deepStrictEqual(leaks(growing(10)), [])
  assert.deepStrictEqual(leaks(growing(100)), ["heap"])
})

it("without samples nothing grows", () => assert.deepStrictEqual(leaks([]), []))
