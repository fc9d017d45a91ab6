import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ready, start } from "./programs/start.ts"

/** Longer than what counts as the same signal. */
const later = Effect.sleep("600 millis")

const hurried = { budget: 60_000, grace: 60_000 }

it.live.each<NodeJS.Signals>(["SIGTERM", "SIGINT"])(
  "59: %s: a clean stop exits with 0 and says nothing on stderr",
  (signal) =>
    Effect.gen(function*() {
      const program = yield* ready({ resources: { api: "drains", admin: "drains" } })
      yield* program.kill(signal)
      const { code, stderr, stdout } = yield* program.exit
      assert.strictEqual(code, 0)
      assert.strictEqual(stderr, "")
      assert.deepStrictEqual(stdout.filter((line) => /^\w+ (drains|released)$/.test(line)), [
        "api drains",
        "api released",
        "admin drains",
        "admin released"
      ])
      assert.match(stdout.at(-1)!, /^report: graceful/)
    })
)

it.live("59: a forced stop exits with its own code", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "hangs" }, options: { grace: 10 } })
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 124)
    assert.include(stdout, "api released")
  }))

it.live.each<[NodeJS.Signals, NodeJS.Signals]>([["SIGTERM", "SIGTERM"], ["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"]])(
  "60: %s, then %s: the second signal forces, and finalizers still run",
  ([first, second]) =>
    Effect.gen(function*() {
      const program = yield* ready({ resources: { api: "hangs", admin: "hangs" }, options: hurried })
      yield* program.kill(first)
      yield* program.line(/^api drains/)
      yield* later
      yield* program.kill(second)
      const { code, stdout } = yield* program.exit
      assert.strictEqual(code, 124)
      for (const name of ["api", "admin"]) {
        assert.include(stdout, `${name} is interrupted`)
        assert.include(stdout, `${name} released`)
      }
      assert.match(stdout.at(-1)!, /^report: forced/)
    })
)

it.live("60: a signal that comes twice at once, as with npm, is one", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "hangs" }, options: { grace: 100 } })
    yield* program.kill("SIGTERM")
    yield* program.line(/^api drains/)
    yield* program.kill("SIGTERM")
    const { stdout } = yield* program.exit
    assert.isTrue(stdout.some((line) => line.includes("drain cut short (grace)")))
    assert.isFalse(stdout.some((line) => line.includes("forcing the stop")))
  }))

it.live("60: the second signal ends the drain delay and the gaps", () =>
  Effect.gen(function*() {
    const program = yield* ready({
      resources: { api: "drains", admin: "drains" },
      options: { budget: 120_000, drainDelay: 60_000 },
      gap: 60_000
    })
    yield* program.kill("SIGTERM")
    yield* program.line(/api: the end is announced/)
    yield* later
    yield* program.kill("SIGTERM")
    const { stdout } = yield* program.exit
    assert.include(stdout, "admin released")
  }))

it.live.each<[NodeJS.Signals, number]>([["SIGTERM", 143], ["SIGINT", 130]])(
  "60: the third signal, %s, exits at once",
  ([third, expected]) =>
    Effect.gen(function*() {
      const program = yield* ready({ resources: { api: "is deaf" }, options: { ...hurried, forceTimeout: 50_000 } })
      yield* program.kill("SIGTERM")
      yield* program.line(/^api drains/)
      yield* later
      yield* program.kill("SIGTERM")
      yield* program.line(/^api is interrupted/)
      yield* later
      yield* program.kill(third)
      const { code, stdout } = yield* program.exit
      assert.strictEqual(code, expected)
      assert.notInclude(stdout, "api released")
    })
)

it.live("60: signals while the process starts count too", () =>
  Effect.gen(function*() {
    const program = yield* start({ resources: { api: "never ready", admin: "hangs" }, options: hurried })
    yield* program.line(/^api is being built/)
    yield* program.kill("SIGTERM")
    yield* program.line(/^admin drains/)
    yield* later
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 124)
    assert.include(stdout, "admin released")
    assert.notInclude(stdout, "ready")
  }))

