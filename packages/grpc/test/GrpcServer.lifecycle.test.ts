import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as StopBudget from "@lastcall/core/StopBudget"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

const shuttingDown = { code: grpc.status.UNAVAILABLE, details: "server is shutting down" }

/** An RPC that is in flight until its gate opens. */
const inFlight = Effect.fnUntraced(function*(options: { readonly stop?: StopPolicy.Options } = {}) {
  const gate = yield* EchoServer.makeGate
  const server = yield* EchoServer.make({ say: ({ text }) => Effect.as(gate.pass, { text }) }, options)
  const client = yield* EchoClient.make(server.target)
  const rpc = yield* Effect.forkChild(Effect.result(EchoClient.say(client, "hello")))
  yield* gate.reached
  return { ...server, gate, rpc }
})

describe("one stop", () => {
  it.live("scenario 37: stopping three times is one stop with one report", () =>
    Effect.gen(function*() {
      const { close, server } = yield* EchoServer.make()
      const reports = [yield* server.stop, yield* server.stop, yield* server.stop, yield* close]
      for (const report of reports) assert.strictEqual(report, reports[0])
      assert.strictEqual(server.phase(), "Stopped")
    }))

  it.effect("a server that listens nowhere stops at once", () =>
    Effect.gen(function*() {
      const server = yield* GrpcServer.make("api", { services: [], listen: [] })
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(report.durations.total, 0)
    }))

  it.effect("a layer needs nobody that hears where it listens", () =>
    Effect.scoped(Layer.build(GrpcServer.layer("api", { services: [], listen: [] }))))

  it.live("scenario 38: concurrent stops, and the scope's, share one report", () =>
    Effect.gen(function*() {
      const { close, gate, rpc, server } = yield* inFlight()
      const stops = yield* Effect.forEach([server.stop, server.stop, close], (stop) => Effect.forkChild(stop))
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      stops.push(yield* Effect.forkChild(server.stop))
      yield* gate.open
      const reports = yield* Fiber.joinAll(stops)
      for (const report of reports) assert.strictEqual(report, reports[0])
      assert.strictEqual(reports[0]?.outcome, "graceful")
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
    }))

  it.live("scenario 39: a force during a graceful stop: both return, with one report", () =>
    Effect.gen(function*() {
      const { rpc, server } = yield* inFlight()
      const first = yield* Effect.forkChild(server.stop)
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      const second = yield* Effect.forkChild(Effect.andThen(server.escalate, server.stop))
      const [report, other] = yield* Fiber.joinAll([first, second])
      assert.strictEqual(report, other)
      assert.strictEqual(report?.outcome, "forced")
      assert.strictEqual(report?.forcedBy, "escalation")
      assert.deepInclude(report?.counts, { admitted: 1, interrupted: 1 })
      const { code, details } = yield* Effect.flip(Effect.fromResult(yield* Fiber.join(rpc)))
      assert.deepStrictEqual({ code, details }, shuttingDown)
    }))

  it.live("scenario 39: an escalation before the stop makes the stop a force, and does not begin one", () =>
    Effect.gen(function*() {
      const { rpc, server } = yield* inFlight()
      yield* server.escalate
      assert.strictEqual(server.phase(), "Serving")
      assert.isTrue(server.isAdmitting())
      assert.strictEqual((yield* server.stop).forcedBy, "escalation")
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Failure")
    }))

  it.live("scenario 44: interrupting the fiber that stops it does not interrupt the stop", () =>
    Effect.gen(function*() {
      const { gate, rpc, server } = yield* inFlight()
      const stopping = yield* Effect.forkChild(server.stop)
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      yield* Fiber.interrupt(stopping)
      assert.strictEqual(server.phase(), "Draining")
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))

  it.live("scenario 44: interrupting the fiber that closes its scope waits for the stop", () =>
    Effect.gen(function*() {
      const { close, gate, rpc, server } = yield* inFlight()
      const closing = yield* Effect.forkChild(Effect.onExit(Effect.never, () => close))
      yield* Effect.forkChild(Fiber.interrupt(closing))
      yield* EchoServer.until("the server drains", () => !server.isAdmitting())
      const again = yield* Effect.forkChild(Fiber.interrupt(closing))
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
      yield* Fiber.join(again)
      assert.strictEqual(server.phase(), "Stopped")
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))
})

/** A server of a program, with a gate that its RPCs wait at: `say("wait")`, and one that they never pass: `say("hang")`. */
const makeMember = Effect.fnUntraced(function*(name: string, stop?: StopPolicy.Options) {
  const gate = yield* EchoServer.makeGate
  let server: GrpcServer.GrpcServer | undefined
  const layer = GrpcServer.layer(name, {
    services: [EchoServer.Echo],
    listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
    stop,
    onListening: (self) => Effect.sync(() => (server = self))
  }).pipe(Layer.provide(Layer.fresh(EchoServer.layer({
    say: ({ text }) => {
      if (text === "wait") return Effect.as(gate.pass, { text })
      if (text === "hang") return Effect.never
      if (text === "until told") return Effect.as(GrpcDrain.awaitDraining, { text })
      return Effect.succeed({ text })
    }
  }))))
  return {
    layer,
    gate,
    server: () => server!,
    phase: () => server!.phase(),
    client: Effect.suspend(() => EchoClient.make(GrpcListener.target(server!.addresses()[0]!))),
    begin: Effect.fnUntraced(function*(text: string) {
      const client = yield* EchoClient.make(GrpcListener.target(server!.addresses()[0]!))
      const rpc = yield* Effect.forkChild(Effect.result(EchoClient.say(client, text)))
      yield* EchoServer.until(`an RPC of ${name} is in flight`, () => server!.inFlight().length === 1)
      return rpc
    })
  }
})

/** Builds a program in a scope of its own. */
const launch = Effect.fnUntraced(function*<E>(layer: Layer.Layer<never, E>) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
  yield* Layer.buildWithScope(layer, scope)
  return Scope.close(scope, Exit.void)
})

/** Lets the virtual time pass, with turns for the sockets between, until a fiber has ended. */
const drive = Effect.fnUntraced(function*<A, E>(fiber: Fiber.Fiber<A, E>) {
  while (fiber.pollUnsafe() === undefined) {
    yield* TestClock.adjust("100 millis")
    yield* Effect.callback<void>((resume) => {
      setTimeout(() => resume(Effect.void), 1)
    })
  }
  return yield* Fiber.join(fiber)
})

describe("several servers", () => {
  it.live("scenario 46: of two servers in one scope the second has drained before the first begins to", () =>
    Effect.gen(function*() {
      const [first, second] = [yield* makeMember("first"), yield* makeMember("second")]
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(first.layer, scope)
      yield* Layer.buildWithScope(second.layer, scope)
      const rpc = yield* second.begin("wait")
      const client = yield* first.client

      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* EchoServer.until("the second drains", () => second.phase() === "Draining")
      assert.strictEqual(first.phase(), "Serving")
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")
      yield* second.gate.open
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
      yield* Fiber.join(closing)
      assert.strictEqual(first.phase(), "Stopped")
    }))

  it.live("scenario 47: in the declared order: the api has drained before the admin server begins to", () =>
    Effect.gen(function*() {
      const [api, admin] = [yield* makeMember("api"), yield* makeMember("admin")]
      const close = yield* launch(api.layer.pipe(Layer.provide(admin.layer)))
      const apiRpc = yield* api.begin("wait")
      const adminRpc = yield* admin.begin("wait")
      const client = yield* admin.client

      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("the api drains", () => api.phase() === "Draining")
      assert.strictEqual(admin.phase(), "Serving")
      assert.strictEqual(yield* EchoClient.say(client, "hello"), "hello")

      yield* api.gate.open
      yield* EchoServer.until("the admin server drains", () => admin.phase() === "Draining")
      assert.strictEqual(api.phase(), "Stopped")
      assert.strictEqual(api.server().inFlight().length, 0)
      assert.strictEqual(api.server().connections(), 0)
      yield* admin.gate.open
      yield* Fiber.join(closing)
      for (const rpc of [apiRpc, adminRpc]) assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
    }))

  it.effect("scenario 48: a parallel group drains at the same time, within one budget", () =>
    Effect.gen(function*() {
      const policy = { grace: "1 hour", forceTimeout: "1 second" } as const
      const members = [yield* makeMember("a", policy), yield* makeMember("b", policy), yield* makeMember("c", policy)]
      const [a, b, c] = members as [typeof members[0], typeof members[0], typeof members[0]]
      const close = yield* launch(
        Layer.mergeAll(a.layer, b.layer, c.layer).pipe(Layer.provide(StopBudget.layer("10 seconds")))
      )
      const rpcs = [yield* a.begin("wait"), yield* b.begin("hang"), yield* c.begin("hang")]

      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("all drain", () => members.every(({ phase }) => phase() === "Draining"))
      yield* a.gate.open
      yield* EchoServer.until("one has ended", () => a.phase() === "Stopped")
      yield* drive(closing)

      const [served, ...cut] = yield* Fiber.joinAll(rpcs)
      assert.strictEqual(served?._tag, "Success")
      for (const result of cut) {
        const { code, details } = yield* Effect.flip(Effect.fromResult(result))
        assert.deepStrictEqual({ code, details }, shuttingDown)
      }
      assert.strictEqual((yield* a.server().stop).outcome, "graceful")
      for (const member of [b, c]) {
        const report = yield* member.server().stop
        assert.strictEqual(report.forcedBy, "budget")
        assert.isAtMost(report.durations.total, 10_000)
        assert.isAtLeast(report.durations.draining, 8_000)
      }
    }))

  it.effect("scenario 49: one hangs, those after it still drain, and all stop within the budget", () =>
    Effect.gen(function*() {
      const policy = { grace: "1 hour", forceTimeout: "1 second" } as const
      const [api, admin, metrics] = [
        yield* makeMember("api", policy),
        yield* makeMember("admin", policy),
        yield* makeMember("metrics", policy)
      ]
      const close = yield* launch(
        api.layer.pipe(
          Layer.provide(admin.layer),
          Layer.provide(metrics.layer),
          Layer.provide(StopBudget.layer("10 seconds"))
        )
      )
      const hanging = yield* api.begin("hang")
      const others = [yield* admin.begin("until told"), yield* metrics.begin("until told")]
      yield* drive(yield* Effect.forkChild(close))

      assert.strictEqual((yield* Fiber.join(hanging))._tag, "Failure")
      for (const result of yield* Fiber.joinAll(others)) assert.strictEqual(result._tag, "Success")
      const reports = [yield* api.server().stop, yield* admin.server().stop, yield* metrics.server().stop]
      assert.deepStrictEqual(reports.map(({ forcedBy, name, outcome }) => ({ forcedBy, name, outcome })), [
        { forcedBy: "budget", name: "api", outcome: "forced" },
        { forcedBy: undefined, name: "admin", outcome: "graceful" },
        { forcedBy: undefined, name: "metrics", outcome: "graceful" }
      ])
      assert.isAtMost(reports.reduce((total, { durations }) => total + durations.total, 0), 10_000)
    }))

  it.effect("scenario 49: the two that hang are both forced within the budget", () =>
    Effect.gen(function*() {
      const policy = { grace: "1 hour", forceTimeout: "1 second" } as const
      const [api, admin] = [yield* makeMember("api", policy), yield* makeMember("admin", policy)]
      const close = yield* launch(
        api.layer.pipe(Layer.provide(admin.layer), Layer.provide(StopBudget.layer("10 seconds")))
      )
      const rpcs = [yield* api.begin("hang"), yield* admin.begin("hang")]
      yield* drive(yield* Effect.forkChild(close))
      for (const result of yield* Fiber.joinAll(rpcs)) {
        const { code, details } = yield* Effect.flip(Effect.fromResult(result))
        assert.deepStrictEqual({ code, details }, shuttingDown)
      }
      const reports = [yield* api.server().stop, yield* admin.server().stop]
      assert.deepStrictEqual(reports.map(({ abandoned, forcedBy }) => ({ abandoned, forcedBy })), [
        { abandoned: [], forcedBy: "budget" },
        { abandoned: [], forcedBy: "budget" }
      ])
      assert.isAtMost(reports.reduce((total, { durations }) => total + durations.total, 0), 10_000)
    }))
})

/** Something that handlers need to the end, and that says what it saw. */
class Database extends Context.Service<Database, { readonly query: Effect.Effect<void> }>()("test/Database") {}

const makeProgram = Effect.fnUntraced(function*(
  say: (gate: EchoServer.Gate, database: Database["Service"]) => Effect.Effect<unknown>
) {
  const log: Array<string> = []
  const gate = yield* EchoServer.makeGate
  let server: GrpcServer.GrpcServer | undefined
  const DatabaseLive = Layer.effect(
    Database,
    Effect.gen(function*() {
      let isOpen = true
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          isOpen = false
          log.push("released")
        })
      )
      return { query: Effect.sync(() => void log.push(isOpen ? "queried" : "queried too late")) }
    })
  )
  const EchoLive = EchoServer.Echo.toLayer(Effect.map(Database, (database) => ({
    ...EchoServer.defaults,
    say: ({ text }: { readonly text: string }) =>
      Effect.as(Effect.andThen(database.query, say(gate, database)), { text })
  })))
  const program = GrpcServer.layer("api", {
    services: [EchoServer.Echo],
    listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
    onListening: (self) => Effect.sync(() => (server = self))
  }).pipe(Layer.provide(EchoLive), Layer.provide(DatabaseLive))
  const running = yield* Effect.forkChild(Layer.launch(program))
  yield* EchoServer.until("the server listens", () => server !== undefined)
  yield* Effect.addFinalizer(() => server!.escalate)
  const client = yield* EchoClient.make(GrpcListener.target(server!.addresses()[0]!))
  const rpc = yield* Effect.forkChild(Effect.result(EchoClient.say(client, "hello")))
  yield* gate.reached
  // what SIGTERM does under `runMain`
  const terminating = yield* Effect.forkChild(Fiber.interrupt(running))
  yield* EchoServer.until("the server drains", () => !server!.isAdmitting())
  return { gate, log, rpc, server: server!, terminated: Fiber.join(terminating) }
})

