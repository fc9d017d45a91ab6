import { assert, describe, it } from "@effect/vitest"
import { causes } from "../src/Cause.ts"
import * as Document from "../src/Document.ts"
import * as Outcome from "../src/Outcome.ts"
import { ownerOf } from "../src/Profile.ts"
import { atLeast } from "../src/Ratio.ts"
import type { Measurement, Row, Scenario } from "../src/Scenario.ts"
import { scenarios } from "../src/Scenarios.ts"

const row: Row = { id: "unary/sync", subject: "Lastcall", base: "grpc-js", goal: atLeast(1) }
const control: Row = { id: "unary/control", subject: "grpc-js, again", base: "grpc-js" }

const scenario: Scenario = {
  id: "unary",
  title: "Unary",
  unit: "µs CPU / call",
  compared: "base / subject, more is better",
  isMain: true,
  flags: [],
  rows: [row, control],
  measure: async () => []
}

const measurement = (row: Row, flags: string, value: number): Measurement => ({
  row,
  flags,
  values: Array<number>(15).fill(value),
  throughput: Array<number>(15).fill(value),
  quietest: value,
  subject: 50 / value,
  base: 50
})

const outcome = (scenarios: ReadonlyArray<Outcome.ScenarioOutcome>, others = 0.02): Outcome.Outcome => ({
  date: "2026-01-02",
  command: "pnpm bench",
  seconds: 600,
  pairs: 15,
  windowMillis: 600,
  warmupMillis: 3_000,
  runInMillis: 100,
  generations: 5,
  machine: { processor: "A processor", processors: 2, memoryGiB: 8, system: "Linux", cores: "not bound" },
  versions: { node: "24.0.0" },
  others,
  doubts: Outcome.doubts(others, scenarios, control.id),
  scenarios,
  profiles: [
    Outcome.ofProfile({ title: "Unary", unit: "call" }, {
      subject: [40, 60].map((micros) => ({
        micros,
        functions: [
          { owner: "Node", name: "f", file: "f.js:1", share: 0.8 },
          { owner: "Lastcall", name: "g", file: "g.js:1", share: 0.123 },
          { owner: "Lastcall", name: "h", file: "h.js:1", share: 0.077 }
        ]
      })),
      base: [{ micros: 45, functions: [{ owner: "Node", name: "f", file: "f.js:1", share: 1 }] }]
    })
  ]
})

const unary = (value: number): Outcome.ScenarioOutcome =>
  Outcome.ofScenario(scenario, [
    measurement(row, "default", 1.2),
    measurement(row, "no pretenuring", value),
    measurement(control, "default", 1.01),
    measurement(control, "no pretenuring", 1.01)
  ])