it.live("SIGHUP can count as a signal", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "hangs" }, options: hurried, signals: ["SIGTERM", "SIGHUP"] })
    yield* program.kill("SIGHUP")
    yield* program.line(/^api drains/)
    yield* later
    yield* program.kill("SIGHUP")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 124)
    assert.include(stdout, "api released")
  }))

it.live("SIGHUP ends the process as ever where it does not count", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "drains" } })
    yield* program.kill("SIGHUP")
    const { code, signal, stdout } = yield* program.exit
    assert.deepStrictEqual([code, signal], [null, "SIGHUP"])
    assert.notInclude(stdout, "api released")
  }))

it.live("without the teardown, an interrupted program exits with 130 as ever, after its stop", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "drains" }, teardown: false })
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 130)
    assert.include(stdout, "api released")
  }))

it.live("without listening for signals, the first stops the program as ever, and the second does nothing", () =>
  Effect.gen(function*() {
    const program = yield* ready({ resources: { api: "hangs" }, options: { grace: 200 }, signals: false })
    yield* program.kill("SIGTERM")
    yield* program.line(/^api drains/)
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 124)
    assert.isTrue(stdout.some((line) => line.includes("drain cut short (grace)")))
  }))

it.live("61: nothing keeps node alive after a stop that no signal asked for", () =>
  Effect.gen(function*() {
    const program = yield* ready({
      resources: { api: "drains", admin: "drains" },
      options: { ...hurried, drainDelay: 10 },
      gap: 10,
      whenReady: "asks for the stop"
    })
    const { code, stderr } = yield* program.exit
    assert.strictEqual(code, 0)
    assert.strictEqual(stderr, "")
  }))

it.live("62: all hang: together they end within the budget", () =>
  Effect.gen(function*() {
    const budget = 1_000
    const program = yield* ready({
      resources: { api: "is deaf", admin: "is deaf", jobs: "is deaf" },
      options: { budget, reserve: 500, forceTimeout: 100 }
    })
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 124)
    assert.isAtMost(Number(stdout.at(-1)!.split(" ").at(-1)), budget)
    for (const name of ["api", "admin", "jobs"]) assert.include(stdout, `${name} released`)
  }))

it.live("50: a part that fails stops the rest, and the program exits with its code", () =>
  Effect.gen(function*() {
    const [one, other] = yield* Effect.all([
      Effect.flatMap(start({ resources: { api: "drains" }, whenReady: "fails" }), ({ exit }) => exit),
      Effect.flatMap(start({ resources: { api: "drains" }, whenReady: "fails with code 42" }), ({ exit }) => exit)
    ], { concurrency: 2 })
    assert.deepStrictEqual([one.code, other.code], [1, 42])
    assert.include(one.stdout, "api released")
    assert.isTrue(one.stdout.some((line) => /ERROR.*the accept loop/.test(line)), "it says why")
  }))

it.live("51: a finalizer that dies is logged, hides no other, and the program does not exit with 0", () =>
  Effect.gen(function*() {
    const program = yield* ready({
      resources: { api: "drains", cache: "has a finalizer that dies", admin: "drains" }
    })
    yield* program.kill("SIGTERM")
    const { code, stdout } = yield* program.exit
    assert.strictEqual(code, 1)
    assert.isTrue(stdout.some((line) => /ERROR.*cache half released/.test(line)))
    assert.include(stdout, "admin drains")
    assert.include(stdout, "admin released")
  }))

it.live("45: a start that fails stops what had started, and exits with the code of its cause", () =>
  Effect.gen(function*() {
    const [one, other] = yield* Effect.all([
      Effect.flatMap(start({ resources: { api: "fails to build", admin: "drains" } }), ({ exit }) => exit),
      Effect.flatMap(start({ resources: { api: "fails to build with code 42", admin: "drains" } }), ({ exit }) => exit)
    ], { concurrency: 2 })
    assert.deepStrictEqual([one.code, other.code], [1, 42])
    assert.include(one.stdout, "admin released")
    assert.notInclude(one.stdout, "ready")
  }))
