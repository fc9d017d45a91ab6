import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as Certificates from "../../../packages/grpc/test/Certificates.ts"
import * as LeftChild from "../../../packages/testing/test/LeftChild.ts"
import * as ServerProcess from "../src/ServerProcess.ts"
import * as Directory from "./Directory.ts"
import * as RawClient from "./RawClient.ts"

const clientOf = ({ listening }: ServerProcess.ServerProcess, credentials?: grpc.ChannelCredentials) =>
  RawClient.make(typeof listening === "number" ? `localhost:${listening}` : listening, credentials)

describe("the server as a program", { timeout: 60_000 }, () => {
  it.live("says in one line where it listens and who it is, serves, and stops on SIGTERM", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.start("--port", "0")
      assert.match(server.line, /^\{"listening":\d+,"pid":\d+\}$/)
      yield* RawClient.emptyCall(yield* clientOf(server))
      const { exit, stdout } = yield* server.terminate()
      assert.strictEqual(exit, 0)
      assert.strictEqual(stdout, "")
    }))

  it.live("has ended when it has exited, also if it leaves a child with its output", () =>
    Effect.gen(function*() {
      const alive = yield* LeftChild.ofEachProgram
      const server = yield* ServerProcess.start("--port", "0")
      assert.strictEqual((yield* server.terminate()).exit, 0)
      assert.strictEqual(alive(), 1)
    }).pipe(Effect.scoped))

  it.live("tells what it serves by reflection", () =>
    Effect.gen(function*() {
      const client = yield* clientOf(yield* ServerProcess.start("--port", "0"))
      const names = (yield* Stream.runCollect(RawClient.listServices(client))).join("")
      assert.include(names, "grpc.testing.TestService")
      assert.include(names, "grpc.health.v1.Health")
      assert.notInclude(names, "grpc.testing.UnimplementedService")
    }))

  it.live("waits for an answer that the client wants late, as long as the grace period is", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.start("--port", "0", "--grace", "60000")
      const client = yield* clientOf(server)
      const late = yield* Effect.forkScoped(RawClient.emptyCall(client, { "x-test-delay-ms": "500" }))
      // When this is answered, the one before it on the same connection has come.
      yield* RawClient.emptyCall(client)
      const { exit } = yield* server.terminate()
      assert.strictEqual(exit, 0)
      assert.strictEqual((yield* Fiber.join(late)).byteLength, 0)
    }))

  it.live("cuts what takes longer than the grace period", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.start("--port", "0", "--grace", "10")
      const client = yield* clientOf(server)
      const late = yield* Effect.forkScoped(
        Effect.flip(RawClient.emptyCall(client, { "x-test-delay-ms": "60000" }))
      )
      yield* RawClient.emptyCall(client)
      const { exit, stderr } = yield* server.terminate()
      assert.strictEqual(exit, Lifecycle.forcedExitCode)
      assert.strictEqual((yield* Fiber.join(late)).code, "UNAVAILABLE")
      assert.include(stderr, "grpc.testing.TestService/EmptyCall")
    }))

  it.live("refuses a delay that is none", () =>
    Effect.gen(function*() {
      const client = yield* clientOf(yield* ServerProcess.start("--port", "0"))
      for (const delay of ["soon", "-1", "1.5", "99999999999"]) {
        const error = yield* Effect.flip(RawClient.emptyCall(client, { "x-test-delay-ms": delay }))
        assert.strictEqual(error.code, "INVALID_ARGUMENT")
      }
    }))

  it.live("serves on for the drain delay and says so to health checks; a second SIGTERM ends it", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.start("--port", "0", "--drain-delay", "60000")
      const client = yield* clientOf(server)
      const statuses: Array<string> = []
      const ending = yield* RawClient.watchHealth(client).pipe(
        Stream.take(2),
        Stream.tap((status) =>
          Effect.sync(() => {
            statuses.push(status)
            if (statuses.length === 1) process.kill(server.pid, "SIGTERM")
          })
        ),
        Stream.runDrain,
        Effect.andThen(RawClient.emptyCall(client)),
        // Within half a second it would be the same signal.
        Effect.andThen(Effect.sleep("600 millis")),
        Effect.andThen(server.terminate())
      )
      assert.deepStrictEqual(statuses, ["0801", "0802"])
      assert.include(ending.stderr, "forcing the stop")
    }))

  it.live("listens on a Unix socket besides its port, or on it alone", () =>
    Effect.gen(function*() {
      const path = join(yield* Directory.make(), "interop.sock")
      const both = yield* ServerProcess.start("--port", "0", "--unix", path)
      assert.isNumber(both.listening)
      yield* RawClient.emptyCall(yield* RawClient.make(`unix:${path}`))
      yield* RawClient.emptyCall(yield* clientOf(both))
      yield* both.terminate()
      assert.isFalse(existsSync(path))
      const alone = yield* ServerProcess.start("--unix", path)
      assert.strictEqual(alone.listening, `unix:${path}`)
      yield* RawClient.emptyCall(yield* clientOf(alone))
    }))

  it.live("has TLS with a key and a certificate, and mTLS with an authority besides", () =>
    Effect.gen(function*() {
      const authority = Certificates.authority("interop")
      const ca = Buffer.from(authority.cert)
      const server = authority.issue("server")
      const client = authority.issue("client")
      const anyone = grpc.credentials.createSsl(ca)
      const known = grpc.credentials.createSsl(ca, Buffer.from(client.key), Buffer.from(client.cert))
      const files = { "key.pem": server.key, "cert.pem": server.cert }
      const tls = yield* ServerProcess.start("--port", "0", "--tls", yield* Directory.make(files))
      yield* RawClient.emptyCall(yield* clientOf(tls, anyone))
      const mutual = yield* Directory.make({ ...files, "ca.pem": authority.cert })
      const mtls = yield* ServerProcess.start("--port", "0", "--tls", mutual)
      yield* RawClient.emptyCall(yield* clientOf(mtls, known))
      const error = yield* Effect.flip(RawClient.emptyCall(yield* clientOf(mtls, anyone)))
      assert.strictEqual(error.code, "UNAVAILABLE")
    }))

  it.live("ends with status 2 and its usage if the command line makes no sense", () =>
    Effect.gen(function*() {
      const end = yield* Effect.flip(ServerProcess.start("--port", "http"))
      assert.strictEqual(end.exit, 2)
      assert.match(end.stderr, /^interop-server: --port is a whole number from 0 to 65535, not "http"\n\nusage: /)
    }))

  it.live("ends with status 1 and the reason if it cannot listen", () =>
    Effect.gen(function*() {
      const { listening } = yield* ServerProcess.start("--port", "0")
      const end = yield* Effect.flip(ServerProcess.start("--port", String(listening)))
      assert.strictEqual(end.exit, 1)
      assert.include(end.stderr, "AddressInUse")
    }))
})
