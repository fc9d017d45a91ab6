import { assert, describe, it } from "@effect/vitest"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import * as EchoClient from "./EchoClient.ts"
import type { Config } from "./HandoverServer.ts"
import * as ServerProcess from "./ServerProcess.ts"
import * as Sockets from "./Sockets.ts"

/** The error of a server that cannot listen. */
const refused = (listener: GrpcListener.GrpcListener) =>
  Effect.flip(Effect.scoped(Effect.asVoid(GrpcServer.make("api", { services: [], listen: [listener] }))))

/** Sets what systemd sets, for the time of the test. */
const environment = (variables: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => Object.assign(process.env, variables)),
    () =>
      Effect.sync(() => {
        for (const name of Object.keys(variables)) delete process.env[name]
      })
  )

const canPlaySystemd = ServerProcess.hasSocketActivate

const addresses = Effect.gen(function*() {
  const directory = yield* Sockets.directory
  const file = path.join(directory, "api.sock")
  return { directory, file, port: yield* Sockets.freePort }
})

/** A server that systemd starts on these two sockets, when a client calls on the first. */
const activated = (
  { file, port }: { readonly file: string; readonly port: number },
  ...listen: ReadonlyArray<Config>
) =>
  Effect.gen(function*() {
    const server = yield* ServerProcess.activate(
      { listen: [file, `127.0.0.1:${port}`], names: "local:public" },
      ServerProcess.command(...listen)
    )
    const client = yield* EchoClient.make(`unix:${file}`)
    return { server, client }
  })

describe("an inherited socket", () => {
  it.live.skipIf(!canPlaySystemd)(
    "is served, Unix and TCP, and known by its address; a stop leaves the file of a Unix socket alone",
    () =>
      Effect.gen(function*() {
        const where = yield* addresses
        const { client, server } = yield* activated(where, { fd: 3 }, { fd: 4 })
        const [first] = yield* Effect.all([EchoClient.say(client, ""), server.line], { concurrency: "unbounded" })
          .pipe(Effect.tap(([, line]) =>
            Effect.sync(() =>
              assert.deepStrictEqual(line, { listening: [`unix:${where.file}`, `127.0.0.1:${where.port}`] })
            )
          ))
        const other = yield* EchoClient.make(`127.0.0.1:${where.port}`)
        assert.strictEqual(yield* EchoClient.say(other, ""), first)
        yield* server.terminate
        assert.deepStrictEqual(yield* server.line, { outcome: "graceful", admitted: 2, succeeded: 2 })
        assert.strictEqual(yield* server.exit, 0)
        assert.deepStrictEqual(fs.readdirSync(where.directory), ["api.sock"])
      })
  )

  for (const fd of [-1, 1.5, Number.NaN, 9_999]) {
    it.live(`that is not there fails the server: ${fd}`, () =>
      Effect.gen(function*() {
        const error = yield* refused(GrpcListener.fd(fd))
        assert.strictEqual(error.reason, "InvalidDescriptor")
        assert.include(error.message, `fd:${fd}`)
      }))
  }

  for (const what of ["file", "pipe"]) {
    it.live(`that is no socket fails the server, and stays open: a ${what}`, () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        const name = path.join(directory, what)
        if (what === "pipe") spawnSync("mkfifo", [name])
        const fd = yield* Effect.acquireRelease(
          Effect.sync(() => fs.openSync(name, what === "pipe" ? "r+" : "w+")),
          (fd) => Effect.sync(() => fs.closeSync(fd))
        )
        assert.strictEqual((yield* refused(GrpcListener.fd(fd))).reason, "InvalidDescriptor")
        fs.writeSync(fd, "still open")
      }))
  }
})

describe("a socket of systemd", () => {
  it.live.skipIf(!canPlaySystemd)("is found by its name, and by its place", () =>
    Effect.gen(function*() {
      const where = yield* addresses
      const { client, server } = yield* activated(
        where,
        { systemd: { name: "public" } },
        { systemd: { index: 0 } }
      )
      yield* Effect.forkChild(EchoClient.say(client, ""))
      assert.deepStrictEqual(yield* server.line, { listening: [`127.0.0.1:${where.port}`, `unix:${where.file}`] })
      yield* server.terminate
      assert.strictEqual(yield* server.exit, 0)
    }))

  it.live.skipIf(!canPlaySystemd)(
    "is the only one if none is named; of two it must be said which",
    () =>
      Effect.gen(function*() {
        const where = yield* addresses
        const { client, server } = yield* activated(where, { systemd: {} })
        yield* Effect.forkChild(Effect.exit(EchoClient.say(client, "")))
        const line = yield* server.line
        assert.deepInclude(line, { refused: "InvalidDescriptor" })
        assert.include(JSON.stringify(line), "2 sockets")
      })
  )

  it.live("fails the server that systemd did not start", () =>
    Effect.gen(function*() {
      const error = yield* refused(GrpcListener.systemd())
      assert.strictEqual(error.reason, "NotActivated")
      assert.include(error.message, "systemd:*")
    }))

  it.live("fails the server if it is meant for another process, as under npm", () =>
    Effect.gen(function*() {
      yield* environment({ LISTEN_PID: `${process.ppid}`, LISTEN_FDS: "1" })
      const error = yield* refused(GrpcListener.systemd())
      assert.strictEqual(error.reason, "NotActivated")
      assert.include(error.message, `LISTEN_PID is ${process.ppid}, this process is ${process.pid}`)
    }))

  for (
    const [what, count, options] of [
      ["none was passed", "0", {}],
      ["the count is no number", "many", {}],
      ["there are two, and none is named", "2", {}],
      ["none has the name", "2", { name: "metrics" }],
      ["there is none at the index", "2", { index: 2 }],
      ["there is none at the index under the name", "2", { name: "local", index: 1 }]
    ] as const
  ) {
    it.live(`fails the server if ${what}`, () =>
      Effect.gen(function*() {
        yield* environment({ LISTEN_PID: `${process.pid}`, LISTEN_FDS: count, LISTEN_FDNAMES: "local:public" })
        assert.strictEqual((yield* refused(GrpcListener.systemd(options))).reason, "InvalidDescriptor")
      }))
  }
})
