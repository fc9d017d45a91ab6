/** Each row of Lastcall once, with tiny counts: that its server serves what its load asks. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Certificates from "../../grpc/test/Certificates.ts"
import * as Noise from "../src/Noise.ts"
import { type Run, tiny } from "../src/Run.ts"
import { scenarios } from "../src/Scenarios.ts"
import * as Snapshot from "../src/Snapshot.ts"

describe("Scenarios", () => {
  let run: Run

  beforeAll(() => {
    const snapshot = Snapshot.make()
    const { cert, key } = Certificates.authority("bench").issue("localhost")
    writeFileSync(join(snapshot.folder, "cert.pem"), cert)
    writeFileSync(join(snapshot.folder, "key.pem"), key)
    run = { ...tiny, snapshot, candidate: undefined, noise: Noise.make(), log: () => {} }
  })

  afterAll(() => run.snapshot.remove())

  it("have ids of their own, each row's behind its scenario's", () => {
    const ids = scenarios.flatMap(({ rows }) => rows.map(({ id }) => id))
    assert.strictEqual(new Set(ids).size, ids.length)
    for (const { id, rows } of scenarios) {
      for (const row of rows) assert.isTrue(row.id.startsWith(`${id}/`), row.id)
    }
  })

  for (const { flags, id, measure, rows } of scenarios) {
    // Of rows that differ in their middleware only, the one that has it all; against itself, to start half the servers.
    const lastcall = rows.filter(({ base, id, subject }) =>
      subject.startsWith("Lastcall") && base.startsWith("grpc-js") &&
      !["unary-middleware/span", "unary-middleware/metrics"].includes(id)
    ).map((row) => ({ ...row, base: row.subject }))
    // It starts up to seven processes, beside those of the others.
    it.concurrent(`${id} is measured`, { timeout: 60_000 }, async () => {
      const measurements = await measure(run, flags.at(-1)!, lastcall)
      assert.deepStrictEqual(measurements.map(({ row }) => row.id), lastcall.map(({ id }) => id))
      for (const { base, subject, values } of measurements) {
        for (const value of [base, subject, ...values]) assert.isTrue(Number.isFinite(value))
      }
      if (id === "stop-in-flight") {
        assert.include(measurements[0]!.remark, `answered UNAVAILABLE: ${run.openCalls} of ${run.openCalls}`)
      }
    })
  }
})
