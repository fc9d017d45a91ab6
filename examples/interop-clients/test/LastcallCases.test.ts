import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Certificates from "../../../packages/grpc/test/Certificates.ts"
import { transports } from "../src/Endpoint.ts"
import { grpcJsServer } from "../src/GrpcJsServer.ts"
import * as Interop from "../src/Interop.ts"
import { caseNames } from "../src/InteropCases.ts"
import { Skipped } from "../src/InteropClient.ts"
import { lastcall } from "../src/Lastcall.ts"
import type { Files } from "../src/PeerServer.ts"

const files = Effect.acquireRelease(
  Effect.sync(() => {
    const directory = mkdtempSync(join(tmpdir(), "interop-"))
    const authority = Certificates.authority("interop")
    const write = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text)
      return join(directory, name)
    }
    const pair = (name: string) => {
      const { cert, key } = authority.issue(name)
      return { key: write(`${name}-key.pem`, key), cert: write(`${name}-cert.pem`, cert) }
    }
    const files: Files = { ca: write("ca.pem", authority.cert), server: pair("server"), client: pair("client") }
    return { directory, files }
  }),
  ({ directory }) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

describe("Lastcall's client", { timeout: 60_000 }, () => {
  it.live("passes the official interoperability cases against a bare grpc-js server, over all transports", () =>
    Effect.gen(function*() {
      const trials = yield* Interop.runAgainst(grpcJsServer, lastcall, yield* files)
      assert.deepStrictEqual(trials.filter(({ outcome }) => outcome !== "passed"), [])
      assert.strictEqual(trials.length, transports.length * caseNames.length)
      assert.deepStrictEqual([...new Set(trials.map(({ peer }) => peer))], ["grpc-js"])
    }))

  it.live("is skipped against a server that cannot be had, or does not speak a transport", () =>
    Effect.gen(function*() {
      const options = yield* files
      const absent = yield* Interop.runAgainst(
        {
          name: "absent",
          start: () => Effect.fail(new Skipped({ message: "it is not installed" }))
        },
        lastcall,
        options
      )
      assert.deepStrictEqual([...new Set(absent.map(({ why }) => why))], ["it is not installed"])
      assert.strictEqual(absent.length, transports.length * caseNames.length)
      const plain = yield* Interop.runAgainst(
        {
          ...grpcJsServer,
          start: (...args) => Effect.map(grpcJsServer.start(...args), (all) => all.slice(0, 1)),
          cannot: { TLS: "no TLS", mTLS: "no mTLS" }
        },
        lastcall,
        options
      )
      assert.deepStrictEqual(
        [...new Set(plain.map(({ outcome, transport, why }) => `${transport} ${outcome} ${why}`))],
        [
          "plaintext passed undefined",
          "TLS skipped no TLS",
          "mTLS skipped no mTLS"
        ]
      )
    }))
})
