import { assert, it } from "@effect/vitest"
import * as ServerProgram from "@lastcall/testing/ServerProgram"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { join } from "node:path"
import { exists } from "./LeftChild.ts"
import { until } from "./RawServers.ts"

const file = join(import.meta.dirname, "programs/program.mjs")

const ready = (line: string) => line === "ready" ? line : undefined

const start = (...args: ReadonlyArray<string>) =>
  Effect.tap(ServerProgram.start(file, { args, env: { GREETING: "hello" } }), (program) => program.awaitLine(ready))

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

/** A program that leaves a child behind, which has its standard output and error. */
const startParent = Effect.gen(function*() {
  const program = yield* start("parent")
  const child = yield* program.awaitLine((line) => /^child (\d+)$/.exec(line)?.[1])
  yield* Effect.addFinalizer(() => Effect.sync(() => exists(Number(child)) && process.kill(Number(child), "SIGKILL")))
  return { program, child: Number(child) }
})

it.live("one that leaves a child with its output has ended, with all that it said, and is not killed", () =>
  Effect.gen(function*() {
    const { child, program } = yield* startParent
    yield* program.signal("SIGTERM")
    const ended = yield* Effect.timeout(program.ended, "5 seconds")
    assert.deepStrictEqual([ended.code, ended.signal, ended.killed], [3, null, false])
    assert.strictEqual(ended.lines.at(-1), "stopped")
    assert.isTrue(exists(child))
  }).pipe(Effect.scoped))

it.live("to wait for one that has exited and left a child does not count as killing it", () =>
  Effect.gen(function*() {
    const { program } = yield* startParent
    yield* program.signal("SIGTERM")
    yield* program.awaitLine((line) => line === "stopped" ? line : undefined)
    yield* until("it is gone", () => !exists(program.pid))
    const { code, killed } = yield* Effect.timeout(program.endedWithin(0), "5 seconds")
    assert.deepStrictEqual([code, killed], [3, false])
  }).pipe(Effect.scoped))

it.live("closing the scope does not wait for the child that a program leaves", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const program = yield* Scope.provide(start("parent"), scope)
    const child = Number(yield* program.awaitLine((line) => /^child (\d+)$/.exec(line)?.[1]))
    yield* Effect.addFinalizer(() => Effect.sync(() => exists(child) && process.kill(child, "SIGKILL")))
    const started = performance.now()
    yield* Scope.close(scope, Exit.void)
    assert.isBelow(performance.now() - started, 3_000)
    assert.isFalse(exists(program.pid))
    assert.isTrue(exists(child))
    assert.strictEqual((yield* program.ended).killed, true)
  }))
