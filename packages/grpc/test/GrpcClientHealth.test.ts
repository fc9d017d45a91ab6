import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcClientHealth from "@lastcall/grpc/GrpcClientHealth"
import * as GrpcClientMiddleware from "@lastcall/grpc/GrpcClientMiddleware"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { HealthCheckResponse_ServingStatus as ServingStatus } from "../src/gen/grpc/health/v1/health_pb.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
import * as Logs from "./Logs.ts"

type Health = GrpcClientHealth.GrpcClientHealth["Service"]

const service = EchoService.typeName

/** A server with health, in a scope of its own. */
const serve = Effect.fnUntraced(function*(options: GrpcHealth.Options = {}, port = 0) {
  const scope = yield* Scope.make()
  const context = yield* Layer.buildWithScope(Layer.merge(GrpcHealth.layer(options), EchoServer.layer()), scope)
  const server = yield* GrpcServer.make("api", {
    services: [EchoServer.Echo, GrpcHealth.Health],
    listen: [GrpcListener.tcp({ port, host: "127.0.0.1" })]
  }).pipe(Effect.provideContext(context), Scope.provide(scope))
  yield* Effect.addFinalizer(() => Effect.andThen(server.escalate, Scope.close(scope, Exit.void)))
  const address = server.addresses()[0]!
  return {
    server,
    close: Scope.close(scope, Exit.void),
    health: Context.get(context, GrpcHealth.GrpcHealth),
    address: GrpcListener.target(address),
    port: address._tag === "Tcp" ? address.port : 0
  }
})

const watch = (channel: GrpcChannel.GrpcChannel["Service"], options?: GrpcClientHealth.Options) =>
  Effect.provideService(GrpcClientHealth.make(options), GrpcChannel.GrpcChannel, channel)

const until = (health: Health, status: GrpcClientHealth.Status) =>
  EchoServer.until(`the status is ${status}, not ${health.status()}`, () => health.status() === status)

/** A health service whose Watch is made of these, one for each time that it is asked, in process; the last one stays. */
const scripted = Effect.fnUntraced(function*(
  ...watches: ReadonlyArray<Stream.Stream<GrpcHealth.WatchedStatus, GrpcError.GrpcError>>
) {
  let asked = 0
  const channel = yield* GrpcInProcess.make({ services: [GrpcHealth.Health] }).pipe(
    Effect.provide(GrpcHealth.Health.toLayer({
      check: () => Effect.succeed({}),
      list: () => Effect.succeed({}),
      watch: () =>
        Stream.suspend(() =>
          Stream.map(
            watches[Math.min(asked++, watches.length - 1)]!,
            (status) => ({ status: ServingStatus[status] })
          )
        )
    }))
  )
  return { channel, asked: () => asked }
})

/** Not random at all. */
const always = (value: number) => ({ nextDoubleUnsafe: () => value, nextIntUnsafe: () => 0 })

const broken = Stream.fail(GrpcError.unavailable("broken"))

