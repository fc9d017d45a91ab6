import { assert, describe, it, vi } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as Effect from "effect/Effect"
import * as dns from "node:dns"
import { createRequire } from "node:module"
import type * as Net from "node:net"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"

/** As grpc-js has it, whose functions can be replaced. */
const net = createRequire(import.meta.url)("node:net") as typeof Net

const refused: ReadonlyArray<readonly [address: string, reason: string]> = [
  ["", "it is empty"],
  ["http://127.0.0.1:1", "No resolver could be created for target http://127.0.0.1:1"],
  ["no-such-scheme:///a", "No resolver could be created"],
  ["xds:///a", "No resolver could be created"],
  ["DNS:///a:1", "No resolver could be created"],
  ["injected:unknown:1", "No resolver could be created"],
  ["::1:50051", "not a host with a port"],
  ["::1", "not a host with a port"],
  ["a b:1", "not a host with a port"],
  ["a/b:1", "not a host with a port"],
  ["a:", "not a host with a port"],
  [":1", "not a host with a port"],
  ["a:x", "not a host with a port"],
  ["a:-1", "not a host with a port"],
  ["10.0.0.1:1,10.0.0.2:1", "not a host with a port"],
  ["user@a:1", "not a host with a port"],
  ["a\u200B:1", "not a host with a port"],
  ["a\nb:1", "not a target"],
  ["127.0.0.1:99999", "99999 is not a port"],
  ["127.0.0.1:0", "0 is not a port"],
  ["999.1.1.1:1", "999.1.1.1 is not an IP address"],
  ["999.10.10.10:1", "999.10.10.10 is not an IP address"],
  ["[:::::]:1", "::::: is not an IP address"],
  ["[a]:1", "a is not an IP address"],
  ["dns:///", "not a host with a port"],
  ["dns://api.internal:1", "not a host with a port"],
  ["dns://resolver/api.internal:1", "resolver is not the IP address of a DNS server"],
  ["dns:///a:65536", "65536 is not a port"],
  ["ipv4:1.2.3:1", "1.2.3 is not an ipv4 address"],
  ["ipv4:api.internal:1", "api.internal is not an ipv4 address"],
  ["ipv4:1.2.3.4:1,", "not a host with a port"],
  ["ipv4:1.2.3.4:1,1.2.3.4:65536", "65536 is not a port"],
  ["ipv4:[::1]:1", "::1 is not an ipv4 address"],
  ["ipv6:[::zz]:1", "::zz is not an ipv6 address"],
  ["ipv6:127.0.0.1:1", "127.0.0.1 is not an ipv6 address"],
  ["unix:", "not a host with a port"],
  ["unix://run/app.sock", "after two slashes stands an absolute path"]
]

const accepted = [
  "localhost",
  "localhost:1",
  "api_1.internal.:1",
  "bücher.example:1",
  "127.0.0.1",
  "127.0.0.1:65535",
  "v1.2.3.4:1",
  "1.2.3.4.example:1",
  "[::1]",
  "[::1]:1",
  "[fe80::1%lo]:1",
  "dns:localhost:1",
  "dns:///localhost",
  "dns:///[::1]:1",
  "dns://127.0.0.1/api.internal:1",
  "dns://127.0.0.1:53/api.internal:1",
  "ipv4:127.0.0.1",
  "ipv4:127.0.0.1:1,127.0.0.2:2",
  "ipv6:[::1]",
  "ipv6:[::1]:1,[2001:db8::1]:2",
  "unix:app.sock",
  "unix:/run/app.sock",
  "unix:///run/app.sock"
]

