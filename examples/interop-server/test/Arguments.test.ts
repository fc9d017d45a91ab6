import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { join } from "node:path"
import * as Arguments from "../src/Arguments.ts"
import * as Directory from "./Directory.ts"

describe("the command line", () => {
  it.effect("is complete with a port", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Arguments.parse(["--port", "0"]), {
        port: 0,
        unix: undefined,
        tls: undefined,
        graceMillis: 10_000,
        drainDelayMillis: 0
      })
    }))

  it.effect("is complete with a socket; the rest is as it says", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Arguments.parse(["--unix", "/x.sock", "--grace=250", "--drain-delay", "100"]), {
        port: undefined,
        unix: "/x.sock",
        tls: undefined,
        graceMillis: 250,
        drainDelayMillis: 100
      })
    }))

  it.effect("asks for certificates of clients if the directory has their authority", () =>
    Effect.gen(function*() {
      const server = yield* Directory.make({ "key.pem": "", "cert.pem": "" })
      const mutual = yield* Directory.make({ "key.pem": "", "cert.pem": "", "ca.pem": "" })
      const { tls } = yield* Arguments.parse(["--port", "0", "--tls", server])
      assert.deepStrictEqual(tls, {
        key: join(server, "key.pem"),
        cert: join(server, "cert.pem"),
        clientCa: undefined
      })
      const { tls: mtls } = yield* Arguments.parse(["--port", "0", "--tls", mutual])
      assert.strictEqual(mtls?.clientCa, join(mutual, "ca.pem"))
    }))

  const wrong: ReadonlyArray<readonly [argv: ReadonlyArray<string>, message: RegExp]> = [
    [[], /--port or --unix/],
    [["--grace", "1"], /--port or --unix/],
    [["--port"], /--port/],
    [["--port", ""], /--port is a whole number from 0 to 65535/],
    [["--port", "http"], /--port is a whole number from 0 to 65535, not "http"/],
    [["--port", "65536"], /--port is a whole number/],
    [["--port=-1"], /--port is a whole number/],
    [["--port", "1.5"], /--port is a whole number/],
    [["--unix="], /--unix is the path/],
    [["--port", "0", "--grace", "1s"], /--grace is a whole number/],
    [["--port", "0", "--drain-delay", "forever"], /--drain-delay is a whole number/],
    [["--port", "0", "--tls", "/nowhere"], /there is no \/nowhere\/key\.pem/],
    [["--port", "0", "--colour", "blue"], /--colour/],
    [["50051"], /50051/]
  ]
  for (const [argv, message] of wrong) {
    it.effect(`refuses ${JSON.stringify(argv)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Arguments.parse(argv))
        assert.match(error.message, message)
        assert.strictEqual(Runtime.getErrorExitCode(error), 2)
      }))
  }
})
