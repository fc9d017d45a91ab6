import { assert, describe, it } from "@effect/vitest"
import { status } from "@grpc/grpc-js"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { makeChanges } from "../src/internal/health.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
import * as HealthClient from "./HealthClient.ts"
import * as Sockets from "./Sockets.ts"

const echo = EchoService.typeName
const listen = [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]

/** A server without a lifecycle: the test service and health. */
const make = Effect.fnUntraced(function*(
  options: GrpcHealth.Options & { readonly stop?: StopPolicy.Options } = {},
  handlers: Partial<EchoServer.Handlers> = {}
) {
  const scope = yield* Scope.make()
  const context = yield* Layer.buildWithScope(Layer.merge(GrpcHealth.layer(options), EchoServer.layer(handlers)), scope)
  const server = yield* GrpcServer.make("api", {
    services: [EchoServer.Echo, GrpcHealth.Health],
    listen,
    stop: options.stop
  })
    .pipe(Effect.provideContext(context), Scope.provide(scope))
  yield* Effect.addFinalizer(() => Effect.andThen(server.escalate, Scope.close(scope, Exit.void)))
  const address = server.addresses()[0]!
  const target = GrpcListener.target(address)
  return {
    server,
    target,
    port: address._tag === "Tcp" ? address.port : 0,
    context,
    health: Context.get(context, GrpcHealth.GrpcHealth),
    client: yield* HealthClient.make(target),
    close: Effect.andThen(Scope.close(scope, Exit.void), server.stop)
  }
})

/** Two servers with one health, under a lifecycle: `api` stops before `admin`. */
const launch = Effect.fnUntraced(function*(
  options: GrpcHealth.Options & Lifecycle.LaunchOptions = {},
  handlers: Partial<EchoServer.Handlers> = {}
) {
  // A `TestClock` that was never adjusted cannot sleep in the finalizer of an interrupted fiber.
  yield* TestClock.adjust(0)
  const servers = new Map<string, GrpcServer.GrpcServer>()
  let health: GrpcHealth.GrpcHealth["Service"] | undefined
  let lifecycle: Lifecycle.Lifecycle | undefined
  const server = <S extends GrpcServer.Services>(services: S, name: string) =>
    GrpcServer.layer(name, { services, listen, onListening: (server) => Effect.sync(() => servers.set(name, server)) })
  const app = Lifecycle.sequence([
    server([EchoServer.Echo, GrpcHealth.Health], "api"),
    server([GrpcHealth.Health], "admin")
  ]).pipe(
    Layer.provide(Layer.effectDiscard(Effect.gen(function*() {
      health = yield* GrpcHealth.GrpcHealth
      lifecycle = yield* Lifecycle.Lifecycle
    }))),
    Layer.provide([GrpcHealth.layer(options), EchoServer.layer(handlers)])
  )
  const launched = yield* Effect.forkDetach(Lifecycle.launch(app, options))
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      launched.interruptUnsafe()
      return Effect.andThen(lifecycle?.escalate ?? Effect.void, drive(launched))
    })
  )
  yield* EchoServer.until("both servers listen", () => servers.size === 2)
  const target = (name: string) => GrpcListener.target(servers.get(name)!.addresses()[0]!)
  return {
    launched,
    server: (name: string) => servers.get(name)!,
    target,
    health: health!,
    lifecycle: lifecycle!,
    api: yield* HealthClient.make(target("api")),
    admin: yield* HealthClient.make(target("admin"))
  }
})

/** Lets the virtual time pass, with turns for the sockets between, until a fiber has ended. */
const drive = Effect.fnUntraced(function*<E>(fiber: Fiber.Fiber<ProcessReport, E>) {
  while (fiber.pollUnsafe() === undefined) {
    yield* TestClock.adjust("100 millis")
    yield* turn
  }
  return yield* Fiber.await(fiber)
})

const turn = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 1)
})

const seen = (watching: HealthClient.Watching, ...statuses: ReadonlyArray<string>) =>
  EchoServer.until(`the watcher has seen ${statuses.join(", ")}`, () => watching.seen.length >= statuses.length).pipe(
    Effect.andThen(Effect.sync(() => assert.deepStrictEqual(watching.seen, statuses)))
  )

const code = (effect: Effect.Effect<unknown, EchoClient.StatusError>) =>
  Effect.map(Effect.flip(effect), ({ code }) => code)

