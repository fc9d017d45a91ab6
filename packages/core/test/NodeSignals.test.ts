import { assert, it, vi } from "@effect/vitest"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { constants } from "node:os"
import * as Program from "./program.ts"

/** Signals of the process of the tests that nobody else listens for; they are emitted, not sent. */
const signals = ["SIGUSR2", "SIGHUP"] as const

const emit = (signal: NodeJS.Signals) => Effect.sync(() => void process.emit(signal, signal))

/** One that counts, after another. */
const emitNext = (signal: NodeJS.Signals) => Effect.andThen(TestClock.adjust("500 millis"), emit(signal))

const listening = Effect.fnUntraced(function*(options?: NodeSignals.Options) {
  const done: Array<string> = []
  const lifecycle: Lifecycle.Lifecycle = {
    ...yield* Lifecycle.Lifecycle,
    stop: Effect.sync(() => void done.push("stop")),
    escalate: Effect.sync(() => void done.push("escalate"))
  }
  const scope = yield* Scope.make()
  yield* Layer.buildWithScope(
    NodeSignals.layer({ signals, exit: (code) => done.push(`exit ${code}`), ...options }),
    scope
  ).pipe(Effect.provideService(Lifecycle.Lifecycle, lifecycle))
  return { done, scope }
})

it.effect("the first signal asks for the stop, the second escalates, the third exits with 128 and its number", () =>
  Effect.gen(function*() {
    const { done, scope } = yield* listening()
    yield* emit("SIGHUP")
    assert.deepStrictEqual(done, ["stop"])
    yield* emitNext("SIGUSR2")
    assert.deepStrictEqual(done, ["stop", "escalate"])
    yield* emitNext("SIGHUP")
    assert.deepStrictEqual(done, ["stop", "escalate", `exit ${128 + constants.signals.SIGHUP}`])
    yield* Scope.close(scope, Exit.void)
  }).pipe(Program.quietly))

it.effect("what comes within half a second of a signal that counted is that signal again, as npm and a process group send it", () =>
  Effect.gen(function*() {
    const { done, scope } = yield* listening()
    yield* emit("SIGHUP")
    yield* emit("SIGHUP")
    yield* TestClock.adjust("499 millis")
    yield* emit("SIGHUP")
    assert.deepStrictEqual(done, ["stop"])
    // From the one that counted: someone who goes on pressing a key gets on.
    yield* TestClock.adjust("1 millis")
    yield* emit("SIGUSR2")
    yield* emit("SIGHUP")
    assert.deepStrictEqual(done, ["stop", "escalate"])
    yield* Scope.close(scope, Exit.void)
  }).pipe(Program.quietly))

it.effect("only the signals that are named count", () =>
  Effect.gen(function*() {
    const { done, scope } = yield* listening({ signals: ["SIGUSR2"] })
    assert.isFalse(process.emit("SIGHUP", "SIGHUP"), "nobody listens")
    assert.deepStrictEqual(done, [])
    yield* Scope.close(scope, Exit.void)
  }))

it.effect("SIGTERM and SIGINT count by default, and nothing listens any more when the scope has closed", () =>
  Effect.gen(function*() {
    const count = () => (["SIGTERM", "SIGINT", "SIGHUP"] as const).map((signal) => process.listenerCount(signal))
    const before = count()
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(NodeSignals.layer(), scope)
    assert.deepStrictEqual(count().map((n, i) => n - before[i]!), [1, 1, 0])
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(count(), before)
  }))

it.effect("as an effect it listens until the scope closes", () =>
  Effect.gen(function*() {
    yield* Effect.scoped(NodeSignals.listen({ signals: ["SIGUSR2"] }))
    assert.strictEqual(process.listenerCount("SIGUSR2"), 0)
  }))

it.effect("it listens until what it is provided to has stopped", () =>
  Effect.gen(function*() {
    const { launch, resource } = yield* Program.make
    const seen: Array<number> = []
    const api = resource("api", {
      drain: Effect.never,
      release: Effect.sync(() => seen.push(process.listenerCount("SIGUSR2")))
    })
    const { end, report } = yield* launch(Layer.provide(api, NodeSignals.layer({ signals: ["SIGUSR2"] })))
    yield* emit("SIGUSR2")
    yield* emitNext("SIGUSR2")
    yield* end
    assert.deepStrictEqual(report().resources.map(({ forcedBy }) => forcedBy), ["escalation"])
    assert.deepStrictEqual(seen, [1])
    assert.strictEqual(process.listenerCount("SIGUSR2"), 0)
  }))

it.effect("the third signal ends the process by default", () =>
  Effect.gen(function*() {
    const exit = vi.spyOn(process, "exit").mockImplementation(() => undefined as never)
    yield* Effect.addFinalizer(() => Effect.sync(() => exit.mockRestore()))
    yield* NodeSignals.listen({ signals: ["SIGUSR2"] })
    for (let i = 0; i < 3; i++) yield* emitNext("SIGUSR2")
    assert.deepStrictEqual(exit.mock.calls, [[128 + constants.signals.SIGUSR2]])
  }).pipe(Program.quietly))

it.effect("the first signal is logged, and the second as a warning", () =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      logs.push(`${logLevel}: ${String(message)}`)
    })
    yield* Effect.gen(function*() {
      yield* NodeSignals.listen({ signals, exit: () => {} })
      yield* emit("SIGHUP")
      yield* emitNext("SIGUSR2")
      yield* emitNext("SIGUSR2")
    }).pipe(Effect.provide(Logger.layer([logger])))
    yield* TestClock.adjust(0)
    assert.deepStrictEqual(logs, ["Info: SIGHUP: stopping", "Warn: SIGUSR2 again: forcing the stop"])
  }))

it.effect("a logger that throws takes neither the stop nor the escalation", () =>
  Effect.gen(function*() {
    const logger = Logger.make<unknown, void>(() => {
      throw new Error("no")
    })
    const { done, scope } = yield* listening().pipe(Effect.provide(Logger.layer([logger])))
    yield* emit("SIGHUP")
    assert.deepStrictEqual(done, ["stop"])
    yield* emitNext("SIGHUP")
    assert.deepStrictEqual(done, ["stop", "escalate"])
    yield* Scope.close(scope, Exit.void)
  }))
