import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import { once } from "node:events"
import * as http2 from "node:http2"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import * as FourKinds from "./FourKinds.ts"

interface Text {
  readonly text: string
}
interface Number_ {
  readonly n: number
}

/** The test service as a grpc-js program implements it. */
interface Native {
  say: grpc.handleUnaryCall<Text, Text>
  count: grpc.handleServerStreamingCall<{ readonly to: number }, { readonly n: number; readonly padding?: Uint8Array }>
  sum: grpc.handleClientStreamingCall<Number_, { readonly total: number }>
  chat: grpc.handleBidiStreamingCall<Text, Text>
}

const callbacks: Native = {
  say(call, callback) {
    callback(null, { text: call.request.text })
  },
  count(call) {
    for (let n = 1; n <= call.request.to; n++) call.write({ n })
    call.end()
  },
  sum(call, callback) {
    let total = 0
    call.on("data", ({ n }: Number_) => (total += n))
    call.on("end", () => callback(null, { total }))
  },
  chat(call) {
    call.on("data", ({ text }: Text) => call.write({ text: `${text}!` }))
    call.on("end", () => call.end())
  }
}

/** The same with promises, and with state behind `this`. */
class Promising implements Native {
  readonly #mark = "!"

  async say(...[call, callback]: Parameters<Native["say"]>) {
    await turn()
    callback(null, { text: call.request.text })
  }

  async count(call: Parameters<Native["count"]>[0]) {
    for (let n = 1; n <= call.request.to; n++) {
      if (!call.write({ n })) await once(call, "drain")
    }
    call.end()
  }

  async sum(...[call, callback]: Parameters<Native["sum"]>) {
    let total = 0
    for await (const { n } of call) total += n
    callback(null, { total })
  }

  async chat(call: Parameters<Native["chat"]>[0]) {
    for await (const { text } of call as AsyncIterable<Text>) call.write({ text: this.shout(text) })
    call.end()
  }

  private shout(text: string) {
    return `${text}${this.#mark}`
  }
}

const turn = () => Effect.runPromise(EventLoop.turn)

const make = (implementation: Partial<Native>, stop?: StopPolicy.Options) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const server = yield* Scope.provide(
      GrpcServer.make("api", {
        services: [GrpcService.native(EchoClient.definition, { ...implementation })],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        stop
      }),
      scope
    )
    yield* Effect.addFinalizer(() => Effect.andThen(server.escalate, Scope.close(scope, Exit.void)))
    const target = GrpcListener.target(server.addresses()[0]!)
    return {
      server,
      client: yield* EchoClient.make(target),
      port: Number(target.split(":")[1]),
      close: Effect.andThen(Scope.close(scope, Exit.void), server.stop)
    }
  })

/** A gate for a handler that is made of promises. */
const makeGate = Effect.map(EchoServer.makeGate, (gate) => ({
  ...gate,
  passed: () => Effect.runPromise(Effect.asVoid(gate.pass))
}))

describe("a grpc-js implementation is served as it is", () => {
  it.live("an object with callbacks, all four kinds", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* make(callbacks)
      yield* FourKinds.expectServed(client)
      yield* EchoServer.until("nothing is in flight", () => server.inFlight().length === 0)
      const report = yield* close
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 4, succeeded: 4 })
    }))

  it.live("an instance of a class, with promises, all four kinds", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const server = yield* Scope.provide(
        GrpcServer.make("api", {
          services: [
            GrpcService.native(EchoClient.definition, new Promising() as object as grpc.UntypedServiceImplementation)
          ],
          listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
        }),
        scope
      )
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      yield* FourKinds.expectServed(client)
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 4, succeeded: 4 })
    }))

  it.live("a method that it does not implement is UNIMPLEMENTED", () =>
    Effect.gen(function*() {
      const { client, close } = yield* make({})
      assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "hello"))).code, grpc.status.UNIMPLEMENTED)
      assert.strictEqual((yield* close).outcome, "graceful")
    }))

  it.live("beside a service of Effects; their methods must not be the same", () =>
    Effect.gen(function*() {
      const native = GrpcService.native(EchoClient.definition, { ...callbacks })
      const exit = yield* Effect.exit(
        GrpcServer.make("api", { services: [native, EchoServer.Echo], listen: [] }).pipe(
          Effect.provide(EchoServer.layer())
        )
      )
      assert.include(String(exit), "api: the method /lastcall.test.v1.EchoService/Say is served twice")
    }))
})

