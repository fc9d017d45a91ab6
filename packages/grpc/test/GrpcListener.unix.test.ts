import { assert, describe, it } from "@effect/vitest"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { Worker } from "node:worker_threads"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import * as Sockets from "./Sockets.ts"

const make = (...listen: ReadonlyArray<GrpcListener.GrpcListener>) => GrpcServer.make("api", { services: [], listen })

/** The error of a server that cannot listen. */
const refused = (...listen: ReadonlyArray<GrpcListener.GrpcListener>) =>
  Effect.flip(Effect.scoped(Effect.asVoid(make(...listen))))

const at = (file: string) => EchoServer.make({}, { listen: GrpcListener.unix(file) })

const isRoot = process.getuid?.() === 0

/** Nobody's rights until the scope closes, where the tests run as root; the directory is nobody's then. */
const unprivileged = (directory: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      if (!isRoot) return
      fs.chownSync(directory, 65_534, 65_534)
      process.setegid!(65_534)
      process.seteuid!(65_534)
    }),
    () =>
      Effect.sync(() => {
        if (!isRoot) return
        process.seteuid!(0)
        process.setegid!(0)
      })
  )

const hasUserNamespaces = spawnSync("unshare", ["--map-root-user", "true"]).status === 0

/** A server whose socket has such an option says so, and leaves no file. */
const isInvalid = (option: string, value: number) =>
  Effect.gen(function*() {
    const directory = yield* Sockets.directory
    const error = yield* refused(GrpcListener.unix(path.join(directory, "api.sock"), { [option]: value }))
    assert.strictEqual(error.reason, "InvalidPermissions")
    assert.include(error.message, `${option} is ${value}: it must be`)
    assert.deepStrictEqual(fs.readdirSync(directory), [])
  })

