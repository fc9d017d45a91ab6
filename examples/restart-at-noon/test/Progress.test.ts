import { assert, describe, it } from "@effect/vitest"
import * as Progress from "../src/Progress.ts"

const written = (isTTY: boolean): string => {
  let text = ""
  const progress = Progress.make({ isTTY, columns: 30, write: (more) => (text += more) })
  progress.live("recipe", "10 RPCs sent and a long line")
  progress.note("recipe", "restart 1")
  progress.end()
  return text.replaceAll(/\d+\.\d/g, "0.0")
}

describe("Progress", () => {
  it("is one line for each event in a log", () => {
    assert.strictEqual(written(false), "  0.0 s  recipe             restart 1\n")
  })

  it("rewrites one line on a terminal, no wider than it", () => {
    const erase = "\r\u001b[2K"
    assert.strictEqual(
      written(true),
      `${erase}  0.0 s  recipe             1${erase}  0.0 s  recipe             restart 1\n${erase}`
    )
  })
})
