import { assert, describe, it, vi } from "@effect/vitest"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import * as Sockets from "./Sockets.ts"

const local = (port: number) => GrpcListener.tcp({ port, host: "127.0.0.1" })

const make = (...listen: ReadonlyArray<GrpcListener.GrpcListener>) => GrpcServer.make("api", { services: [], listen })

/** The error of a server that cannot listen. */
const refused = (...listen: ReadonlyArray<GrpcListener.GrpcListener>) =>
  Effect.flip(Effect.scoped(Effect.asVoid(make(...listen))))

const portOf = (address: GrpcListener.Address | undefined): number => address?._tag === "Tcp" ? address.port : -1

const hasIPv6 = Object.values(os.networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"))

const mayBindLowPorts = process.getuid?.() === 0 || process.platform !== "linux" ||
  Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8")) <= 1

describe("a TCP listener", () => {
  it.live("gets a free port for port 0, and the bound address says which", () =>
    Effect.gen(function*() {
      const server = yield* make(local(0), local(0))
      const [first, second] = server.addresses()
      assert.strictEqual(first?._tag === "Tcp" ? first.host : undefined, "127.0.0.1")
      assert.isAbove(portOf(first), 0)
      assert.notStrictEqual(portOf(first), portOf(second))
      for (const address of server.addresses()) yield* Sockets.connect({ port: portOf(address) })
    }))

  it.live("listens at the port that it was told, and one more can be added while it serves", () =>
    Effect.gen(function*() {
      const { server, target } = yield* EchoServer.make()
      const port = yield* Sockets.freePort
      const address = yield* server.listen(local(port))
      assert.deepStrictEqual(address, { _tag: "Tcp", host: "127.0.0.1", port })
      assert.deepStrictEqual(server.addresses().map(GrpcListener.target), [target, `127.0.0.1:${port}`])
      const client = yield* EchoClient.make(`127.0.0.1:${port}`)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))

  it.live.skipIf(!hasIPv6)("without a host serves IPv4 and IPv6", () =>
    Effect.gen(function*() {
      const { server } = yield* EchoServer.make({}, { listen: GrpcListener.tcp({ port: 0 }) })
      const port = portOf(server.addresses()[0])
      for (const target of [`127.0.0.1:${port}`, `[::1]:${port}`]) {
        const client = yield* EchoClient.make(target)
        assert.strictEqual(yield* EchoClient.say(client, target), target)
      }
      assert.strictEqual(GrpcListener.target(server.addresses()[0]!), `127.0.0.1:${port}`)
    }))

  it.live.skipIf(!hasIPv6)("at ::1 has a target with brackets, and does not serve IPv4", () =>
    Effect.gen(function*() {
      const { server, target } = yield* EchoServer.make({}, { listen: GrpcListener.tcp({ port: 0, host: "::1" }) })
      const port = portOf(server.addresses()[0])
      assert.strictEqual(target, `[::1]:${port}`)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.isTrue(yield* Sockets.isFree({ port }))
    }))

  it.live("resolves a host name, and the target of a wildcard address is loopback", () =>
    Effect.gen(function*() {
      const server = yield* make(
        GrpcListener.tcp({ port: 0, host: "localhost" }),
        GrpcListener.tcp({ port: 0, host: "0.0.0.0" })
      )
      const [named, wildcard] = server.addresses()
      assert.include(["127.0.0.1", "::1"], named?._tag === "Tcp" ? named.host : undefined)
      assert.strictEqual(GrpcListener.target(wildcard!), `127.0.0.1:${portOf(wildcard)}`)
    }))
})

describe("a TCP listener that cannot be bound", () => {
  it.live("scenario 42: a port in use fails the server, and releases the listener that was bound before", () =>
    Effect.gen(function*() {
      const occupied = portOf((yield* make(local(0))).addresses()[0])
      const free = yield* Sockets.freePort
      // its scope stays open, as that of a program that tries another port
      const error = yield* Effect.flip(make(local(free), local(occupied)))
      assert.strictEqual(error._tag, "GrpcListenerError")
      assert.strictEqual(error.reason, "AddressInUse")
      assert.include(error.message, `127.0.0.1:${occupied}`)
      assert.isTrue(yield* Sockets.isFree({ port: free }))
      yield* make(local(free))
    }))

  it.live("scenario 42: a bind failure of the second server of a program releases the first", () =>
    Effect.gen(function*() {
      const occupied = portOf((yield* make(local(0))).addresses()[0])
      const free = yield* Sockets.freePort
      const layer = (name: string, port: number) => GrpcServer.layer(name, { services: [], listen: [local(port)] })
      const error = yield* layer("api", occupied).pipe(
        Layer.provide(layer("admin", free)),
        Layer.launch,
        Effect.flip
      )
      assert.strictEqual(error.reason, "AddressInUse")
      assert.isTrue(yield* Sockets.isFree({ port: free }))
    }))

  it.live("says so when the address is not of this machine", () =>
    Effect.gen(function*() {
      const error = yield* refused(GrpcListener.tcp({ port: 0, host: "192.0.2.1" }))
      assert.strictEqual(error.reason, "AddressNotAvailable")
    }))

  it.live("says so when the host cannot be resolved", () =>
    Effect.gen(function*() {
      const error = yield* refused(GrpcListener.tcp({ port: 0, host: "no-such-host.invalid" }))
      assert.strictEqual(error.reason, "HostNotFound")
    }))

  for (const port of [70_000, -1, 1.5, Number.NaN]) {
    it.live(`says so when the port is ${port}`, () =>
      Effect.gen(function*() {
        const error = yield* refused(local(port))
        assert.strictEqual(error.reason, "InvalidAddress")
      }))
  }

  it.live.skipIf(mayBindLowPorts)("says so when a low port is not allowed", () =>
    Effect.gen(function*() {
      const error = yield* refused(local(1))
      assert.strictEqual(error.reason, "PermissionDenied")
    }))

  it.live("stays serving when a listener that is added later fails", () =>
    Effect.gen(function*() {
      const { port, server, target } = yield* EchoServer.make()
      const error = yield* Effect.flip(server.listen(local(port)))
      assert.strictEqual(error.reason, "AddressInUse")
      assert.strictEqual(server.phase(), "Serving")
      assert.strictEqual(server.addresses().length, 1)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
    }))
})

/** Not on macOS and Windows. */
const hasReusePort = process.platform !== "darwin" && process.platform !== "win32"

describe("a TCP port that servers share", () => {
  const shared = (port: number) => GrpcListener.tcp({ port, host: "127.0.0.1", reusePort: true })
  const answering = (text: string, port: number) =>
    EchoServer.make({ say: () => Effect.succeed({ text }) }, { listen: shared(port) })

  it.live.skipIf(!hasReusePort)("is served by all of them, and by those that are left", () =>
    Effect.gen(function*() {
      const one = yield* answering("one", 0)
      const two = yield* answering("two", one.port)
      assert.strictEqual(two.target, one.target)
      const seen = new Set<string>()
      // The system chooses by a hash of both addresses.
      for (let i = 0; i < 200 && seen.size < 2; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          seen.add(yield* EchoClient.say(yield* EchoClient.make(one.target), ""))
        }))
      }
      assert.deepStrictEqual([...seen].toSorted(), ["one", "two"])
      yield* one.close
      for (let i = 0; i < 5; i++) {
        const client = yield* EchoClient.make(one.target)
        assert.strictEqual(yield* EchoClient.say(client, ""), "two")
      }
    }))

  it.live.skipIf(!hasReusePort)(
    "is in use for one that does not share it, and one that is not shared for one that would",
    () =>
      Effect.gen(function*() {
        const { port } = yield* answering("one", 0)
        assert.strictEqual((yield* refused(local(port))).reason, "AddressInUse")
        const own = yield* EchoServer.make()
        assert.strictEqual((yield* refused(shared(own.port))).reason, "AddressInUse")
      })
  )

  it.live("says so where the platform cannot do it", () =>
    Effect.gen(function*() {
      // as libuv says on macOS
      const listen = vi.spyOn(net.Server.prototype, "listen").mockImplementation(function(this: net.Server) {
        setImmediate(() => this.emit("error", Object.assign(new Error("listen ENOTSUP"), { code: "ENOTSUP" })))
        return this
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => listen.mockRestore()))
      const error = yield* refused(shared(0))
      assert.strictEqual(error.reason, "NotSupported")
      assert.include(error.message, "reusePort")
    }))
})

