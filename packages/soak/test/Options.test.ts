import { assert, it } from "@effect/vitest"
import * as Options from "../src/Options.ts"

it("by default it soaks for 2 minutes, 30 rounds to warm up, and leaks nothing", () =>
  assert.deepStrictEqual(Options.parse([]), { minutes: 2, rounds: Number.POSITIVE_INFINITY, warmUp: 30, leaks: [] }))

it("all can be said", () =>
  assert.deepStrictEqual(
    Options.parse(["--minutes", "0.5", "--rounds", "7", "--warm-up", "3", "--leak", "socket", "--leak", "fiber"]),
    { minutes: 0.5, rounds: 7, warmUp: 3, leaks: ["socket", "fiber"] }
  ))

it.each([["--leak", "hope"], ["--rounds", "0"], ["--minutes", "soon"], ["--warm-up=-1", ""], ["--hurry", ""]])(
  "%s %s makes no sense",
  (option, value) => {
    const name = option.split("=")[0]!
    assert.throws(() => Options.parse(value === "" ? [option] : [option, value]), name)
  }
)