describe("a Unix socket", () => {
  it.live("is served, and leaves nothing in its directory but the socket", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const { close, server, target } = yield* at(file)
      assert.deepStrictEqual(server.addresses(), [{ _tag: "Unix", path: file }])
      assert.strictEqual(target, `unix:${file}`)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
      assert.strictEqual((yield* close).outcome, "graceful")
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))

  it.live("has the mode that it was told", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      for (const mode of [0o600, 0o660, 0o666]) {
        const file = path.join(directory, `${mode}.sock`)
        yield* make(GrpcListener.unix(file, { mode }))
        assert.strictEqual(fs.lstatSync(file).mode & 0o777, mode)
      }
    }))

  it.live("may be named relative to the working directory", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.relative(process.cwd(), path.join(directory, "api.sock"))
      const { target } = yield* at(file)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
    }))

  it.live("scenario 43: the file is gone when handlers are told of the drain, before what is in flight ends", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const gate = yield* EchoServer.makeGate
      const told = yield* Deferred.make<ReadonlyArray<string>>()
      const { close, server, target } = yield* EchoServer.make({
        say: ({ text }) =>
          Effect.sync(() => fs.readdirSync(directory)).pipe(
            Effect.tap((files) => Effect.sync(() => assert.deepStrictEqual(files, ["api.sock"]))),
            Effect.andThen(Effect.forkScoped(gate.pass)),
            Effect.andThen(GrpcDrain.awaitDraining),
            Effect.andThen(Deferred.completeWith(told, Effect.sync(() => fs.readdirSync(directory)))),
            Effect.andThen(Deferred.await(told)),
            Effect.andThen(gate.pass),
            Effect.as({ text })
          )
      }, { listen: GrpcListener.unix(path.join(directory, "api.sock")) })
      const client = yield* EchoClient.make(target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(close)
      assert.deepStrictEqual(yield* Deferred.await(told), [])
      assert.strictEqual(server.phase(), "Draining")
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
    }))

  it.live("scenario 43: the file of a successor is left alone when the predecessor's drain ends", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const gate = yield* EchoServer.makeGate
      const predecessor = yield* EchoServer.make({ say: () => Effect.as(gate.pass, { text: "predecessor" }) }, {
        listen: GrpcListener.unix(file)
      })
      const client = yield* EchoClient.make(predecessor.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(predecessor.close)
      yield* EchoServer.until("the file is gone", () => !fs.existsSync(file))

      const successor = yield* at(file)
      const other = yield* EchoClient.make(successor.target)
      assert.strictEqual(yield* EchoClient.say(other, "successor"), "successor")
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "predecessor")
      yield* Fiber.join(closing)

      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
      const late = yield* EchoClient.make(successor.target)
      assert.strictEqual(yield* EchoClient.say(late, "successor"), "successor")
    }))

  it.live("scenario 43: the file of one that took the path over without asking is left alone", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const { close } = yield* at(file)
      const other = path.join(directory, "other.sock")
      const { target } = yield* at(other)
      fs.renameSync(other, file)
      yield* close
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
      const client = yield* EchoClient.make(target.replace("other", "api"))
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("scenario 43: a stale file, left by a killed process, is replaced", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      Sockets.leaveStale(file)
      const { close, target } = yield* at(file)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
      yield* close
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))

  it.live("scenario 43: a live socket is not stolen", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const { target } = yield* at(file)
      assert.strictEqual((yield* refused(GrpcListener.unix(file))).reason, "AddressInUse")
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
    }))

  for (const [what, prepare] of [["a free path", () => {}], ["a stale file", Sockets.leaveStale]] as const) {
    it.live(`scenario 43: of servers that start at once on ${what} exactly one wins`, () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        for (let round = 0; round < 5; round++) {
          const file = path.join(directory, "api.sock")
          prepare(file)
          const scope = yield* Scope.make()
          const exits = yield* Effect.forEach(
            [1, 2, 3, 4],
            () => Effect.exit(Scope.provide(make(GrpcListener.unix(file)), scope)),
            { concurrency: "unbounded" }
          )
          const losers = yield* Effect.forEach(exits.filter(Exit.isFailure), (exit) => Effect.flip(exit))
          assert.deepStrictEqual(losers.map(({ reason }) => reason), ["AddressInUse", "AddressInUse", "AddressInUse"])
          assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
          yield* Effect.scoped(Sockets.connect({ path: file }))
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(fs.readdirSync(directory), [])
        }
      }))
  }

  it.live("scenario 45: interrupting a server while it is made leaves no file", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      // at each turn of the event loop that making it takes, and some more
      for (let turns = 0; turns < 30; turns++) {
        const scope = yield* Scope.make()
        const making = yield* Effect.forkChild(
          make(GrpcListener.unix(file), GrpcListener.unix(path.join(directory, "second.sock"))).pipe(
            Scope.provide(scope)
          ),
          { startImmediately: true }
        )
        yield* EventLoop.turns(turns)
        yield* Fiber.interrupt(making)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      }
    }))

  it.live("scenario 45: interrupting one more listener leaves no file when the server has stopped", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      for (let turns = 0; turns < 30; turns++) {
        const server = yield* make()
        const listening = yield* Effect.forkChild(server.listen(GrpcListener.unix(path.join(directory, "api.sock"))), {
          startImmediately: true
        })
        yield* EventLoop.turns(turns)
        yield* Fiber.interrupt(listening)
        yield* server.stop
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      }
    }))

  it.live("scenario 42: a stop during the bind leaves no file", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      for (let turns = 0; turns < 30; turns++) {
        const server = yield* make()
        const listening = yield* Effect.forkChild(server.listen(GrpcListener.unix(path.join(directory, "api.sock"))), {
          startImmediately: true
        })
        yield* EventLoop.turns(turns)
        assert.strictEqual((yield* server.stop).outcome, "graceful")
        assert.deepStrictEqual(fs.readdirSync(directory), [])
        yield* Fiber.await(listening)
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      }
    }))

  it.live("scenario 42: a bind failure of the second listener removes the file of the first", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const missing = path.join(directory, "missing", "api.sock")
      // its scope stays open, as that of a program that tries another path
      const error = yield* Effect.flip(
        make(GrpcListener.unix(path.join(directory, "api.sock")), GrpcListener.unix(missing))
      )
      assert.strictEqual(error.reason, "MissingDirectory")
      assert.include(error.message, missing)
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))
})

