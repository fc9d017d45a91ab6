/** The options of a channel: by two servers and four transports, each with all four kinds. */
import { assert, describe } from "@effect/vitest"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import * as path from "node:path"
import * as EchoServer from "./EchoServer.ts"
import * as Kinds from "./matrix/Kinds.ts"
import * as Matrix from "./matrix/Matrix.ts"
import * as Relay from "./matrix/Relay.ts"
import * as Script from "./matrix/Script.ts"
import * as Sockets from "./Sockets.ts"

const { Backend, act, each, eachKind, expectServed, open } = Matrix

/** The targets that mean the same server. */
const synonyms = (target: string): ReadonlyArray<string> => {
  if (target.startsWith("unix:")) return [target, GrpcChannel.unix(target.slice("unix:".length))]
  const port = Number(target.split(":")[1])
  return [target, GrpcChannel.dns("localhost", port), GrpcChannel.dns("127.0.0.1", port), GrpcChannel.ipv4(target)]
}

describe("addresses and names", () => {
  each((it, { transport }) => {
    it.effect("each form of an address reaches the server", () =>
      Effect.gen(function*() {
        const { target } = yield* Backend
        for (const address of synonyms(target)) {
          const { channel, close, echo } = yield* open({
            address,
            credentials: transport.client,
            name: "to the matrix"
          })
          yield* expectServed(echo)
          yield* close
          const report = yield* channel.stop
          assert.deepInclude(report, { name: "to the matrix", outcome: "graceful" })
          assert.deepInclude(report.counts, { admitted: 4, succeeded: 4 })
        }
      }))
  })
})

describe("credentials", () => {
  each((it, { transport }) => {
    for (const [name, credentials] of transport.strangers) {
      it.effect(`${name}: no kind gets through`, () =>
        Effect.gen(function*() {
          const { target, witness } = yield* Backend
          const { echo } = yield* open({ address: target, credentials })
          for (const kind of Kinds.all) {
            const { id, metadata } = act("answer")
            const error = yield* Effect.flip(kind.run(echo, { metadata }))
            assert.strictEqual(error.code, "UNAVAILABLE")
            assert.strictEqual(witness.seen(id).attempts, 0)
          }
        }))
    }

    const { named } = transport
    if (named === undefined) return
    it.effect("serverName: the name that the certificate must have", () =>
      Effect.gen(function*() {
        const { target } = yield* Backend
        const { echo } = yield* open({ address: target, credentials: named("localhost") })
        yield* expectServed(echo)
      }))
  })
})

describe("load balancing", () => {
  each((it, combination) => {
    const { client, name } = combination.transport
    for (const loadBalancing of ["pick_first", "round_robin"] as const) {
      it.effect(`${loadBalancing} serves all kinds at one address`, () =>
        Effect.gen(function*() {
          const { target } = yield* Backend
          const { echo } = yield* open({ address: target, credentials: client, loadBalancing })
          yield* expectServed(echo)
        }))
    }
    if (name === "Unix") return
    it.effect("round_robin serves at all addresses in turn, pick_first at the first", () =>
      Effect.gen(function*() {
        const { target, witness } = yield* Backend
        const other = yield* Matrix.serve(combination, { file: "", port: 0 })
        const address = GrpcChannel.ipv4(target, other.target)
        const attempts = (id: string) => [witness.seen(id).attempts, other.witness.seen(id).attempts] as const
        const even = yield* open({ address, credentials: client, loadBalancing: "round_robin" })
        // The first RPCs go to whichever is connected first.
        let isEven = false
        while (!isEven) {
          const { id, metadata } = act("answer")
          for (let i = 0; i < 2; i++) yield* even.echo.say({}, { metadata })
          isEven = attempts(id).every((count) => count === 1)
        }
        for (const kind of Kinds.all) {
          const { id, metadata } = act("answer")
          for (let i = 0; i < 6; i++) yield* kind.run(even.echo, { metadata })
          assert.deepStrictEqual(attempts(id), [3, 3])
        }
        const first = yield* open({ address, credentials: client })
        const { id, metadata } = act("answer")
        for (let i = 0; i < 6; i++) yield* first.echo.say({}, { metadata })
        assert.deepStrictEqual(attempts(id), [6, 0])
      }))
  })
})