describe("what handlers depend on", () => {
  it.live("scenario 52: the database outlives a handler that the drain waits for, also when the program is interrupted", () =>
    Effect.gen(function*() {
      const { gate, log, rpc, server, terminated } = yield* makeProgram((gate, { query }) =>
        Effect.ensuring(Effect.andThen(gate.pass, query), query)
      )
      assert.deepStrictEqual(log, ["queried"])
      yield* gate.open
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Success")
      yield* terminated
      assert.deepStrictEqual(log, ["queried", "queried", "queried", "released"])
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))

  it.live("scenario 52: the database outlives the finalizers of a handler that a force interrupts", () =>
    Effect.gen(function*() {
      const finalizing = yield* EchoServer.makeGate
      const { log, rpc, server, terminated } = yield* makeProgram((gate, { query }) =>
        Effect.ensuring(Effect.andThen(gate.pass, query), Effect.andThen(finalizing.pass, query))
      )
      yield* server.escalate
      yield* finalizing.reached
      assert.strictEqual(server.phase(), "Interrupting")
      assert.deepStrictEqual(log, ["queried"])
      yield* finalizing.open
      yield* terminated
      assert.deepStrictEqual(log, ["queried", "queried", "released"])
      assert.strictEqual((yield* Fiber.join(rpc))._tag, "Failure")
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "forced")
      assert.deepInclude(report.counts, { admitted: 1, interrupted: 1, abandoned: 0 })
    }))

  it.live("scenario 52: the database outlives a handler whose client has gone", () =>
    Effect.gen(function*() {
      const finalizing = yield* EchoServer.makeGate
      const { log, rpc, server, terminated } = yield* makeProgram((gate, { query }) =>
        Effect.ensuring(gate.pass, Effect.andThen(finalizing.pass, query))
      )
      yield* Fiber.interrupt(rpc)
      yield* finalizing.reached
      yield* EchoServer.until("the connection is gone", () => server.connections() === 0)
      assert.deepStrictEqual(log, ["queried"])
      yield* finalizing.open
      yield* terminated
      assert.deepStrictEqual(log, ["queried", "queried", "released"])
      assert.strictEqual((yield* server.stop).outcome, "graceful")
    }))
})