describe("the statuses", () => {
  it.effect("Check tells those of the whole server and of a service, and NOT_FOUND of an unknown one", () =>
    Effect.gen(function*() {
      const { client, health } = yield* make({ statuses: { [echo]: "NOT_SERVING" } })
      assert.strictEqual(yield* HealthClient.check(client), "SERVING")
      assert.strictEqual(yield* HealthClient.check(client, echo), "NOT_SERVING")
      assert.strictEqual(yield* code(HealthClient.check(client, "no.such.Service")), status.NOT_FOUND)
      yield* health.set(echo, "SERVING")
      assert.strictEqual(yield* HealthClient.check(client, echo), "SERVING")
      yield* health.setAll("UNKNOWN")
      assert.strictEqual(yield* HealthClient.check(client), "UNKNOWN")
      assert.strictEqual(yield* HealthClient.check(client, echo), "UNKNOWN")
      yield* health.remove(echo)
      assert.strictEqual(health.get(echo), undefined)
      assert.strictEqual(yield* code(HealthClient.check(client, echo)), status.NOT_FOUND)
    }))

  it.effect("the whole server may begin as NOT_SERVING", () =>
    Effect.gen(function*() {
      const { client } = yield* make({ statuses: { "": "NOT_SERVING" } })
      assert.strictEqual(yield* HealthClient.check(client), "NOT_SERVING")
    }))

  it.effect("List tells up to 100 services, and RESOURCE_EXHAUSTED of more", () =>
    Effect.gen(function*() {
      const { client, health } = yield* make({ statuses: { [echo]: "NOT_SERVING" } })
      assert.deepStrictEqual(yield* HealthClient.list(client), { "": "SERVING", [echo]: "NOT_SERVING" })
      for (let i = 3; i <= 100; i++) yield* health.set(`service ${i}`, "SERVING")
      assert.strictEqual(Object.keys(yield* HealthClient.list(client)).length, 100)
      yield* health.set("one more", "SERVING")
      assert.strictEqual(yield* code(HealthClient.list(client)), status.RESOURCE_EXHAUSTED)
    }))

  it.effect("Watch tells the status now and each other that it comes to", () =>
    Effect.gen(function*() {
      const { client, health } = yield* make()
      const watching = HealthClient.watch(client)
      yield* seen(watching, "SERVING")
      yield* health.set("", "SERVING")
      yield* health.set(echo, "NOT_SERVING")
      yield* health.set("", "NOT_SERVING")
      yield* seen(watching, "SERVING", "NOT_SERVING")
      yield* health.set("", "SERVING")
      yield* seen(watching, "SERVING", "NOT_SERVING", "SERVING")
    }))

  it.effect("Watch tells SERVICE_UNKNOWN, the status once there is one, and SERVICE_UNKNOWN when it is removed", () =>
    Effect.gen(function*() {
      const { client, health } = yield* make()
      const watching = HealthClient.watch(client, echo)
      yield* seen(watching, "SERVICE_UNKNOWN")
      yield* health.set(echo, "SERVING")
      yield* seen(watching, "SERVICE_UNKNOWN", "SERVING")
      yield* health.remove(echo)
      yield* seen(watching, "SERVICE_UNKNOWN", "SERVING", "SERVICE_UNKNOWN")
    }))

  it.effect("a slow reader gets the latest status, and nothing is kept of those between", () =>
    Effect.gen(function*() {
      const { client, health } = yield* make()
      const watching = HealthClient.watch(client)
      yield* seen(watching, "SERVING")
      for (let i = 0; i < 10_000; i++) yield* health.set("", i % 2 === 0 ? "NOT_SERVING" : "SERVING")
      yield* health.set("", "UNKNOWN")
      yield* EchoServer.until("the last was seen", () => watching.seen.at(-1) === "UNKNOWN")
      assert.isBelow(watching.seen.length, 100)

      const pulled: Array<string> = []
      yield* health.changes("").pipe(
        Stream.tap((status) => {
          pulled.push(status)
          return health.set("", "SERVING").pipe(
            Effect.andThen(health.set("", "UNKNOWN")),
            Effect.andThen(health.set("", pulled.length === 1 ? "NOT_SERVING" : "SERVING"))
          )
        }),
        Stream.take(3),
        Stream.runDrain
      )
      assert.deepStrictEqual(pulled, ["UNKNOWN", "NOT_SERVING", "SERVING"])
    }))

  it.effect("a watcher that leaves is forgotten", () =>
    Effect.gen(function*() {
      const { client, server } = yield* make()
      const call = client.watch({ service: "" })
      call.on("error", () => {})
      call.once("data", () => call.cancel())
      yield* EchoServer.until("it is in flight", () => server.inFlight().length === 1)
      yield* EchoServer.until("it is over", () => server.inFlight().length === 0)

      const changes = makeChanges()
      let state = 0
      let reads = 0
      const read = () => {
        reads++
        return state
      }
      const seen: Array<number> = []
      const reader = yield* Effect.forkChild(
        Stream.runForEach(changes.latest(read), (value) => Effect.sync(() => seen.push(value)))
      )
      yield* Effect.yieldNow
      for (let i = 1; i <= 3; i++) {
        state = i
        changes.notify()
        yield* Effect.yieldNow
      }
      assert.deepStrictEqual(seen, [0, 1, 2, 3])
      reads = 0
      changes.notify()
      assert.strictEqual(reads, 1)
      yield* Fiber.interrupt(reader)
      changes.notify()
      assert.strictEqual(reads, 1)
    }))
})