describe("Document", () => {
  it("shows a row with both settings of V8, its goal and its verdict", () => {
    const text = Document.render(outcome([unary(1.1)]))
    assert.include(
      text,
      "| Lastcall vs grpc-js | ≥ 1 | **1.20** (p10 1.20; 1.20..1.20) | **1.10** (p10 1.10; 1.10..1.10) | 1.20; 1.10 | 1.20; 1.10 |" +
        " 41.7 / 50.0; 45.5 / 50.0 | met |"
    )
    assert.include(text, "All 1 goals that were measured are met.")
    assert.notInclude(text, causes["unary/sync"]!)
    assert.include(text, "| µs CPU / call | Node | Lastcall | all |")
    assert.include(text, "| Lastcall | 40.0 | 10.0 | 50.0 |")
    assert.include(text, "| grpc-js | 45.0 | 0.00 | 45.0 |")
    assert.include(text, "| 12 % | `g` | g.js:1 |")
    assert.include(text, "A process is loaded for 3 s before its first window")
    assert.include(text, "A processor, 2 processors, 8 GiB, Linux")
    assert.notInclude(text, "too noisy")
  })

  it("shows a client's rows, which have no goal, and says how clients are measured", () => {
    const client = scenarios.find(({ id }) => id === "client")!
    const measurements = client.rows.flatMap((row) => client.flags.map(({ name }) => measurement(row, name, 0.8)))
    const text = Document.render(outcome([Outcome.ofScenario(client, measurements)]))
    assert.include(text, "### A client's unary calls, identity codec")
    assert.include(
      text,
      "| Lastcall, traceparent vs grpc-js, traceparent |  | **0.80** (p10 0.80; 0.80..0.80) | **0.80** (p10 0.80; 0.80..0.80) |" +
        " 0.80; 0.80 | 0.80; 0.80 | 62.5 / 50.0; 62.5 / 50.0 |  |"
    )
    assert.include(text, "CPU of the client, in a process of its own")
    assert.notInclude(text, "Not measured")
    assert.notInclude(text, "missed")
  })

  it("says by how much a goal is missed, with which setting, and why", () => {
    const text = Document.render(outcome([unary(0.8)]))
    assert.include(text, "0 of 1 goals that were measured are met. Not met:")
    assert.include(
      text,
      `- Unary; Lastcall vs grpc-js: **missed** by 20 % (V8: no pretenuring). ${causes["unary/sync"]}\n`
    )
  })

  it("calls a miss noise only where each setting that misses could have met the goal", () => {
    const spread = (values: ReadonlyArray<number>, flags: string): Measurement => ({
      ...measurement(row, flags, 0.9),
      values: Array.from({ length: 15 }, (_, i) => values[i % values.length]!)
    })
    const verdict = (...measurements: ReadonlyArray<Measurement>): string =>
      Document.verdict(Outcome.ofScenario(scenario, measurements).rows[0]!)
    const noisy = spread([0.8, 0.9, 1.1], "no pretenuring")
    assert.strictEqual(verdict(noisy), "**missed** by 10 %, within noise")
    assert.strictEqual(verdict(spread([0.85], "default"), noisy), "**missed** by 15 %")
    assert.strictEqual(
      verdict(spread([1.2], "default"), noisy),
      "**missed** by 10 % (V8: no pretenuring), within noise"
    )
  })

  it("knows causes of rows with a goal only", () => {
    const goals = new Set(
      scenarios.flatMap(({ rows }) => rows.filter(({ goal }) => goal !== undefined).map(({ id }) => id))
    )
    assert.deepStrictEqual(Object.keys(causes).filter((id) => !goals.has(id)), [])
  })

  it("says when the machine was too noisy to conclude, and why", () => {
    assert.include(
      Document.render(outcome([unary(1.1)], 0.4)),
      "> other processes had 40 % of the machine's processors"
    )
    const twice = Outcome.ofScenario(scenario, [measurement(control, "default", 0.9)])
    assert.deepStrictEqual(Outcome.doubts(undefined, [twice], control.id), [
      "the same server twice differs by 10 % (V8: default)"
    ])
  })

  it("knows whose code a function is", () => {
    const lastcall = "file:///tmp/bench/node_modules/@lastcall/grpc/src/internal/rpc.js"
    const effect = "file:///app/node_modules/.pnpm/effect@4.1.0/node_modules/effect/dist/Effect.js"
    assert.deepStrictEqual(
      [
        ["(garbage collector)", ""],
        ["writev", ""],
        ["nextTick", "node:internal/process/task_queues"],
        ["finish", lastcall],
        ["flatMap", effect],
        ["write", "/app/node_modules/@grpc/grpc-js/build/src/stream-decoder.js"],
        ["finish", "file:///app/node_modules/@bufbuild/protobuf/dist/esm/wire/binary-encoding.js"],
        ["unary", "file:///tmp/bench/servers/lastcall.js"]
      ].map(([name, url]) => ownerOf(name!, url!)),
      ["collector", "native", "Node", "Lastcall", "Effect", "grpc-js", "@bufbuild/protobuf", "program"]
    )
  })

  it("shows three digits that count", () => {
    assert.deepStrictEqual([1234.5, 123.45, 12.345, 1.2345, 0.01234, 0].map(Document.digits), [
      "1235",
      "123",
      "12.3",
      "1.23",
      "0.012",
      "0.00"
    ])
  })
})