describe("the health of a service", () => {
  it.effect("is what its server says, for as long as it is watched", () =>
    Effect.gen(function*() {
      const { address, health } = yield* serve({ statuses: { [service]: "NOT_SERVING" } })
      const channel = yield* GrpcChannel.make({ address })
      const own = yield* watch(channel, { service })
      const server = yield* watch(channel)
      const other = yield* watch(channel, { service: "other" })
      assert.strictEqual(own.service, service)
      yield* server.awaitServing
      yield* until(other, "SERVICE_UNKNOWN")
      yield* until(own, "NOT_SERVING")
      const serving = yield* Effect.forkChild(own.awaitServing)
      const seen: Array<GrpcClientHealth.Status> = []
      yield* Effect.forkChild(Stream.runForEach(own.changes, (status) => Effect.sync(() => seen.push(status))))
      yield* EchoServer.until("the status is seen", () => seen.length === 1)
      yield* health.set(service, "SERVING")
      yield* Fiber.join(serving)
      yield* EchoServer.until("the status is seen", () => seen.length === 2)
      yield* health.set(service, "UNKNOWN")
      yield* EchoServer.until("the status is seen", () => seen.length === 3)
      assert.deepStrictEqual(seen, ["NOT_SERVING", "SERVING", "UNKNOWN"])
      assert.deepStrictEqual(seen.map(GrpcClientHealth.isServing), [false, true, false])
    }))

  it.effect("is CONNECTING until the server is there, and again after it has gone, without anyone making RPCs", () =>
    Effect.gen(function*() {
      const first = yield* serve()
      const channel = yield* GrpcChannel.make({
        address: first.address,
        reconnect: { initialBackoff: "100 millis", maxBackoff: "100 millis" }
      })
      const health = yield* watch(channel)
      yield* health.awaitServing
      const statuses: Array<GrpcClientHealth.Status> = []
      yield* Effect.forkChild(Stream.runForEach(health.changes, (status) => Effect.sync(() => statuses.push(status))))
      const closing = yield* Effect.forkChild(first.close)
      // The Watch ended with OK after a message: asked again at once, and no server is there.
      yield* until(health, "CONNECTING")
      yield* Fiber.join(closing)
      yield* serve({}, first.port)
      yield* health.awaitServing
      assert.deepStrictEqual([statuses[0], statuses.at(-2), statuses.at(-1)], ["SERVING", "CONNECTING", "SERVING"])
    }))

  it.effect("that the server does not tell counts as serving, is logged once, and asked again on a new connection", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const without = yield* EchoServer.make()
      const channel = yield* GrpcChannel.make({
        address: without.target,
        name: "users",
        reconnect: { initialBackoff: "100 millis", maxBackoff: "100 millis" }
      })
      const health = yield* Effect.provide(watch(channel), logs.layer)
      yield* health.awaitServing
      assert.strictEqual(health.status(), "UNIMPLEMENTED")
      const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
      yield* without.close
      yield* EchoServer.until("the connection is gone", () => channel.state() !== "READY")
      const again = yield* EchoServer.make({}, { listen: GrpcListener.tcp({ port: without.port, host: "127.0.0.1" }) })
      const states: Array<GrpcClientHealth.Status> = []
      yield* Effect.forkChild(Stream.runForEach(health.changes, (status) => Effect.sync(() => states.push(status))))
      // It does not connect for this alone.
      yield* echo.say({ text: "" }, { waitForReady: true })
      yield* EchoServer.until("it was asked again", () => states.length === 3)
      assert.deepStrictEqual(states, ["UNIMPLEMENTED", "CONNECTING", "UNIMPLEMENTED"])
      yield* again.close
      yield* EchoServer.until("the connection is gone", () => channel.state() !== "READY")
      const third = yield* serve({}, without.port)
      yield* echo.say({ text: "" }, { waitForReady: true })
      yield* until(health, "SERVING")
      yield* third.close
      assert.deepStrictEqual(logs.lines.filter((line) => line.includes("no health service")), [
        "WARN users: the server has no health service; it counts as serving"
      ])
    }))

  /** Breaks off, and is asked again after so many milliseconds. */
  const expectPause = (asked: () => number, health: Health, pause: number) =>
    Effect.gen(function*() {
      yield* EchoServer.until("it broke", () => health.status() === "UNREACHABLE")
      const before = asked()
      // The pause may have begun within the last milliseconds that the clock was moved on.
      yield* TestClock.adjust(Math.floor(pause) - 20)
      assert.strictEqual(asked(), before)
      yield* TestClock.adjust(21)
      yield* EchoServer.until("it was asked again", () => asked() > before)
    })

  it.effect("a Watch that breaks is made again after 1, 1.6, 2.56 seconds and so on, 2 minutes at most", () =>
    Effect.gen(function*() {
      const { asked, channel } = yield* scripted(broken)
      const health = yield* watch(channel).pipe(Effect.provideService(Random.Random, always(0.5)))
      for (let n = 0; n < 13; n++) {
        yield* expectPause(asked, health, Math.min(1_000 * 1.6 ** n, 120_000))
      }
    }))

  for (const [random, pause] of [[0, 800], [1 - Number.EPSILON, 1_200]] as const) {
    it.effect(`which is a fifth more or less: ${pause} milliseconds`, () =>
      Effect.gen(function*() {
        const { asked, channel } = yield* scripted(broken)
        const health = yield* watch(channel).pipe(Effect.provideService(Random.Random, always(random)))
        yield* expectPause(asked, health, pause)
      }))
  }

  it.effect("a message resets that: the next Watch is made at once, the one after it after 1 second", () =>
    Effect.gen(function*() {
      const { asked, channel } = yield* scripted(
        broken,
        broken,
        Stream.concat(Stream.make("SERVING"), broken),
        broken,
        Stream.concat(Stream.make("SERVING"), Stream.never)
      )
      const health = yield* watch(channel).pipe(Effect.provideService(Random.Random, always(0.5)))
      yield* expectPause(asked, health, 1_000)
      yield* EchoServer.until("it broke", () => asked() === 2 && health.status() === "UNREACHABLE")
      yield* TestClock.adjust(1_600)
      // The third brings a message, and the fourth is not waited for.
      yield* EchoServer.until("it was asked", () => asked() === 4)
      yield* expectPause(asked, health, 1_000)
      yield* health.awaitServing
      assert.strictEqual(asked(), 5)
    }))

  it.effect("a Watch that ends with OK is made again as well", () =>
    Effect.gen(function*() {
      const { asked, channel } = yield* scripted(Stream.empty, Stream.concat(Stream.make("SERVING"), Stream.never))
      const health = yield* watch(channel)
      yield* until(health, "UNREACHABLE")
      yield* TestClock.adjust(1_200)
      yield* health.awaitServing
      assert.strictEqual(asked(), 2)
    }))

  it.effect("has no deadline: not that of the RPC that is being served, not one by middleware", () =>
    Effect.gen(function*() {
      let deadline = 0
      const watched = Latch.makeUnsafe(false)
      const channel = yield* GrpcInProcess.make({ services: [GrpcHealth.Health] }).pipe(
        Effect.provide(GrpcHealth.Health.toLayer({
          check: () => Effect.succeed({}),
          list: () => Effect.succeed({}),
          watch: () =>
            Stream.fromEffect(Effect.map(GrpcCall.GrpcCall, (call) => {
              deadline = call.deadline
              watched.openUnsafe()
              return {}
            }))
        }))
      )
      const { target } = yield* EchoServer.make({
        say: ({ text }) => Effect.as(Effect.andThen(watch(channel), watched.await), { text })
      })
      const front = yield* GrpcChannel.make({ address: target })
      const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, front)
      yield* echo.say({ text: "" }, { deadline: "1 minute" })
      assert.strictEqual(deadline, Number.POSITIVE_INFINITY)
      watched.closeUnsafe()
      yield* Effect.provide(watch(channel), GrpcClientMiddleware.layer([GrpcClientMiddleware.deadline("1 second")]))
      yield* watched.await
      assert.strictEqual(deadline, Number.POSITIVE_INFINITY)
    }))
})

