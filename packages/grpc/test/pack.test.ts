import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"

const root = join(import.meta.dirname, "../../..")
const bin = join(root, "node_modules/.bin")

const run = (command: string, args: ReadonlyArray<string>, cwd: string) =>
  promisify(execFile)(command, args, { cwd, env: { ...process.env, PATH: `${bin}:${process.env.PATH}` } })

const program = `
import * as grpc from "@grpc/grpc-js"
import { GracefulStop, InFlight } from "@lastcall/core"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString()
}
const definition = {
  shout: { path: "/demo.Echo/Shout", requestStream: false, responseStream: false, ...text },
  spell: { path: "/demo.Echo/Spell", requestStream: false, responseStream: true, ...text }
} as const

class Echo extends GrpcService.Service<Echo>()(definition) {}

const EchoLive = Echo.toLayer({
  shout: (request) => Effect.succeed(request.toUpperCase()),
  spell: (request) => Stream.fromIterable(request)
})

const Client = grpc.makeClientConstructor(definition, "demo.Echo")

Effect.runPromise(Effect.gen(function*() {
  const inFlight = yield* InFlight.make
  const server = yield* GrpcServer.make("api", { services: [Echo], listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })] })
  const client = new Client(GrpcListener.target(server.addresses()[0]!), grpc.credentials.createInsecure())
  const answer = yield* Effect.callback<string>((resume) => {
    client["shout"]!("last call", (error: Error | null, value: string) => resume(error ? Effect.die(error) : Effect.succeed(value)))
  })
  client.close()
  const report = yield* server.stop
  const other = yield* GracefulStop.run({ name: "worker", inFlight })
  process.stdout.write(JSON.stringify({ answer, outcome: report.outcome, other: other.outcome, succeeded: report.counts.succeeded }))
}).pipe(Effect.scoped, Effect.provide(EchoLive)))
`

const names = ["core", "grpc", "testing"]

/** The laws, and a server in memory, from the packed packages. */
const tests = `
import { GracefulStop, InFlight } from "@lastcall/core"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
import { StopLaws } from "@lastcall/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString()
}
const definition = { shout: { path: "/demo.Echo/Shout", requestStream: false, responseStream: false, ...text } } as const

class Echo extends GrpcService.Service<Echo>()(definition) {}
const EchoLive = Echo.toLayer({ shout: (request) => Effect.succeed(request.toUpperCase()) })

const make: StopLaws.Make = (policy) =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const stop = yield* GracefulStop.make({ name: "worker", inFlight }, policy)
    return { stop, run: (work) => InFlight.run(inFlight, "job", work) }
  })

Effect.runPromise(Effect.gen(function*() {
  yield* StopLaws.check(make, { runs: 2 })
  const echo = yield* GrpcClient.make(definition)
  process.stdout.write(yield* echo.shout("in memory"))
}).pipe(Effect.provide(InMemoryGrpc.layer("api", { services: [Echo] }).pipe(Layer.provide(EchoLive))), Effect.scoped))
`

describe("packed, and installed into an empty project", () => {
  let project: string

  beforeAll(async () => {
    project = mkdtempSync(join(tmpdir(), "lastcall-pack-"))
    await run("tsc", ["-b", "tsconfig.build.json"], root)
    for (const name of names) {
      await run("npx", ["--yes", "pnpm@12.21.0", "pack", "--pack-destination", project], join(root, "packages", name))
    }
    const tarballs = readdirSync(project).filter((file) => file.endsWith(".tgz"))
    const tarball = (name: string) => `file:${tarballs.find((file) => file.includes(`-${name}-`))}`
    const effect = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies.effect as string
    writeFileSync(
      join(project, "package.json"),
      JSON.stringify({
        name: "empty",
        private: true,
        type: "module",
        dependencies: {
          "@lastcall/core": tarball("core"),
          "@lastcall/grpc": tarball("grpc"),
          "@lastcall/testing": tarball("testing"),
          "@grpc/grpc-js": "^1.14.7",
          effect
        },
        devDependencies: { "@types/node": "^24" },
        overrides: { "@lastcall/core": "$@lastcall/core", "@lastcall/grpc": "$@lastcall/grpc" }
      })
    )
    await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline"], project)
    writeFileSync(join(project, "program.ts"), program)
    writeFileSync(join(project, "tests.ts"), tests)
  }, 240_000)

  afterAll(() => rmSync(project, { recursive: true, force: true }))

  it("a program runs, and its server stops gracefully", { timeout: 60_000 }, async () => {
    const { stdout } = await run("node", ["program.ts"], project)
    const last = stdout.slice(stdout.lastIndexOf("{"))
    assert.deepStrictEqual(JSON.parse(last), {
      answer: "LAST CALL",
      outcome: "graceful",
      other: "graceful",
      succeeded: 1
    })
  })

  it("the laws hold, and a server answers in memory", { timeout: 60_000 }, async () => {
    const { stdout } = await run("node", ["tests.ts"], project)
    assert.include(stdout, "IN MEMORY")
  })

  it("the programs type-check against the packed declarations", { timeout: 60_000 }, async () => {
    await run("tsc", [
      "--noEmit",
      "--strict",
      "--exactOptionalPropertyTypes",
      "--module",
      "nodenext",
      "--target",
      "es2022",
      "--types",
      "node",
      "program.ts",
      "tests.ts"
    ], project)
  })

  it("the tarballs hold sources, build and licence, and nothing else", async () => {
    for (const name of names) {
      const folder = join(project, "node_modules/@lastcall", name)
      assert.deepStrictEqual(readdirSync(folder).toSorted(), ["LICENSE", "README.md", "dist", "package.json", "src"])
      const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
      assert.strictEqual(manifest.exports["."].default, "./dist/index.js")
      assert.property(manifest.peerDependencies, "effect")
      assert.notInclude(JSON.stringify(manifest.dependencies ?? {}), "workspace:")
    }
  })
})