describe("an address", () => {
  for (const [address, reason] of refused) {
    it.effect(`${JSON.stringify(address)} is refused when the channel is made`, () =>
      Effect.gen(function*() {
        const defect = yield* Effect.scoped(GrpcChannel.make({ address })).pipe(
          Effect.asVoid,
          Effect.catchDefect(Effect.succeed)
        )
        assert.instanceOf(defect, GrpcChannel.GrpcChannelOptionError)
        assert.include(defect.message, `channel option address is ${JSON.stringify(address)}: `)
        assert.include(defect.message, reason)
        // Without a scheme no resolver is asked.
        if (!/^[A-Za-z0-9+.-]+:./.test(address)) assert.notInclude(defect.message, "No resolver")
      }))
  }

  it.effect("may be a target of any kind that grpc-js knows, with and without a port", () =>
    Effect.gen(function*() {
      for (const address of accepted) yield* Effect.scoped(GrpcChannel.make({ address }))
    }))

  it("that is made of parts is checked where it is made", () => {
    for (
      const [make, reason] of [
        [() => GrpcChannel.dns("", 1), "the host is empty"],
        [() => GrpcChannel.dns("a/b c", 1), "not a host with a port"],
        [() => GrpcChannel.dns("a:1", 1), "a:1 is not an IP address"],
        [() => GrpcChannel.dns("a", 0), "not a port"],
        [() => GrpcChannel.dns("a", 65_536), "not a port"],
        [() => GrpcChannel.dns("a", 1.5), "not a port"],
        [() => GrpcChannel.dns("a", Number.NaN), "not a port"],
        [() => GrpcChannel.ipv4("1.2.3.4:99999"), "99999 is not a port"],
        [() => GrpcChannel.ipv4("999.1.1.1:1"), "999.1.1.1 is not an ipv4 address"],
        [() => GrpcChannel.ipv4("10.0.0.1:1", "10.0.0.2"), "it has no port"],
        [() => GrpcChannel.ipv6("[:::::]:1"), "::::: is not an ipv6 address"],
        [() => GrpcChannel.ipv6("[::1]"), "it has no port"],
        [() => GrpcChannel.ipv6("::1:1"), "not a host with a port"],
        [() => GrpcChannel.unix(""), "the path is empty"],
        [() => GrpcChannel.unix("//run/app.sock"), "after two slashes stands an absolute path"]
      ] as const
    ) {
      assert.throws(make, GrpcChannel.GrpcChannelOptionError, reason)
    }
  })

  it("that is made of an IPv6 address may have its brackets already", () => {
    assert.strictEqual(GrpcChannel.dns("::1", 1), "dns:///[::1]:1")
    assert.strictEqual(GrpcChannel.dns("[::1]", 1), "dns:///[::1]:1")
  })

  it.effect("is given to a registered resolver with its authority, also to be checked", () =>
    Effect.gen(function*() {
      const asked: Array<string | undefined> = []
      grpc.experimental.registerResolver(
        "lastcall-authority",
        class extends Registry(1) {
          constructor(target: grpc.experimental.GrpcUri, listener: grpc.experimental.ResolverListener) {
            super(target, listener)
            asked.push(target.authority)
          }
        }
      )
      yield* Effect.scoped(GrpcChannel.make({ address: "lastcall-authority://team/a b" }))
      assert.isAtLeast(asked.length, 2)
      assert.deepStrictEqual(new Set(asked), new Set(["team"]))
    }))

  it.effect("may be of a scheme for which the program has registered a resolver", () =>
    Effect.gen(function*() {
      const { port } = yield* EchoServer.make()
      grpc.experimental.registerResolver("lastcall-test", Registry(port))
      const { echo } = yield* open({ address: "lastcall-test:///team a/echo" })
      assert.strictEqual((yield* echo.say({ text: "hello" })).text, "hello")
    }))

  it.live("without a port is of port 443, with plaintext too", () =>
    Effect.gen(function*() {
      const { port } = yield* EchoServer.make()
      const dialled: Array<number | undefined> = []
      const connect = net.connect
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          vi.spyOn(net, "connect").mockImplementation(
            ((options: Net.TcpNetConnectOpts, ...rest: [() => void]) => {
              dialled.push(options.port)
              return connect({ ...options, port }, ...rest)
            }) as typeof Net.connect
          )
        ),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      for (const address of ["127.0.0.1", "ipv4:127.0.0.1", "dns:///localhost"]) {
        const { close, echo } = yield* open({ address })
        yield* echo.say({ text: "" }, { deadline: "5 seconds" })
        yield* close
      }
      assert.deepStrictEqual(new Set(dialled), new Set([443]))
    }))
})

/** A resolver for which every name is that of the server at `port`. */
const Registry = (port: number) =>
  class implements grpc.experimental.Resolver {
    readonly #listener: grpc.experimental.ResolverListener
    constructor(_: grpc.experimental.GrpcUri, listener: grpc.experimental.ResolverListener) {
      this.#listener = listener
    }
    updateResolution() {
      const found = grpc.experimental.statusOrFromValue([{ addresses: [{ host: "127.0.0.1", port }] }])
      process.nextTick(() => this.#listener(found, {}, null, ""))
    }
    destroy() {}
    static getDefaultAuthority() {
      return "echo"
    }
  }

describe("dnsMinInterval", () => {
  it.live("is after how long a server that has moved is found", () =>
    Effect.gen(function*() {
      const { port } = yield* EchoServer.make()
      let lookups = 0
      yield* Effect.acquireRelease(
        // Nobody listens where the server was.
        Effect.sync(() =>
          vi.spyOn(dns.promises, "lookup").mockImplementation(
            (() => Promise.resolve([{ address: lookups++ === 0 ? "127.0.0.2" : "127.0.0.1", family: 4 }])) as never
          )
        ),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      const { echo } = yield* open({
        address: GrpcChannel.dns("moved.example", port),
        dnsMinInterval: "20 millis",
        reconnect: { initialBackoff: "10 millis", maxBackoff: "10 millis" }
      })
      assert.strictEqual((yield* echo.say({ text: "found" }, { waitForReady: true })).text, "found")
      assert.isAtLeast(lookups, 2)
    }))
})
