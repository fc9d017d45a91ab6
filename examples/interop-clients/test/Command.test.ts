import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Command from "../src/Command.ts"

const node = (script: string, timeout: `${number} millis` | "20 seconds" = "20 seconds") =>
  Command.run(process.execPath, ["-e", script], { timeout, env: { INTEROP_WORD: "hello" } })

describe("a command", () => {
  it.live("ends, with an environment of its own", () =>
    node("process.exit(process.env.INTEROP_WORD === 'hello' ? 0 : 1)"))

  it.live("fails with what it said last", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(node("console.error('one\\ntwo\\nthree\\nfour\\nfive\\nsix'); process.exit(3)"))
      assert.strictEqual(error.message, "two\nthree\nfour\nfive\nsix")
    }))

  it.live("fails if it is not installed", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Command.run("no-such-command", [], { timeout: "20 seconds" }))
      assert.strictEqual(error.message, "no-such-command is not installed")
    }))

  it.live("is killed if it takes too long", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(node("setInterval(() => {}, 1000)", "50 millis"))
      assert.strictEqual(error.message, "no end after 50ms")
    }))
})