describe("limits of messages", () => {
  /** `SayRequest` and `SayResponse` of so many ASCII characters: a tag, two bytes of length, the text. */
  const bytes = (characters: number) => 3 + characters

  each((it, { transport }) => {
    for (const option of ["maxSendBytes", "maxReceiveBytes"] as const) {
      it.effect(`${option}: a message of as many bytes passes, of one more it is RESOURCE_EXHAUSTED`, () =>
        Effect.gen(function*() {
          const { target } = yield* Backend
          const { echo } = yield* open({ address: target, credentials: transport.client, [option]: bytes(1_000) })
          const fits = "x".repeat(1_000)
          const large = `${fits}x`
          assert.strictEqual((yield* echo.say({ text: fits })).text, fits)
          assert.strictEqual((yield* Effect.flip(echo.say({ text: large }))).code, "RESOURCE_EXHAUSTED")
          const chatted: Array<string> = []
          const requests = Stream.make({ text: "short" }, { text: large })
          const error = yield* Effect.flip(
            Stream.runForEach(echo.chat(requests), ({ text }) => Effect.sync(() => chatted.push(text)))
          )
          assert.strictEqual(error.code, "RESOURCE_EXHAUSTED")
          assert.notInclude(chatted, `${large}!`)
          yield* expectServed(echo)
        }))
    }

    it.effect("Infinity lifts those of gRPC", () =>
      Effect.gen(function*() {
        const { target } = yield* Backend
        const { echo } = yield* open({
          address: target,
          credentials: transport.client,
          maxSendBytes: Infinity,
          maxReceiveBytes: Infinity
        })
        const size = 5 * 1024 * 1024
        const counted = yield* Stream.runCollect(echo.count({ to: 1, padding: size }))
        assert.deepStrictEqual(counted.map(({ padding }) => padding.byteLength), [size])
        yield* expectServed(echo)
      }))
  })
})

describe("retry", () => {
  const retry: GrpcChannel.RetryPolicy = {
    maxAttempts: 4,
    initialBackoff: "1 millis",
    maxBackoff: "2 millis",
    backoffMultiplier: 1.5,
    codes: ["UNAVAILABLE"]
  }

  each(eachKind("is tried as often as the policy says, and no more", (kind, { transport }) =>
    Effect.gen(function*() {
      const { target, witness } = yield* Backend
      const { echo } = yield* open({ address: target, credentials: transport.client, retry })
      const { id, metadata } = act("flaky", { [Script.timesKey]: "3" })
      assert.deepStrictEqual(yield* kind.run(echo, { metadata }), kind.answer)
      assert.strictEqual(witness.seen(id).attempts, 4)

      const tooFlaky = act("flaky", { [Script.timesKey]: "4" })
      const error = yield* Effect.flip(kind.run(echo, { metadata: tooFlaky.metadata }))
      assert.deepStrictEqual([error.code, error.message], ["UNAVAILABLE", Script.statusMessage])
      assert.strictEqual(witness.seen(tooFlaky.id).attempts, 4)

      const other = act("status", { [Script.codeKey]: "10" })
      assert.strictEqual((yield* Effect.flip(kind.run(echo, { metadata: other.metadata }))).code, "ABORTED")
      assert.strictEqual(witness.seen(other.id).attempts, 1)
    })))

  each(eachKind("without a policy an error of the server is not tried again", (kind) =>
    Effect.gen(function*() {
      const { echo, witness } = yield* Backend
      const { id, metadata } = act("flaky", { [Script.timesKey]: "1" })
      assert.strictEqual((yield* Effect.flip(kind.run(echo, { metadata }))).code, "UNAVAILABLE")
      assert.strictEqual(witness.seen(id).attempts, 1)
    })))
})

describe("the stop", () => {
  each(eachKind("waits for what is in flight within the grace period", (kind, { transport }) =>
    Effect.gen(function*() {
      const { target, witness } = yield* Backend
      const { channel, close, echo } = yield* open({
        address: target,
        credentials: transport.client,
        stop: { grace: "1 minute" }
      })
      const { id, metadata } = act("answer")
      const gate = Latch.makeUnsafe(false)
      const options = { metadata }
      // What ends by itself must not end before the drain has begun: its requests or its reader wait.
      const held: Effect.Effect<unknown, unknown> = kind.isRequestStream
        ? kind.name === "client stream"
          ? echo.sum(Stream.fromEffect(Effect.as(gate.await, { n: 42 })), options)
          : Stream.runDrain(echo.chat(Stream.fromEffect(Effect.as(gate.await, { text: "" })), options))
        : kind.isResponseStream
        ? Stream.runForEach(echo.count({ to: 3 }, options), () => gate.await)
        : echo.say({}, options)
      const rpc = yield* Effect.forkChild(held)
      yield* EchoServer.until("it has begun", () => witness.seen(id).attempts === 1)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it drains", () => channel.phase() !== "Serving")
      yield* gate.open
      yield* Fiber.join(rpc)
      yield* Fiber.join(closing)
      const report = yield* channel.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
      assert.strictEqual((yield* Effect.flip(kind.run(echo))).code, "UNAVAILABLE")
    })))

  each(eachKind("cancels what is left after it", (kind, { transport }) =>
    Effect.gen(function*() {
      const { target, witness } = yield* Backend
      const { channel, close, echo } = yield* open({
        address: target,
        credentials: transport.client,
        stop: { grace: "10 millis" }
      })
      const { id, metadata } = act("hang")
      const rpc = yield* Effect.forkChild(Effect.flip(kind.runOpen(echo, { metadata })))
      yield* EchoServer.until("it runs", () => witness.seen(id).running === 1)
      yield* close
      assert.strictEqual((yield* Fiber.join(rpc)).code, "CANCELLED")
      yield* EchoServer.until("the server has ended it", () => witness.seen(id).running === 0)
      const report = yield* channel.stop
      assert.deepInclude(report, { outcome: "forced", forcedBy: "grace" })
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
    })))
})

