import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Cell from "../src/Cell.ts"
import { Failed, type Scenario } from "../src/Scenario.ts"
import { lastcall, type Subject, subjects } from "../src/Subject.ts"
import * as Table from "../src/Table.ts"

const other: Subject = subjects.find(({ id }) => id === "connect-node")!
const scenario = (check: Scenario["check"], options: Partial<Scenario> = {}): Scenario => ({
  number: 1,
  title: "one | two",
  check,
  ...options
})
const never = Effect.die("nobody asks")

it.effect("a scenario that ends has passed, with its remark", () =>
  Effect.gen(function*() {
    const cell = yield* Cell.ask(scenario(() => Effect.succeed("0 lost")), other, never)
    assert.deepStrictEqual(cell, { _tag: "Passed", remark: "0 lost" })
  }))

it.effect("a scenario that fails says how; one that is itself wrong does not look like a failure of the subject", () =>
  Effect.gen(function*() {
    const failed = yield* Cell.ask(scenario(() => Effect.fail(new Failed({ how: "it stayed" }))), other, never)
    assert.deepStrictEqual(failed, { _tag: "Failed", how: "it stayed" })
    const wrong = yield* Cell.ask(scenario(() => Effect.die(new Error("a typo"))), other, never)
    assert.deepStrictEqual(wrong, { _tag: "Failed", how: "the scenario itself: Error: a typo" })
  }))

it.effect("a scenario that never ends fails", () =>
  Effect.gen(function*() {
    const asked = yield* Effect.forkChild(Cell.ask(scenario(() => Effect.never), other, never))
    yield* TestClock.adjust("2 minutes")
    assert.strictEqual((yield* Fiber.join(asked))._tag, "Failed")
  }))

it.effect("what a subject does not have is not asked of it", () =>
  Effect.gen(function*() {
    const cell = yield* Cell.ask(scenario(() => Effect.die("asked"), { needs: ["health", "report"] }), other, never)
    assert.deepStrictEqual(cell, { _tag: "NotApplicable", why: "has no health, no report" })
  }))

it.effect("what lies within the process is answered by Lastcall's tests, and not asked of others", () =>
  Effect.gen(function*() {
    const inside = scenario({ files: ["a.test.ts"], why: "about fibers" })
    const passed: Cell.Cell = { _tag: "Passed" }
    assert.strictEqual(yield* Cell.ask(inside, lastcall, Effect.succeed(passed)), passed)
    assert.deepStrictEqual(yield* Cell.ask(inside, other, never), { _tag: "NotApplicable", why: "about fibers" })
  }))

it("the table says of each subject what became of each scenario", () => {
  const cells: Table.Cells = new Map([[
    1,
    new Map<string, Cell.Cell>([
      ["lastcall", { _tag: "Passed", remark: "a | b" }],
      ["connect-node", { _tag: "Failed", how: "it stayed" }]
    ])
  ]])
  const groups = [{
    title: "Transport",
    scenarios: [scenario(() => Effect.void), { ...scenario(() => Effect.void), number: 2 }]
  }]
  const text = Table.document({
    command: "it",
    date: "2026-01-01",
    seconds: 60,
    subjects: [lastcall, other],
    groups,
    cells
  })
  assert.include(text, "| 1 | one \\| two | passed (a \\| b) | **failed**: it stayed |")
  assert.notInclude(text, "| 2 |")
  assert.match(text, /\| Lastcall \| 1 \| 0 \| 0 \| .*effect 4/)
  assert.match(text, /\| connect-node \| 0 \| 1 \| 0 \|/)
})
