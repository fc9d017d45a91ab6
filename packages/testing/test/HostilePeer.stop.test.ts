/** Every hostile peer at a Lastcall server: what its stop promises, with each alone and with all of them at once. */
import { assert, describe, it } from "@effect/vitest"
import type { StopReport } from "@lastcall/core/StopReport"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Certificates from "../../grpc/test/Certificates.ts"
import * as EventLoop from "../../grpc/test/EventLoop.ts"
import { Echo } from "./Echo.ts"
import { until } from "./RawServers.ts"

const identity = Certificates.authority("test").issue("localhost")

/** `say` never ends, `spell` sends as much as it can, `join` reads to the end. */
const EchoLive = Echo.toLayer({
  say: () => Effect.never,
  spell: () => Stream.forever(Stream.sync(() => "x".repeat(100_000))),
  join: (requests) => Effect.as(Stream.runDrain(requests), ""),
  chat: (requests) => requests
})

const [say, spell, join] = ["/demo.Echo/Say", "/demo.Echo/Spell", "/demo.Echo/Join"] as const

interface Ports {
  readonly plain: { readonly port: number }
  readonly secure: { readonly port: number }
}

type Make = (ports: Ports) => Effect.Effect<unknown, HostilePeer.HostilePeerError, Scope.Scope>

/** Those that no RPC of theirs is in flight of: nothing waits for them. */
const idle: { readonly [name: string]: Make } = {
  silent: ({ plain }) => HostilePeer.silent(plain),
  "silent at the TLS port": ({ secure }) => HostilePeer.silent(secure),
  stallingTls: ({ secure }) => HostilePeer.stallingTls(secure),
  lateTls: ({ secure }) => HostilePeer.lateTls(secure),
  tlsWithoutPreface: ({ secure }) => HostilePeer.tlsWithoutPreface(secure),
  halfPreface: ({ plain }) => HostilePeer.halfPreface(plain),
  "frozen, idle": ({ plain }) => HostilePeer.frozen(plain, { after: 2 }),
  neverClosing: ({ plain }) => HostilePeer.neverClosing(plain),
  slowWriting: ({ plain }) => HostilePeer.slowWriting(plain, { path: say })
}

/** Those with an RPC in flight: it has the grace period. */
const busy: { readonly [name: string]: Make } = {
  "frozen, with an RPC": ({ plain }) => HostilePeer.frozen(plain, { after: 2, path: say }),
  neverReading: ({ plain }) => HostilePeer.neverReading(plain, spell),
  ignoringGoaway: ({ plain }) => HostilePeer.ignoringGoaway(plain, { path: say }),
  endlessStream: ({ plain }) => HostilePeer.endlessStream(plain, { path: join })
}

/** The report of a stop with these peers, and how many connections it left. */
const stopWith = (peers: ReadonlyArray<Make>, inFlight: number) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const server = yield* GrpcServer.make("api", {
      services: [Echo],
      listen: [
        GrpcListener.tcp({ host: "127.0.0.1", port: 0 }),
        GrpcListener.tcp({ host: "127.0.0.1", port: 0, credentials: GrpcCredentials.tls(identity) })
      ],
      stop: { grace: "5 seconds", forceTimeout: "1 second" }
    }).pipe(Effect.provide(EchoLive), Scope.provide(scope))
    yield* Effect.addFinalizer(() => Effect.andThen(server.escalate, Scope.close(scope, Exit.void)))
    const [plain, secure] = server.addresses().map((address) => ({ port: (address as { readonly port: number }).port }))
    for (const make of peers) yield* make({ plain: plain!, secure: secure! })
    yield* until("all are connected", () => server.connections() === peers.length)
    yield* TestClock.adjust("100 millis")
    yield* until("the RPCs are in flight", () => server.inFlight().length >= inFlight)
    const stopping = yield* Effect.forkChild(Effect.andThen(Scope.close(scope, Exit.void), server.stop))
    for (let i = 0; stopping.pollUnsafe() === undefined; i++) {
      assert.isBelow(i, 2_000, "the stop does not end")
      yield* TestClock.adjust("50 millis")
      yield* EventLoop.turn
    }
    const report = yield* Fiber.join(stopping)
    yield* until("no connection is left", () => server.connections() === 0)
    return report
  }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))

const adds = ({ counts }: StopReport) =>
  assert.strictEqual(
    counts.admitted,
    counts.succeeded + counts.failed + counts.interrupted + counts.destroyed + counts.abandoned
  )

describe("a peer that is idle does not hold the stop", () => {
  it.effect.each(Object.keys(idle))("%s", (name) =>
    Effect.gen(function*() {
      const report = yield* stopWith([idle[name]!], 0)
      assert.strictEqual(report.outcome, "graceful")
      adds(report)
    }))
})

describe("a peer with an RPC in flight is cut when the grace period is over", () => {
  it.effect.each(Object.keys(busy))("%s", (name) =>
    Effect.gen(function*() {
      const report = yield* stopWith([busy[name]!], 1)
      assert.deepStrictEqual([report.outcome, report.forcedBy], ["forced", "grace"])
      assert.isAtMost(report.durations.total, 6_000)
      assert.strictEqual(report.counts.admitted, 1)
      adds(report)
    }))
})

it.effect("rapid resets are counted, each of them, and the stop is graceful", () =>
  Effect.gen(function*() {
    const report = yield* stopWith([({ plain }) => HostilePeer.resetting(plain, { path: join })], 0)
    assert.strictEqual(report.outcome, "graceful")
    adds(report)
  }))

it.effect("all of them at once: it ends within grace period and force timeout, and leaves nothing", () =>
  Effect.gen(function*() {
    const report = yield* stopWith([...Object.values(idle), ...Object.values(busy)], Object.keys(busy).length)
    assert.deepStrictEqual([report.outcome, report.forcedBy], ["forced", "grace"])
    assert.isAtMost(report.durations.total, 6_000)
    assert.strictEqual(report.counts.abandoned, 0)
    adds(report)
  }))