describe("a Unix socket that is taken over", () => {
  const takeover = (file: string, handlers: Partial<EchoServer.Handlers> = {}) =>
    EchoServer.make(handlers, { listen: GrpcListener.unix(file, { takeover: true }) })

  it.live("is the successor's for new connections at once, the predecessor's connections go on", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      const predecessor = yield* EchoServer.make({ say: () => Effect.succeed({ text: "predecessor" }) }, {
        listen: GrpcListener.unix(file)
      })
      const old = yield* EchoClient.make(predecessor.target)
      assert.strictEqual(yield* EchoClient.say(old, ""), "predecessor")
      const successor = yield* takeover(file, { say: () => Effect.succeed({ text: "successor" }) })
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])

      const client = yield* EchoClient.make(successor.target)
      assert.strictEqual(yield* EchoClient.say(client, ""), "successor")
      assert.strictEqual(yield* EchoClient.say(old, ""), "predecessor")

      yield* predecessor.close
      assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
      assert.strictEqual(yield* EchoClient.say(old, ""), "successor")
      yield* successor.close
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))

  it.live("leads to a server at every moment", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "api.sock")
      let predecessor = yield* takeover(file)
      const { seen } = yield* watch(file)
      yield* EchoServer.until("it is watched", () => seen.looks() > 0)
      for (let i = 0; i < 30; i++) {
        const successor = yield* takeover(file)
        yield* predecessor.close
        predecessor = successor
      }
      const before = seen.looks()
      yield* EchoServer.until("it is still watched", () => seen.looks() > before)
      assert.strictEqual(seen.missing(), 0)
    }))

  for (const [what, prepare] of [["is free", () => {}], ["has a stale file", Sockets.leaveStale]] as const) {
    it.live(`may be one that ${what}`, () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        const file = path.join(directory, "api.sock")
        prepare(file)
        const { close } = yield* takeover(file)
        yield* Effect.scoped(Sockets.connect({ path: file }))
        assert.deepStrictEqual(fs.readdirSync(directory), ["api.sock"])
        yield* close
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      }))
  }

  it.live("may not be a file, a directory or a link", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      fs.writeFileSync(path.join(directory, "file"), "precious")
      fs.mkdirSync(path.join(directory, "directory"))
      fs.symlinkSync("nowhere", path.join(directory, "link"))
      for (const name of ["file", "directory", "link"]) {
        const error = yield* refused(GrpcListener.unix(path.join(directory, name), { takeover: true }))
        assert.strictEqual(error.reason, "NotASocket", name)
      }
      assert.strictEqual(fs.readFileSync(path.join(directory, "file"), "utf8"), "precious")
      assert.deepStrictEqual(fs.readdirSync(directory).toSorted(), ["directory", "file", "link"])
    }))
})

describe("the owner of a Unix socket", () => {
  it.live("is this process's own, or may be told", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const own = { uid: process.getuid!(), gid: process.getgid!() }
      const other = isRoot ? { uid: 65_534, gid: 65_533 } : own
      const cases = [
        [{}, own],
        [other, other],
        [{ uid: other.uid }, { ...own, uid: other.uid }],
        [{ gid: other.gid }, { ...own, gid: other.gid }]
      ] as const
      for (const [index, [options, { gid, uid }]] of cases.entries()) {
        const file = path.join(directory, `${index}.sock`)
        yield* make(GrpcListener.unix(file, { ...options, mode: 0o660 }))
        const stats = fs.lstatSync(file)
        assert.deepStrictEqual([stats.uid, stats.gid, stats.mode & 0o777], [uid, gid, 0o660])
      }
    }))

  it.live("says so when it may not be given away, and leaves no file", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      yield* unprivileged(directory)
      for (const owner of [{ uid: 0 }, { gid: 0 }]) {
        const error = yield* refused(GrpcListener.unix(path.join(directory, "api.sock"), owner))
        assert.strictEqual(error.reason, "PermissionDenied")
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      }
    }))

  it.live.skipIf(!hasUserNamespaces)(
    "says so when this user namespace does not have it, and leaves no file",
    () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        const program = `
        import * as GrpcListener from "@lastcall/grpc/GrpcListener"
        import * as GrpcServer from "@lastcall/grpc/GrpcServer"
        import * as Effect from "effect/Effect"
        const listen = [GrpcListener.unix(${JSON.stringify(path.join(directory, "api.sock"))}, { uid: 4_000_000 })]
        const server = Effect.scoped(GrpcServer.make("api", { services: [], listen }))
        console.log((await Effect.runPromise(Effect.flip(server))).message)`
        const { stdout } = spawnSync(
          "unshare",
          ["--map-root-user", process.execPath, "--input-type=module", "--eval", program],
          { cwd: import.meta.dirname, encoding: "utf8" }
        )
        assert.match(stdout, /this user namespace has no such user or group \(PermissionDenied\)/)
        assert.deepStrictEqual(fs.readdirSync(directory), [])
      })
  )

  for (const option of ["uid", "gid"]) {
    for (const id of [Number.NaN, 1.5, -1, 2 ** 32 - 1, Number.POSITIVE_INFINITY]) {
      it.live(`says so when the ${option} is ${id}`, () => isInvalid(option, id))
    }
  }
})

