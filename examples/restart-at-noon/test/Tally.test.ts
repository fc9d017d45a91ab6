import { assert, describe, it } from "@effect/vitest"
import * as Tally from "../src/Tally.ts"

const settle = (...ends: ReadonlyArray<readonly [method: string, status: string]>): Tally.Tally =>
  ends.reduce((tally, [method, status]) => Tally.settled(Tally.sent(tally), method, status), Tally.empty)

describe("Tally", () => {
  it("counts anything but OK as lost", () => {
    const tally = settle(["Issue", "OK"], ["Issue", "UNAVAILABLE"], ["List", "INCOMPLETE"], ["List", "OK"])
    assert.deepStrictEqual([tally.sent, tally.succeeded, Tally.lost(tally)], [4, 2, 2])
  })

  it("keeps what is lost by method and by status", () => {
    const tally = settle(["Issue", "CANCELLED"], ["Issue", "UNAVAILABLE"], ["List", "CANCELLED"])
    assert.deepStrictEqual(Tally.lostByMethod(tally), { Issue: 2, List: 1 })
    assert.deepStrictEqual(Tally.lostByStatus(tally), { CANCELLED: 2, UNAVAILABLE: 1 })
  })

  it("knows what has not ended", () => {
    assert.strictEqual(Tally.outstanding(Tally.sent(settle(["Issue", "OK"], ["Issue", "CANCELLED"]))), 1)
  })
})