describe("the stop of a server", () => {
  it.effect("scenario 53: NOT_SERVING before the listener closes, while RPCs are served for the drain delay", () =>
    Effect.gen(function*() {
      const { client, close, port, server, target } = yield* make({
        statuses: { [echo]: "SERVING" },
        stop: { drainDelay: "5 seconds" }
      })
      const watching = HealthClient.watch(client, echo)
      yield* seen(watching, "SERVING")
      const closing = yield* Effect.forkChild(close)
      yield* seen(watching, "SERVING", "NOT_SERVING")
      assert.strictEqual(server.phase(), "Announced")
      yield* TestClock.adjust("4999 millis")
      assert.strictEqual(yield* HealthClient.poll(target), "NOT_SERVING")
      assert.deepStrictEqual(yield* HealthClient.list(client), { "": "NOT_SERVING", [echo]: "NOT_SERVING" })
      assert.strictEqual(yield* code(HealthClient.check(client, "no.such.Service")), status.NOT_FOUND)
      const echoClient = yield* EchoClient.make(target)
      assert.strictEqual(yield* EchoClient.say(echoClient, "hello"), "hello")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(closing)).outcome, "graceful")
      assert.isTrue(yield* Sockets.isFree({ port }))
    }))

  it.effect("scenario 53: without a drain delay the watcher is told before its connection gets the GOAWAY", () =>
    Effect.gen(function*() {
      const { close, port } = yield* make()
      const session = yield* EchoClient.session(port)
      const order: Array<string> = []
      session.once("goaway", () => order.push("GOAWAY"))
      const stream = session.request({
        ":method": "POST",
        ":path": "/grpc.health.v1.Health/Watch",
        "content-type": "application/grpc",
        te: "trailers"
      })
      stream.on("data", (frame: Buffer) => order.push(`status ${frame.at(-1)}`))
      stream.on("trailers", (headers) => order.push(`trailers ${headers["grpc-status"]}`))
      stream.end(EchoClient.emptyMessage)
      yield* EchoServer.until("the watcher has seen the status", () => order.length === 1)
      yield* Effect.forkChild(close)
      yield* EchoServer.until("the watch has ended", () => {
        console.log(order)
        return order.length === 4
      })
      assert.deepStrictEqual(order, ["status 1", "status 2", "GOAWAY", "trailers 0"])
    }))

  it.effect("scenario 54: what the program sets after the announcement is not told", () =>
    Effect.gen(function*() {
      const { client, close, health, server } = yield* make({ stop: { drainDelay: "5 seconds" } })
      const watching = HealthClient.watch(client)
      yield* seen(watching, "SERVING")
      const closing = yield* Effect.forkChild(close)
      yield* seen(watching, "SERVING", "NOT_SERVING")
      yield* health.setAll("NOT_SERVING")
      yield* health.setAll("SERVING")
      assert.strictEqual(yield* HealthClient.check(client), "NOT_SERVING")
      assert.strictEqual(server.phase(), "Announced")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* watching.end, status.OK)
      assert.deepStrictEqual(watching.seen, ["SERVING", "NOT_SERVING"])
      yield* Fiber.join(closing)
    }))

  it.effect("scenario 55: a hundred watchers get NOT_SERVING, then OK, and do not hold the stop", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* make({ statuses: { [echo]: "NOT_SERVING" } })
      const watchers = Array.from({ length: 33 }, () => HealthClient.watch(client))
      const notServing = Array.from({ length: 33 }, () => HealthClient.watch(client, echo))
      const unknown = Array.from({ length: 34 }, () => HealthClient.watch(client, "no.such.Service"))
      const all = [...watchers, ...notServing, ...unknown]
      yield* EchoServer.until("all watch", () => all.every(({ seen }) => seen.length === 1))
      // No virtual time passes: the grace period of 10 s never begins to count.
      const report = yield* close
      assert.strictEqual(server.phase(), "Stopped")
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 100, succeeded: 100 })
      for (const watching of all) assert.strictEqual(yield* watching.end, status.OK)
      for (const { seen } of watchers) assert.deepStrictEqual(seen, ["SERVING", "NOT_SERVING"])
      for (const { seen } of notServing) assert.deepStrictEqual(seen, ["NOT_SERVING"])
      for (const { seen } of unknown) assert.deepStrictEqual(seen, ["SERVICE_UNKNOWN"])
    }))

  it.effect("two servers that share the statuses each tell of their own announcement", () =>
    Effect.gen(function*() {
      const { client, close, context, server } = yield* make({ stop: { drainDelay: "5 seconds" } })
      const other = yield* GrpcServer.make("other", { services: [GrpcHealth.Health], listen }).pipe(
        Effect.provideContext(context)
      )
      const otherClient = yield* HealthClient.make(GrpcListener.target(other.addresses()[0]!))
      const watching = HealthClient.watch(otherClient)
      yield* seen(watching, "SERVING")
      const closing = yield* Effect.forkChild(close)
      yield* EchoServer.until("it is announced", () => server.phase() === "Announced")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* HealthClient.check(client), "NOT_SERVING")
      assert.strictEqual(yield* HealthClient.check(otherClient), "SERVING")
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(watching.seen, ["SERVING"])
    }))

  it.effect("scenario 58: a poller of 10 seconds loses nothing with a drain delay of 11, whenever it polls", () =>
    Effect.gen(function*() {
      for (let firstPoll = 0; firstPoll < 10; firstPoll++) {
        assert.deepStrictEqual(yield* restart("11 seconds", firstPoll), { lost: 0, served: firstPoll })
      }
      assert.deepStrictEqual(yield* restart("5 seconds", 9), { lost: 4, served: 5 })
    }))
})