describe("a grpc-js handler that fails", () => {
  it.live("with an error of its own answers INTERNAL without its text when it is async, whatever its kind", () =>
    Effect.gen(function*() {
      const fail = async () => {
        await turn()
        throw new Error("the password is secret")
      }
      const { client, close } = yield* make({ say: fail, count: fail, sum: fail, chat: fail })
      const seen = [
        yield* Effect.flip(EchoClient.say(client, "hello")),
        (yield* EchoClient.gather(client.count({ to: 1 }))).status,
        yield* Effect.flip(EchoClient.sum(client).total),
        (yield* EchoClient.gather(client.chat())).status
      ]
      for (const { code, details } of seen) {
        assert.deepStrictEqual({ code, details }, { code: grpc.status.INTERNAL, details: "internal error" })
      }
      const report = yield* close
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 4, failed: 4 })
    }))

  it.live("with a status of its own answers with that", () =>
    Effect.gen(function*() {
      const metadata = new grpc.Metadata()
      metadata.set("reason", "because")
      const { client } = yield* make({
        say: async () => {
          throw Object.assign(new Error("5 NOT_FOUND: no such text"), {
            code: grpc.status.NOT_FOUND,
            details: "no such text",
            metadata
          })
        }
      })
      const error = yield* Effect.callback<grpc.ServiceError | null>((resume) => {
        client.say({ text: "hello" }, {}, (error) => resume(Effect.succeed(error)))
      })
      assert.strictEqual(error?.code, grpc.status.NOT_FOUND)
      assert.strictEqual(error?.details, "no such text")
      assert.deepStrictEqual(error?.metadata.get("reason"), ["because"])
    }))

  const oddities: ReadonlyArray<readonly [string, unknown, number]> = [
    ["nothing", undefined, grpc.status.INTERNAL],
    ["null", null, grpc.status.INTERNAL],
    ["a text", "secret", grpc.status.INTERNAL],
    ["an error of the system", Object.assign(new Error("secret"), { code: "ENOENT" }), grpc.status.INTERNAL],
    ["OK", { code: 0 }, grpc.status.INTERNAL],
    ["a code that is none", { code: 99 }, grpc.status.INTERNAL],
    ["a code without words", { code: 5 }, grpc.status.NOT_FOUND],
    ["words that are none", { code: 5, details: 42, message: {} }, grpc.status.NOT_FOUND],
    ["words that are not well-formed", { code: 5, details: "\ud800" }, grpc.status.NOT_FOUND],
    ["metadata that is none", { code: 5, details: "no", metadata: { reason: "because" } }, grpc.status.NOT_FOUND]
  ]
  for (const [what, error, code] of oddities) {
    it.live(`with a rejection that is ${what} answers, and the process lives`, () =>
      Effect.gen(function*() {
        const { client, close } = yield* make({ say: () => Promise.reject(error) })
        const seen = yield* Effect.flip(EchoClient.say(client, "hello"))
        assert.strictEqual(seen.code, code)
        assert.notInclude(seen.details, "secret")
        const report = yield* close
        assert.strictEqual(report.outcome, "graceful")
        assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
      }))
  }

  it.live("by throwing at once answers UNKNOWN, as grpc-js says", () =>
    Effect.gen(function*() {
      const { client, close } = yield* make({
        say: () => {
          throw new Error("the password is secret")
        }
      })
      const error = yield* Effect.flip(EchoClient.say(client, "hello"))
      assert.strictEqual(error.code, grpc.status.UNKNOWN)
      assert.notInclude(error.details, "secret")
      assert.deepInclude((yield* close).counts, { admitted: 1, failed: 1 })
    }))

  it.live("through its callback, with words that are not well-formed, answers", () =>
    Effect.gen(function*() {
      const { client } = yield* make({
        say: (_, callback) => callback({ code: grpc.status.NOT_FOUND, details: "no \ud800" })
      })
      assert.deepInclude({ ...(yield* Effect.flip(EchoClient.say(client, "hello"))) }, {
        code: grpc.status.NOT_FOUND,
        details: "no \ufffd"
      })
    }))

  it.live("after its answer has not failed for its client", () =>
    Effect.gen(function*() {
      const { client, close } = yield* make({
        say: async (call, callback) => {
          callback(null, call.request)
          throw new Error("too late")
        }
      })
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      assert.deepInclude((yield* close).counts, { admitted: 1, succeeded: 1 })
    }))
})

