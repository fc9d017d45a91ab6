import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { join } from "node:path"

interface Ended {
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  readonly stderr: string
  readonly stdout: string
}

/** Starts the program, sends SIGTERM if it says that it serves, and waits for its end: SIGALRM, if it does not come. */
const run = (program: string, ...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "programs", program), ...args], {
      timeout: 10_000,
      killSignal: "SIGALRM"
    })
    let stderr = ""
    let stdout = ""
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString()
      if (chunk.toString().includes("serving")) child.kill("SIGTERM")
    })
    child.on("close", (code, signal) => resume(Effect.succeed({ code, signal, stderr, stdout })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const terminate = (...args: ReadonlyArray<string>): Effect.Effect<Ended> => run("watched.ts", ...args)

it.live("a process whose event loop is blocked in a stop is killed, and says what was still open", () =>
  Effect.gen(function*() {
    const { signal, stderr } = yield* terminate("blocked")
    assert.strictEqual(signal, "SIGKILL")
    assert.match(
      stderr,
      /^lastcall: the stop did not end in 1000 ms, killing the process; still open: database \(Announced, nothing in flight\), api \(Draining, 1 in flight, oldest job \w+\)\n$/
    )
  }))

it.live("a process that a handle keeps alive after its stop is killed", () =>
  Effect.gen(function*() {
    const { signal, stderr } = yield* terminate("handle")
    assert.strictEqual(signal, "SIGKILL")
    assert.include(stderr, "still open: all resources had stopped")
  }))

it.live("without a time of its own it is three seconds after the budget", () =>
  Effect.gen(function*() {
    const { signal, stderr } = yield* terminate("handle", "of the budget", "40 millis")
    assert.strictEqual(signal, "SIGKILL")
    assert.include(stderr, "the stop did not end in 3040 ms")
  }))

it.live("where the budget has no end, it watches only with a time of its own", () =>
  Effect.gen(function*() {
    const { stdout, ...ended } = yield* run("unlaunched.ts")
    assert.deepStrictEqual(ended, { code: 0, signal: null, stderr: "" })
    assert.strictEqual(
      stdout,
      "the budget is infinite\nwithout a time of its own: 0 workers\nwith one: 1 workers\n"
    )
  }))

it.live("a process without resources that is blocked in what is released after the watchdog is killed", () =>
  Effect.gen(function*() {
    const { signal, stderr } = yield* terminate("blocked below")
    assert.strictEqual(signal, "SIGKILL")
    assert.include(stderr, "still open: all resources had stopped")
  }))

for (const hang of ["hangs above", "blocked above"]) {
  it.live(`a process without resources that ${hang} the watchdog, where its own release is never reached, is killed`, () =>
    Effect.gen(function*() {
      const { signal, stderr } = yield* terminate(hang, "300 millis")
      assert.strictEqual(signal, "SIGKILL")
      assert.include(stderr, "still open: all resources had stopped, a finalizer")
    }))
}

it.live("a time beyond the longest timer of Node is that long, instead of none at all", () =>
  Effect.gen(function*() {
    const { stdout, ...ended } = yield* terminate("slow", "30 days")
    assert.deepStrictEqual(ended, { code: 0, signal: null, stderr: "" })
    assert.include(stdout, "api stopped gracefully")
  }))

it.live("a process that stops in time never hears of the watchdog", () =>
  Effect.gen(function*() {
    const { stdout, ...ended } = yield* terminate("nothing")
    assert.deepStrictEqual(ended, { code: 0, signal: null, stderr: "" })
    assert.include(stdout, "api stopped gracefully")
  }))

it.live("resources that stop on their own while the process starts and while it serves do not call the watchdog", () =>
  Effect.gen(function*() {
    const { stdout, ...ended } = yield* terminate("alone")
    assert.deepStrictEqual(ended, { code: 0, signal: null, stderr: "" })
    assert.include(stdout, "SIGTERM: stopping")
  }))
