import { assert, it } from "@effect/vitest"
import * as ServerProgram from "@lastcall/testing/ServerProgram"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { join } from "node:path"

const file = join(import.meta.dirname, "programs/program.mjs")

const ready = (line: string) => line === "ready" ? line : undefined

const start = (...args: ReadonlyArray<string>) =>
  Effect.tap(ServerProgram.start(file, { args, env: { GREETING: "hello" } }), (program) => program.awaitLine(ready))

/** Whether a process has this id. */
const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

it.live("a program is waited for, spoken to, signalled, and its end is told", () =>
  Effect.gen(function*() {
    const program = yield* start()
    yield* program.say("one")
    yield* program.say("two")
    assert.strictEqual(yield* program.awaitLine((line) => /^heard (two)$/.exec(line)?.[1]), "two")
    yield* program.signal("SIGTERM")
    const ended = yield* program.ended
    assert.deepStrictEqual({ ...ended, lines: [...ended.lines] }, {
      code: 3,
      signal: null,
      killed: false,
      lines: ["ready", "heard one", "heard two", "stopped"],
      stderr: "hello on stderr\n"
    })
  }))

it.live("a line that was said before it is waited for is found, and each waiter finds its own", () =>
  Effect.gen(function*() {
    const program = yield* start()
    const waiting = yield* Effect.forkChild(
      program.awaitLine((line) => line === "heard later" ? line : undefined),
      { startImmediately: true }
    )
    assert.strictEqual(yield* program.awaitLine(ready), "ready")
    yield* program.say("later")
    assert.strictEqual(yield* Fiber.join(waiting), "heard later")
  }))

it.live("waiting for a line of a program that ends without it fails, with what it said", () =>
  Effect.gen(function*() {
    const program = yield* ServerProgram.start(file, { args: ["dies"] })
    const error = yield* Effect.flip(program.awaitLine((line) => line === "never" ? line : undefined))
    assert.strictEqual(error.ended.code, 4)
    assert.include(error.message, "last words")
    assert.include(error.message, "nothing on stderr")
    assert.strictEqual(yield* program.awaitLine((line) => line === "last words" ? 1 : undefined), 1)
  }))

it.live("one that does not end in time is killed, and its end says so", () =>
  Effect.gen(function*() {
    const program = yield* start("deaf")
    yield* program.signal("SIGTERM")
    const { code, killed, signal } = yield* program.endedWithin("50 millis")
    assert.deepStrictEqual([code, signal, killed], [null, "SIGKILL", true])
  }))

it.live("one that ends in time is not killed", () =>
  Effect.gen(function*() {
    const program = yield* start()
    yield* program.signal("SIGTERM")
    const { code, killed } = yield* program.endedWithin("1 minute")
    assert.deepStrictEqual([code, killed], [3, false])
  }))

it.live("closing the scope ends it, whatever it does, and waits for that", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { pid } = yield* Scope.provide(start("deaf"), scope)
    assert.isTrue(exists(pid))
    yield* Scope.close(scope, Exit.void)
    assert.isFalse(exists(pid))
  }))

it.live("what cannot be started has ended", () =>
  Effect.gen(function*() {
    const program = yield* ServerProgram.start(file, { node: "/nowhere/node" })
    const { code, stderr } = yield* program.ended
    assert.strictEqual(code, null)
    assert.include(stderr, "ENOENT")
  }))

it.live("flags of node come before the file", () =>
  Effect.gen(function*() {
    const program = yield* ServerProgram.start(file, { flags: ["--title=flagged"], args: ["dies"] })
    assert.strictEqual((yield* program.ended).code, 4)
  }))