describe("the drain of grpc-js handlers", () => {
  it.live("waits for a call that is not answered", () =>
    Effect.gen(function*() {
      const answer = yield* Deferred.make<() => void>()
      const { client, close, server } = yield* make({
        say: (call, callback) => Deferred.doneUnsafe(answer, Effect.succeed(() => callback(null, call.request)))
      })
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      const proceed = yield* Deferred.await(answer)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      assert.strictEqual(server.phase(), "Draining")
      proceed()
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.live("waits for a promise that outlives its answer", () =>
    Effect.gen(function*() {
      const gate = yield* makeGate
      const { client, close, server } = yield* make({
        say: async (call, callback) => {
          callback(null, call.request)
          await gate.passed()
        }
      })
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the connection is gone", () => server.connections() === 0)
      assert.strictEqual(server.phase(), "Draining")
      assert.deepStrictEqual(server.inFlight().map(({ kind }) => kind), ["lastcall.test.v1.EchoService/Say"])
      yield* gate.open
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.live("waits for a promise whose client has gone, and which answers too late", () =>
    Effect.gen(function*() {
      const gate = yield* makeGate
      const cancelled = yield* Deferred.make<void>()
      const { client, close, server } = yield* make({
        say: async (call, callback) => {
          call.on("cancelled", () => Deferred.doneUnsafe(cancelled, Effect.void))
          await gate.passed()
          callback(null, call.request)
        }
      })
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* gate.reached
      yield* Fiber.interrupt(rpc)
      yield* Deferred.await(cancelled)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the connection is gone", () => server.connections() === 0)
      assert.strictEqual(server.phase(), "Draining")
      yield* gate.open
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))

  it.live("is not held by a call whose client has gone, where the handler returns nothing", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* make({ say: () => {} })
      const rpc = yield* Effect.forkChild(EchoClient.say(client, "hello"))
      yield* EchoServer.until("the RPC is in flight", () => server.inFlight().length === 1)
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      yield* Fiber.interrupt(rpc)
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 1, failed: 1 })
    }))
})

const shuttingDown = { code: grpc.status.UNAVAILABLE, details: "server is shutting down" }

const statusOf = ({ code, details }: { readonly code: number; readonly details: string }) => ({ code, details })

describe("the force on grpc-js handlers", () => {
  it.live("answers UNAVAILABLE on all four kinds; the implementation sees `cancelled`, and may do what it likes then", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const { client, close, server } = yield* make({
        say: (call, callback) => {
          call.on("cancelled", () => {
            seen.push("say")
            callback(null, { text: "late" })
          })
        },
        count: (call) => {
          call.write({ n: 1 })
          call.on("cancelled", () => {
            seen.push("count")
            call.write({ n: 2 })
            call.end()
          })
        },
        sum: (call, callback) => {
          call.on("cancelled", () => {
            seen.push("sum")
            callback({ code: grpc.status.ABORTED })
          })
        },
        chat: (call) => {
          call.on("cancelled", () => {
            seen.push("chat")
            call.destroy(new Error("late"))
          })
        }
      })
      const rpcs = yield* Effect.forkChild(Effect.all([
        Effect.map(Effect.flip(EchoClient.say(client, "hello")), statusOf),
        Effect.map(EchoClient.gather(client.count({ to: 1 })), ({ status }) => status),
        Effect.map(Effect.flip(EchoClient.sum(client).total), statusOf),
        Effect.map(EchoClient.gather(client.chat()), ({ status }) => status)
      ], { concurrency: "unbounded" }))
      yield* EchoServer.until("the RPCs are in flight", () => server.inFlight().length === 4)
      yield* server.escalate
      const report = yield* close
      for (const status of yield* Fiber.join(rpcs)) assert.deepStrictEqual(status, shuttingDown)
      assert.deepStrictEqual(seen.toSorted(), ["chat", "count", "say", "sum"])
      assert.strictEqual(report.outcome, "forced")
      assert.strictEqual(report.blockers.length, 4)
      assert.deepStrictEqual(report.abandoned, [])
      assert.deepInclude(report.counts, { admitted: 4, interrupted: 4 })
    }))

  it.live("awaits the promise of a handler that ends when it sees `cancelled`", () =>
    Effect.gen(function*() {
      const gate = yield* makeGate
      const { client, close, server } = yield* make({
        say: async (call) => {
          await once(call, "cancelled")
          await gate.passed()
        }
      })
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* EchoServer.until("the RPC is in flight", () => server.inFlight().length === 1)
      yield* server.escalate
      const closing = yield* Effect.forkChild(close)
      assert.deepStrictEqual(statusOf(yield* Fiber.join(rpc)), shuttingDown)
      yield* gate.reached
      assert.strictEqual(server.phase(), "Interrupting")
      yield* gate.open
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(report.abandoned, [])
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
    }))

  it.live("names a promise that never ends as abandoned; its client was answered UNAVAILABLE", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* make({ say: () => new Promise(() => {}) }, { forceTimeout: 50 })
      const rpc = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hello")))
      yield* EchoServer.until("the RPC is in flight", () => server.inFlight().length === 1)
      yield* server.escalate
      const report = yield* close
      assert.deepStrictEqual(statusOf(yield* Fiber.join(rpc)), shuttingDown)
      assert.strictEqual(report.outcome, "forced")
      assert.deepStrictEqual(report.abandoned.map(({ kind }) => kind), ["lastcall.test.v1.EchoService/Say"])
      assert.deepInclude(report.counts, { admitted: 1, abandoned: 1 })
      assert.strictEqual(server.connections(), 0)
    }))

  it.live("lets a reader of requests whose promise rejects because the call is over end in silence", () => {
    const errors: Array<unknown> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Error") errors.push(message)
    })
    return Effect.gen(function*() {
      const { client, close, server } = yield* make({
        sum: async (call) => {
          for await (const _ of call) assert.ok(_)
        }
      })
      const { call, total } = EchoClient.sum(client)
      call.write({ n: 1 })
      yield* EchoServer.until("the RPC is in flight", () => server.inFlight().length === 1)
      yield* server.escalate
      const report = yield* close
      assert.deepStrictEqual(statusOf(yield* Effect.flip(total)), shuttingDown)
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1 })
      assert.deepStrictEqual(errors, [])
    }).pipe(Effect.provide(Logger.layer([logger])))
  })

  /** A peer whose window is full: an answer of any size is on its way until it reads. */
  const slowPeer = Effect.fnUntraced(function*(port: number, path: string) {
    const session = yield* EchoClient.session(port)
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers"
    })
    stream.on("error", () => {})
    stream.end(EchoClient.emptyMessage)
    const trailers = yield* Deferred.make<http2.IncomingHttpHeaders>()
    stream.on("trailers", (headers) => Deferred.doneUnsafe(trailers, Effect.succeed(headers)))
    stream.pause()
    return { read: Effect.sync(() => stream.resume()), trailers: Deferred.await(trailers) }
  })

  // Under the virtual clock the force waits for its flush as long as the peer needs.
  it.effect("does not turn an OK whose message is on its way into UNAVAILABLE", () =>
    Effect.gen(function*() {
      const large = "x".repeat(1_000_000)
      const { close, port, server } = yield* make({ say: (_, callback) => callback(null, { text: large }) })
      const peer = yield* slowPeer(port, "/lastcall.test.v1.EchoService/Say")
      yield* EchoServer.until("the RPC is in flight", () => server.inFlight().length === 1)
      yield* server.escalate
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the force began", () => server.phase() === "Interrupting")
      yield* peer.read
      assert.strictEqual((yield* peer.trailers)["grpc-status"], "0")
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.outcome, "forced")
      assert.deepInclude(report.counts, { admitted: 1, succeeded: 1 })
    }))

  it.effect("drops what a handler writes after its client was answered", () =>
    Effect.gen(function*() {
      const calls: Array<Parameters<Native["count"]>[0]> = []
      const { close, port, server } = yield* make({
        count: (call) => {
          calls.push(call)
          call.write({ n: 1, padding: new Uint8Array(200_000) })
        }
      })
      const peers = [yield* slowPeer(port, EchoClient.countPath), yield* slowPeer(port, EchoClient.countPath)]
      yield* EchoServer.until("the RPCs are in flight", () => calls.length === 2)
      yield* server.escalate
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the force began", () => server.phase() === "Interrupting")
      const [writing, ending] = calls
      writing!.write({ n: 2 })
      writing!.end()
      ending!.end()
      for (const { read, trailers } of peers) {
        yield* read
        assert.strictEqual((yield* trailers)["grpc-status"], String(grpc.status.UNAVAILABLE))
      }
      const report = yield* Fiber.join(closing)
      assert.deepInclude(report.counts, { admitted: 2, interrupted: 2 })
    }))
})

describe("accounting", () => {
  it.live("scenario 69: what was admitted is what ended, one way or another", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* make({
        say: async (call, callback) => {
          const { text } = call.request
          if (text === "fail") throw new Error("failed")
          if (text === "cut") return
          if (text === "hang") return new Promise<void>(() => {})
          callback(null, { text })
        },
        count: callbacks.count
      }, { forceTimeout: 50 })
      for (let i = 0; i < 3; i++) yield* EchoClient.say(client, "hello")
      for (let i = 0; i < 2; i++) yield* Effect.flip(EchoClient.say(client, "fail"))
      yield* EchoClient.gather(client.count({ to: 10 }))
      const cut = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "cut")))
      const hang = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "hang")))
      yield* EchoServer.until("two RPCs are in flight", () => server.inFlight().length === 2)
      yield* server.escalate
      const { counts, kinds } = yield* close
      yield* Fiber.joinAll([cut, hang])
      assert.deepStrictEqual(counts, {
        admitted: 8,
        succeeded: 4,
        failed: 2,
        interrupted: 1,
        destroyed: 0,
        abandoned: 1,
        refused: 0
      })
      assert.strictEqual(kinds["lastcall.test.v1.EchoService/Count"]?.succeeded, 1)
    }))
})