describe("options that do not change what an RPC is", () => {
  const options: ReadonlyArray<Omit<GrpcChannel.Options, "address">> = [
    { loadBalancing: "weighted_round_robin" },
    { loadBalancing: { policy: "pick_first", shuffle: true } },
    { loadBalancing: "round_robin", outlierDetection: { failurePercentage: { threshold: 50 } } },
    { keepalive: { time: "1 minute" } },
    { reconnect: { initialBackoff: "100 millis", maxBackoff: "1 second" } },
    { idleTimeout: "1 second" },
    { receiveWindowBytes: 1024 * 1024 },
    { retryThrottling: { maxTokens: 10, tokenRatio: 0.5 } },
    { retryBuffer: { perRpcBytes: 1, totalBytes: 1 } },
    { httpProxy: false }
  ]
  each((it, { transport }) => {
    for (const option of options) {
      it.effect(`${JSON.stringify(option)}: all kinds are served`, () =>
        Effect.gen(function*() {
          const { target } = yield* Backend
          const { channel, close, echo } = yield* open({ address: target, credentials: transport.client, ...option })
          yield* channel.awaitReady
          assert.strictEqual(channel.state(), "READY")
          yield* expectServed(echo)
          yield* close
          assert.strictEqual(channel.state(), "SHUTDOWN")
        }))
    }
  })
})