describe("the end of a watch", () => {
  it.effect("by its scope: the server sees that it was cancelled, waiters fail, changes end", () =>
    Effect.gen(function*() {
      const interrupted = Latch.makeUnsafe(false)
      const { channel } = yield* scripted(
        Stream.concat(
          Stream.make("NOT_SERVING"),
          Stream.fromEffect(Effect.onInterrupt(Effect.never, () => interrupted.open))
        )
      )
      const scope = yield* Scope.make()
      const health = yield* Scope.provide(watch(channel), scope)
      yield* until(health, "NOT_SERVING")
      const waiting = yield* Effect.forkChild(Effect.flip(health.awaitServing))
      const changes = yield* Effect.forkChild(Stream.runCollect(health.changes))
      yield* Effect.yieldNow
      yield* Scope.close(scope, Exit.void)
      yield* interrupted.await
      assert.strictEqual((yield* Fiber.join(waiting)).code, "UNAVAILABLE")
      assert.deepStrictEqual(yield* Fiber.join(changes), ["NOT_SERVING", "SHUTDOWN"])
    }))

  it.effect("with the channel, which does not wait for it and does not count it", () =>
    Effect.gen(function*() {
      const { address, server } = yield* serve()
      const channel = yield* GrpcChannel.make({ address, stop: { grace: "1 hour" } })
      const health = yield* watch(channel)
      yield* health.awaitServing
      assert.deepStrictEqual(channel.inFlight(), [])
      assert.strictEqual(server.inFlight().length, 1)
      // Virtual time stands still: it waits neither for a grace period nor for a lingering connection.
      const report = yield* channel.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.strictEqual(report.counts.admitted, 0)
      yield* until(health, "SHUTDOWN")
      assert.strictEqual((yield* Effect.flip(health.awaitServing)).code, "UNAVAILABLE")
      yield* EchoServer.until("the server has no RPC", () => server.inFlight().length === 0)
    }))

  it.effect("while it waits for a server, or for its backoff", () =>
    Effect.gen(function*() {
      const gone = yield* serve()
      yield* gone.close
      const channel = yield* GrpcChannel.make({ address: gone.address })
      const health = yield* watch(channel)
      yield* EchoServer.until("it cannot connect", () => channel.state() === "TRANSIENT_FAILURE")
      assert.strictEqual(health.status(), "CONNECTING")
      yield* channel.stop
      yield* until(health, "SHUTDOWN")
      const { channel: breaking } = yield* scripted(broken)
      const backingOff = yield* watch(breaking)
      yield* until(backingOff, "UNREACHABLE")
      yield* breaking.stop
      yield* until(backingOff, "SHUTDOWN")
    }))
})