/**
 * A load balancer polls every 10 s, and sends an RPC a second as long as the last poll said SERVING. The server stops right
 * after a poll, `firstPoll` seconds before the next.
 */
const restart = (drainDelay: StopPolicy.Options["drainDelay"], firstPoll: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { close, server, target } = yield* make({ stop: { drainDelay } })
    const client = yield* EchoClient.make(target, { "grpc.enable_retries": 0 })
    assert.strictEqual(yield* HealthClient.poll(target), "SERVING")
    const closing = yield* Effect.forkChild(close)
    yield* EchoServer.until("it is announced", () => server.phase() === "Announced")
    let serving = true
    let served = 0
    let lost = 0
    for (let second = 0; second < 20; second++) {
      if (second % 10 === firstPoll) {
        serving = (yield* Effect.orElseSucceed(HealthClient.poll(target), () => "down")) === "SERVING"
      }
      if (serving) {
        if ((yield* Effect.result(EchoClient.say(client, "hello")))._tag === "Success") served++
        else lost++
      }
      yield* TestClock.adjust("1 second")
      yield* EchoServer.until("the sockets are settled", () => server.phase() !== "Draining")
    }
    yield* Fiber.join(closing)
    return { lost, served }
  }))

describe("the lifecycle", () => {
  it.effect("scenarios 53 and 54: at the announcement of the process all are NOT_SERVING, and frozen", () =>
    Effect.gen(function*() {
      const { admin, api, health, launched, lifecycle, server } = yield* launch({
        drainDelay: "5 seconds",
        statuses: { [echo]: "SERVING" }
      })
      const [onApi, onAdmin] = [HealthClient.watch(api), HealthClient.watch(admin, echo)]
      yield* seen(onApi, "SERVING")
      yield* seen(onAdmin, "SERVING")
      yield* lifecycle.stop
      yield* seen(onApi, "SERVING", "NOT_SERVING")
      yield* seen(onAdmin, "SERVING", "NOT_SERVING")
      assert.strictEqual(lifecycle.phase(), "Announced")
      assert.isTrue(server("api").isAdmitting())
      assert.strictEqual(health.get(""), "NOT_SERVING")

      yield* health.set("", "SERVING")
      yield* health.setAll("SERVING")
      yield* health.set("new.Service", "SERVING")
      yield* health.remove(echo)
      assert.deepStrictEqual(Array.from(health.statuses()), [["", "NOT_SERVING"], [echo, "NOT_SERVING"]])
      assert.strictEqual(yield* HealthClient.check(api), "NOT_SERVING")
      assert.strictEqual(yield* code(HealthClient.check(api, "new.Service")), status.NOT_FOUND)

      assert.isTrue(Exit.isSuccess(yield* drive(launched)))
      assert.strictEqual(yield* onApi.end, status.OK)
      assert.strictEqual(yield* onAdmin.end, status.OK)
      assert.deepStrictEqual(onApi.seen, ["SERVING", "NOT_SERVING"])
    }))

  it.effect("scenario 55: watchers do not hold the stop of the process", () =>
    Effect.gen(function*() {
      const { admin, api, launched, lifecycle } = yield* launch()
      const watchers = [HealthClient.watch(api), HealthClient.watch(admin), HealthClient.watch(admin, "unknown")]
      yield* EchoServer.until("all watch", () => watchers.every(({ seen }) => seen.length === 1))
      yield* lifecycle.stop
      const report = yield* Fiber.join(launched)
      assert.deepStrictEqual(report.resources.map(({ name, outcome }) => [name, outcome]), [
        ["api", "graceful"],
        ["admin", "graceful"]
      ])
    }))

  it.effect("scenario 56: the server that stops last answers NOT_SERVING until then", () =>
    Effect.gen(function*() {
      const gate = yield* EchoServer.makeGate
      const { admin, launched, lifecycle, server, target } = yield* launch({}, {
        say: ({ text }) => Effect.as(gate.pass, { text })
      })
      const rpc = yield* Effect.forkChild(
        Effect.flatMap(EchoClient.make(target("api")), (client) => EchoClient.say(client, "hello"))
      )
      yield* gate.reached
      yield* lifecycle.stop
      yield* EchoServer.until("the api drains", () => !server("api").isAdmitting())
      assert.strictEqual(yield* HealthClient.check(admin), "NOT_SERVING")
      assert.strictEqual(yield* HealthClient.poll(target("admin")), "NOT_SERVING")
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(rpc), "hello")
      assert.isTrue(Exit.isSuccess(yield* drive(launched)))
    }))

  it.effect("scenario 58: a poller does not keep the drain delay from ending after a quiet period", () =>
    Effect.gen(function*() {
      const { api, launched, lifecycle, server } = yield* launch({
        budget: "2 minutes",
        drainDelay: "1 minute",
        quietPeriod: "12 seconds"
      })
      yield* lifecycle.stop
      yield* EchoServer.until("it is announced", () => server("api").phase() === "Announced")
      for (let second = 0; second < 12; second++) {
        if (second % 10 === 5) assert.strictEqual(yield* HealthClient.check(api), "NOT_SERVING")
        assert.strictEqual(lifecycle.phase(), "Announced")
        yield* TestClock.adjust("1 second")
      }
      yield* EchoServer.until("the process drains", () => lifecycle.phase() !== "Announced")
      yield* drive(launched)
    }))

  it.effect("on request all are NOT_SERVING until the process is ready; then watchers are told", () =>
    Effect.gen(function*() {
      const warm = Deferred.makeUnsafe<void>()
      const { api, health, lifecycle } = yield* launch({ notServingUntilReady: true, warmUp: Deferred.await(warm) })
      const watching = HealthClient.watch(api)
      yield* seen(watching, "NOT_SERVING")
      yield* health.set(echo, "SERVING")
      assert.strictEqual(yield* HealthClient.check(api, echo), "NOT_SERVING")
      assert.strictEqual(lifecycle.phase(), "Starting")
      yield* Deferred.succeed(warm, undefined)
      yield* seen(watching, "NOT_SERVING", "SERVING")
      assert.strictEqual(yield* HealthClient.check(api, echo), "SERVING")
    }))

  it.effect("without that they are what the program says while it starts", () =>
    Effect.gen(function*() {
      const { api, lifecycle } = yield* launch({ warmUp: Effect.never })
      assert.strictEqual(yield* HealthClient.check(api), "SERVING")
      assert.strictEqual(lifecycle.phase(), "Starting")
    }))
})