describe("the mode of a Unix socket", () => {
  for (const mode of [Number.NaN, 1.5, -1, 0o10000, 0o1777, 660, Number.POSITIVE_INFINITY]) {
    it.live(`says so when it is ${mode}`, () => isInvalid("mode", mode))
  }

  it.live("may be anything from 0 to 0o777", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      for (const mode of [0, 0o777]) {
        const file = path.join(directory, `${mode}.sock`)
        yield* make(GrpcListener.unix(file, { mode }))
        assert.strictEqual(fs.lstatSync(file).mode & 0o7777, mode)
      }
    }))
})

describe("a Unix socket that cannot be bound", () => {
  it.live("says so when the path is too long for the kernel, also with the private name beside it", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const long = path.join(directory, "x".repeat(108 - directory.length))
      assert.strictEqual((yield* refused(GrpcListener.unix(long))).reason, "PathTooLong")
      const deep = path.join(directory, "d".repeat(100 - directory.length))
      fs.mkdirSync(deep)
      assert.strictEqual((yield* refused(GrpcListener.unix(path.join(deep, "s")))).reason, "PathTooLong")
      assert.deepStrictEqual(fs.readdirSync(deep), [])
    }))

  it.live("the longest path that fits is served", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const longest = process.platform === "linux" ? 107 : 103
      const file = path.join(directory, "x".repeat(longest - directory.length - 1))
      assert.strictEqual(file.length, longest)
      const { target } = yield* at(file)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live("says so when the directory is missing, or is none", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "file")
      fs.writeFileSync(file, "")
      for (const parent of [path.join(directory, "missing"), file]) {
        const error = yield* refused(GrpcListener.unix(path.join(parent, "api.sock")))
        assert.strictEqual(error.reason, "MissingDirectory")
      }
    }))

  it.live("says so when the path is taken by a file, a directory or a link, and leaves it alone", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      const file = path.join(directory, "file")
      fs.writeFileSync(file, "precious")
      fs.mkdirSync(path.join(directory, "directory"))
      fs.symlinkSync("nowhere", path.join(directory, "link"))
      for (const name of ["file", "directory", "link"]) {
        const error = yield* refused(GrpcListener.unix(path.join(directory, name)))
        assert.strictEqual(error.reason, "NotASocket", name)
      }
      assert.strictEqual(fs.readFileSync(file, "utf8"), "precious")
      assert.deepStrictEqual(fs.readdirSync(directory).toSorted(), ["directory", "file", "link"])
    }))

  it.live("says so when the path is empty, has a NUL in it or names a directory", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      for (const file of ["", "\0abstract", `${directory}/api.sock/`]) {
        assert.strictEqual((yield* refused(GrpcListener.unix(file))).reason, "InvalidAddress", JSON.stringify(file))
      }
      assert.deepStrictEqual(fs.readdirSync(directory), [])
    }))

  it.live("says so when the directory must not be written to, or must not be looked into", () =>
    Effect.gen(function*() {
      const directory = yield* Sockets.directory
      fs.mkdirSync(path.join(directory, "inner"))
      yield* unprivileged(directory)
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.chmodSync(directory, 0o700)))
      for (const mode of [0o500, 0o000]) {
        fs.chmodSync(directory, mode)
        assert.strictEqual((yield* refused(GrpcListener.unix(path.join(directory, "s")))).reason, "PermissionDenied")
      }
      const inner = path.join(directory, "inner", "s")
      assert.strictEqual((yield* refused(GrpcListener.unix(inner))).reason, "PermissionDenied")
    }))
})

/** Looks from a thread of its own, without pause, whether the file is there. */
const watch = (file: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const counts = new Int32Array(new SharedArrayBuffer(8))
      const code = `
        const { workerData: { counts, file } } = require("node:worker_threads")
        const { existsSync } = require("node:fs")
        while (true) {
          if (!existsSync(file)) Atomics.add(counts, 1, 1)
          Atomics.add(counts, 0, 1)
        }`
      const watcher = new Worker(code, { eval: true, workerData: { counts, file } })
      return {
        watcher,
        seen: { looks: () => Atomics.load(counts, 0), missing: () => Atomics.load(counts, 1) }
      }
    }),
    ({ watcher }) => Effect.promise(() => watcher.terminate())
  )