describe("a TCP port and the stop", () => {
  it.live("scenario 43: a port can be bound again right after a stop", () =>
    Effect.gen(function*() {
      const port = yield* Sockets.freePort
      for (let i = 0; i < 3; i++) {
        const { close, target } = yield* EchoServer.make({}, { listen: local(port) })
        const client = yield* EchoClient.make(target)
        assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
        yield* close
      }
    }))

  it.live("scenario 43: a successor binds the port while the predecessor drains an RPC", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const predecessor = yield* EchoServer.make({ say: () => Effect.as(gate.pass, { text: "predecessor" }) })
      const client = yield* EchoClient.make(predecessor.target)
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      const closing = yield* Effect.forkChild(predecessor.close)
      yield* EchoServer.until("the port is free", () => !predecessor.server.isAdmitting())

      yield* EchoServer.make({ say: () => Effect.succeed({ text: "successor" }) }, { listen: local(predecessor.port) })
      const other = yield* EchoClient.make(predecessor.target)
      assert.strictEqual(yield* EchoClient.say(other, "hello"), "successor")
      assert.strictEqual(predecessor.server.phase(), "Draining")

      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "predecessor")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      assert.strictEqual(yield* EchoClient.say(other, "hello"), "successor")
    }))

  it.live("scenario 40: a server that listens nowhere stops at once", () =>
    Effect.gen(function*() {
      const server = yield* make()
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(report.counts.admitted, 0)
      assert.strictEqual(server.phase(), "Stopped")
    }))

  it.live("scenario 41: listening on a stopped server fails, typed", () =>
    Effect.gen(function*() {
      const port = yield* Sockets.freePort
      const server = yield* make()
      yield* server.stop
      const error = yield* Effect.flip(server.listen(local(port)))
      assert.strictEqual(error.reason, "ServerStopped")
      assert.isTrue(yield* Sockets.isFree({ port }))
    }))

  it.live("scenario 41: listening on a server that has announced its stop fails, typed", () =>
    Effect.gen(function*() {
      const port = yield* Sockets.freePort
      const { close, server } = yield* EchoServer.make({}, { stop: { drainDelay: "1 hour" } })
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* EchoServer.until("the stop is announced", () => server.phase() === "Announced")
      const error = yield* Effect.flip(server.listen(local(port)))
      assert.strictEqual(error.reason, "ServerStopped")
      assert.isTrue(yield* Sockets.isFree({ port }))
      yield* server.escalate
      yield* Fiber.join(closing)
    }))

  for (const host of ["127.0.0.1", "localhost", undefined]) {
    it.live(`scenario 42: a stop during the bind of ${host ?? "any address"} leaves nothing listening`, () =>
      Effect.gen(function*() {
        const port = yield* Sockets.freePort
        const server = yield* make()
        const listening = yield* Effect.forkChild(server.listen(GrpcListener.tcp({ port, host })), {
          startImmediately: true
        })
        const report = yield* server.stop
        assert.strictEqual(report.outcome, "graceful")
        const exit = yield* Fiber.await(listening)
        if (Exit.isFailure(exit)) assert.strictEqual((yield* Effect.flip(exit)).reason, "ServerStopped")
        assert.isTrue(yield* Sockets.isFree({ port }))
        if (hasIPv6) assert.isTrue(yield* Sockets.isFree({ port, host: "::1" }))
      }))
  }

  it.live("scenario 45: interrupting a server while it is made leaves nothing listening", () =>
    Effect.gen(function*() {
      // at each turn of the event loop that making it takes, and some more
      for (let turns = 0; turns < 8; turns++) {
        const first = yield* Sockets.freePort
        const second = yield* Sockets.freePort
        const scope = yield* Scope.make()
        const making = yield* Effect.forkChild(
          make(local(first), GrpcListener.tcp({ port: second, host: "localhost" })).pipe(Scope.provide(scope)),
          { startImmediately: true }
        )
        yield* EventLoop.turns(turns)
        yield* Fiber.interrupt(making)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(yield* Sockets.isFree({ port: first }))
        assert.isTrue(yield* Sockets.isFree({ port: second, host: "localhost" }))
      }
    }))

  it.live("scenario 45: interrupting one more listener does not harm the server", () =>
    Effect.gen(function*() {
      const { close, server, target } = yield* EchoServer.make()
      const port = yield* Sockets.freePort
      const listening = yield* Effect.forkChild(server.listen(GrpcListener.tcp({ port, host: "localhost" })), {
        startImmediately: true
      })
      yield* Fiber.interrupt(listening)
      const client = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.strictEqual((yield* close).outcome, "graceful")
      assert.isTrue(yield* Sockets.isFree({ port, host: "localhost" }))
    }))

  it.live("scenario 45: a failed acquire leaves no server behind that holds the process", () =>
    Effect.gen(function*() {
      const occupied = portOf((yield* make(local(0))).addresses()[0])
      const before = openServers()
      for (let i = 0; i < 3; i++) yield* refused(local(0), local(occupied))
      yield* EchoServer.until("they are closed", () => openServers() === before)
    }))
})

const openServers = (): number =>
  process.getActiveResourcesInfo().filter((resource) => resource === "TCPServerWrap").length