describe("user agent and authority", () => {
  each(eachKind("are what the server is told", (kind, { transport }) =>
    Effect.gen(function*() {
      const { target, witness } = yield* Backend
      const { echo } = yield* open({
        address: target,
        credentials: transport.client,
        userAgent: "matrix/1.0",
        // With TLS the certificate must be for it.
        authority: "localhost"
      })
      const { id, metadata } = act("answer")
      assert.deepStrictEqual(yield* kind.run(echo, { metadata }), kind.answer)
      const { authority, userAgent } = witness.seen(id)
      assert.strictEqual(authority, "localhost")
      assert.match(userAgent ?? "", /^matrix\/1\.0 grpc-node-js\//)
    })))
})

describe("compression", () => {
  const text = "compress me ".repeat(20_000)

  each((it, { transport }) => {
    for (const compression of ["gzip", "deflate"] as const) {
      it.effect(`${compression} makes requests smaller, unless an RPC wants none`, () =>
        Effect.gen(function*() {
          const { target } = yield* Backend
          const relay = yield* Relay.make(target, path.join(yield* Sockets.directory, "relay.sock"))
          const { echo } = yield* open({ address: relay.target, credentials: transport.client, compression })
          yield* expectServed(echo)
          const before = relay.sentBytes()
          assert.strictEqual((yield* echo.say({ text })).text, text)
          const chatted = yield* Stream.runCollect(echo.chat(Stream.make({ text }, { text: "short" })))
          assert.deepStrictEqual(chatted.map(({ text }) => text), [`${text}!`, "short!"])
          const small = relay.sentBytes() - before
          assert.isBelow(small, text.length / 4)
          assert.strictEqual((yield* echo.say({ text }, { compress: false })).text, text)
          assert.isAbove(relay.sentBytes() - before - small, text.length)
        }))
    }
  })
})

describe("call credentials", () => {
  each((it, { transport }) => {
    it.effect("are made for each RPC of all kinds, and over plaintext only if that is wanted", () =>
      Effect.gen(function*() {
        const { target } = yield* Backend
        let made = 0
        const paths: Array<string> = []
        const callCredentials: GrpcChannel.CallCredentials = {
          metadata: ({ path }) =>
            Effect.sync(() => {
              paths.push(path)
              return GrpcMetadata.make({ "x-head-token": `token ${++made}`, "x-head-bin": Uint8Array.of(made) })
            })
        }
        if (transport.named === undefined) {
          const exit = yield* Effect.exit(
            Effect.scoped(GrpcChannel.make({ address: target, credentials: transport.client, callCredentials }))
          )
          assert.include(String(exit), "callCredentials")
        }
        const { echo } = yield* open({
          address: target,
          credentials: transport.client,
          callCredentials: { ...callCredentials, overPlaintext: true }
        })
        for (const [i, kind] of Kinds.all.entries()) {
          let headers = GrpcMetadata.empty
          yield* kind.run(echo, {
            onHeaders(received) {
              headers = received
            }
          })
          assert.deepStrictEqual(GrpcMetadata.getAll(headers, "x-head-token"), [`token ${i + 1}`])
          assert.deepStrictEqual([...GrpcMetadata.getBinary(headers, "x-head-bin")!], [i + 1])
        }
        assert.deepStrictEqual(
          paths,
          ["Say", "Count", "Sum", "Chat"].map((method) => `/lastcall.test.v1.EchoService/${method}`)
        )
      }))

    it.effect("that cannot be made are UNAUTHENTICATED, and the server sees no RPC", () =>
      Effect.gen(function*() {
        const { target, witness } = yield* Backend
        const { echo } = yield* open({
          address: target,
          credentials: transport.client,
          callCredentials: { metadata: () => Effect.fail(GrpcError.notFound("no token")), overPlaintext: true }
        })
        for (const kind of Kinds.all) {
          const { id, metadata } = act("answer")
          assert.strictEqual((yield* Effect.flip(kind.run(echo, { metadata }))).code, "UNAUTHENTICATED")
          assert.strictEqual(witness.seen(id).attempts, 0)
        }
      }))
  })
})

describe("hedging", () => {
  each(
    eachKind(
      "sends the RPC again; the first success counts, and the other attempt is cancelled",
      (kind, { transport }) =>
        Effect.gen(function*() {
          const { target, witness } = yield* Backend
          const { echo } = yield* open({
            address: target,
            credentials: transport.client,
            hedging: { maxAttempts: 2, delay: "5 millis" }
          })
          const { id, metadata } = act("stall", { [Script.timesKey]: "1" })
          assert.deepStrictEqual(yield* kind.run(echo, { metadata }), kind.answer)
          yield* EchoServer.until("no attempt runs", () => witness.seen(id).running === 0)
          const { attempts, cancelled } = witness.seen(id)
          assert.deepStrictEqual([attempts, cancelled], [2, 1])
        })
    )
  )
})

describe("options of methods", () => {
  const service = "lastcall.test.v1.EchoService"
  const names = ["Say", "Count", "Sum", "Chat"]

  each(
    eachKind(
      "timeout, retry and limits of a path come before those of its service",
      (kind, { transport }) =>
        Effect.gen(function*() {
          const { target, witness } = yield* Backend
          const path = `/${service}/${names[Kinds.all.indexOf(kind)]}`
          const retry = (maxAttempts: number): GrpcChannel.RetryPolicy => ({
            maxAttempts,
            initialBackoff: "1 millis",
            maxBackoff: "1 millis",
            backoffMultiplier: 1,
            codes: ["UNAVAILABLE"]
          })
          const { echo } = yield* open({
            address: target,
            credentials: transport.client,
            retry: retry(5),
            methods: {
              [service]: { timeout: "1 minute", retry: false },
              [path]: { timeout: "1 hour", retry: retry(3) }
            }
          })
          for (const other of Kinds.all) {
            const { id, metadata } = act("flaky", { [Script.timesKey]: "9" })
            assert.strictEqual((yield* Effect.flip(other.run(echo, { metadata }))).code, "UNAVAILABLE")
            assert.strictEqual(witness.seen(id).attempts, other === kind ? 3 : 1)
            const millis = other === kind ? 3_600_000 : 60_000
            assert.closeTo(witness.seen(id).deadline, Date.now() + millis, 20_000)
          }
        })
    )
  )

  each(eachKind("a timeout that is over fails the RPC", (kind, { transport }) =>
    Effect.gen(function*() {
      const { target } = yield* Backend
      const { echo } = yield* open({
        address: target,
        credentials: transport.client,
        methods: { [service]: { timeout: "20 millis" } }
      })
      const { metadata } = act("hang")
      const error = yield* Effect.flip(kind.runOpen(echo, { metadata, deadline: "1 minute" }))
      assert.strictEqual(error.code, "DEADLINE_EXCEEDED")
    })))
})
