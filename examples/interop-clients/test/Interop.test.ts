import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Endpoint, transports } from "../src/Endpoint.ts"
import * as Interop from "../src/Interop.ts"
import { caseNames } from "../src/InteropCases.ts"
import { CaseFailed, type InteropClient, Skipped } from "../src/InteropClient.ts"
import * as Table from "../src/Table.ts"

const servers: ReadonlyArray<Endpoint> = transports.map((transport) => ({
  transport,
  port: 0,
  ca: "",
  key: "",
  cert: ""
}))

const absent: InteropClient = {
  name: "absent",
  prepare: () => Effect.fail(new Skipped({ message: "it is not installed" }))
}

const picky: InteropClient = {
  name: "picky",
  prepare: () =>
    Effect.succeed({
      run: (name, { transport }) =>
        name === "ping_pong" && transport === "TLS"
          ? Effect.fail(new CaseFailed({ message: "no pong" }))
          : Effect.void,
      cannot: { mTLS: "it has no certificate" }
    })
}

const run = (client: InteropClient) => Interop.run(client, { directory: "", servers })

describe("the run of a client", () => {
  it.effect("is skipped as a whole where the client is not installed", () =>
    Effect.gen(function*() {
      const trials = yield* run(absent)
      assert.strictEqual(trials.length, transports.length * caseNames.length)
      for (const { outcome, why } of trials) {
        assert.deepStrictEqual([outcome, why], ["skipped", "it is not installed"])
      }
    }))

  it.effect("goes on after a case that failed, and skips a transport that the client does not speak", () =>
    Effect.gen(function*() {
      const trials = yield* run(picky)
      const of = (transport: string) =>
        trials.filter((trial) => trial.transport === transport).map(({ outcome }) => outcome)
      assert.deepStrictEqual([...new Set(of("plaintext"))], ["passed"])
      assert.deepStrictEqual([...new Set(of("mTLS"))], ["skipped"])
      assert.strictEqual(of("TLS").filter((outcome) => outcome === "passed").length, caseNames.length - 1)
    }))
})

describe("the table", () => {
  it.effect("has a row for each case, and says once why something was not passed", () =>
    Effect.gen(function*() {
      const lines = Table.render([...yield* run(picky), ...yield* run(absent)]).split("\n")
      assert.deepStrictEqual(lines.slice(0, 3), [
        "case                         picky                       absent",
        "                             plaintext  TLS     mTLS     plaintext  TLS      mTLS",
        "empty_unary                  passed     passed  skipped  skipped    skipped  skipped"
      ])
      assert.deepStrictEqual(lines.slice(2 + caseNames.length), [
        "",
        "picky, TLS, ping_pong: FAILED: no pong",
        "picky, skipped: it has no certificate",
        "absent, skipped: it is not installed"
      ])
      assert.include(lines, "ping_pong                    passed     FAILED  skipped  skipped    skipped  skipped")
    }))
})
