import { assert, describe, it } from "@effect/vitest"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Misbehaviour from "@lastcall/testing/Misbehaviour"
import * as OpenLoop from "@lastcall/testing/OpenLoop"
import * as ServerProgram from "@lastcall/testing/ServerProgram"
import * as SocketAddress from "@lastcall/testing/SocketAddress"
import * as StopLaws from "@lastcall/testing/StopLaws"
import * as TcpProxy from "@lastcall/testing/TcpProxy"
import { TestOptionError } from "@lastcall/testing/TestOption"
import * as TrackedResource from "@lastcall/testing/TrackedResource"
import * as VirtualTime from "@lastcall/testing/VirtualTime"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { join } from "node:path"
import * as RawServers from "./RawServers.ts"

/** No duration at all, and what no duration may be. */
const noDuration: ReadonlyArray<Duration.Input> = [
  Number.NaN,
  { seconds: Number.NaN },
  -1,
  "-1 millis",
  Duration.millis(-0.5),
  "soon" as Duration.Input
]
const notFinite: ReadonlyArray<Duration.Input> = [...noDuration, "Infinity", Number.POSITIVE_INFINITY]
const notPositive: ReadonlyArray<Duration.Input> = [...notFinite, 0, "0 seconds"]

const notWhole = [Number.NaN, 0.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
const noCount = [...notWhole, -1]

/** Takes whatever it is given where a test has only one kind of value in mind. */
type Use = (value: never) => Effect.Effect<unknown, unknown, Scope.Scope>

const path = "/test.Service/Method"

/** A peer that connects would be refused: an error, where the option is a defect. */
const nobody = { port: 1 }

const make: StopLaws.Make = () => Effect.die("no resource should be made")

const law = StopLaws.laws[0]!

const cases: ReadonlyArray<readonly [where: string, option: string, bad: ReadonlyArray<unknown>, use: Use]> = [
  [
    "HostilePeer.ignoringGoaway",
    "every",
    notPositive,
    (every) => HostilePeer.ignoringGoaway(nobody, { path, every })
  ],
  ["HostilePeer.resetting", "every", notPositive, (every) => HostilePeer.resetting(nobody, { path, every })],
  ["HostilePeer.endlessStream", "every", notPositive, (every) => HostilePeer.endlessStream(nobody, { path, every })],
  ["HostilePeer.slowWriting", "every", notPositive, (every) => HostilePeer.slowWriting(nobody, { path, every })],
  ["HostilePeer.frozen", "after", [...noCount, 0], (after) => HostilePeer.frozen(nobody, { after })],
  ["Misbehaviour.slowToEnd", "duration", noDuration, (duration) => Misbehaviour.slowToEnd(duration)],
  [
    "Misbehaviour.usingAfterRelease",
    "every",
    notPositive,
    (every) => Effect.flatMap(TrackedResource.make, (resource) => Misbehaviour.usingAfterRelease(resource, every))
  ],
  ["Misbehaviour.blocking", "duration", notFinite, (duration) => Misbehaviour.blocking(duration)],
  [
    "OpenLoop.start",
    "perSecond",
    [0, -1, Number.NaN, Number.POSITIVE_INFINITY],
    (perSecond) => OpenLoop.start({ perSecond, send: () => Effect.void })
  ],
  [
    "ServerProgram.endedWithin",
    "patience",
    noDuration,
    (patience) =>
      Effect.flatMap(
        ServerProgram.start(join(import.meta.dirname, "programs/program.mjs"), { args: ["dies"] }),
        ({ endedWithin }) => endedWithin(patience)
      )
  ],
  [
    "SocketAddress",
    "port",
    [...noCount, 65_536],
    (port) => Effect.sync(() => SocketAddress.toConnectOptions({ port }))
  ],
  ["SocketAddress", "port", [65_536], (port) => HostilePeer.silent({ port })],
  ["SocketAddress", "port", [65_536], (port) => TcpProxy.make({ target: { port } })],
  ["StopLaws", "runs", [...noCount, 0], (runs) => StopLaws.check(make, { runs })],
  ["StopLaws", "seed", notWhole, (seed) => StopLaws.check(make, { seed })],
  ["StopLaws", "maxShrinks", noCount, (maxShrinks) => StopLaws.check(make, { maxShrinks })],
  ["StopLaws", "turns", noCount, (turns) => StopLaws.check(make, { turns })],
  ["StopLaws", "linger", notFinite, (linger) => StopLaws.check(make, { linger })],
  ["StopLaws", "linger", notFinite, (linger) => law.check(make, { linger })],
  ["StopLaws", "promises", [[], [9], [0], [1, 2.5], [Number.NaN]], (promises) => StopLaws.check(make, { promises })],
  ["TcpProxy.make", "delay", notFinite, (delay) => TcpProxy.make({ target: nobody, delay })],
  ["VirtualTime.run", "seed", notWhole, (seed) => VirtualTime.run(Effect.void, { seed })],
  ["VirtualTime.run", "turns", noCount, (turns) => VirtualTime.run(Effect.void, { turns })],
  ["VirtualTime.run", "horizon", notFinite, (horizon) => VirtualTime.run(Effect.void, { horizon })],
  ["VirtualTime.settle", "turns", noCount, (turns) => VirtualTime.settle(turns)]
]

describe("an option that makes no sense is a defect that names it, the value and what is allowed", () => {
  it.live.each(cases)("%s: %s", ([where, option, bad, use]) =>
    Effect.gen(function*() {
      for (const value of bad) {
        const exit = yield* Effect.suspend(() => use(value as never)).pipe(
          Effect.scoped,
          Effect.timeout("5 seconds"),
          Effect.exit
        )
        const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
        const defect = reason?._tag === "Die" ? reason.defect : undefined
        assert.instanceOf(defect, TestOptionError, `${String(value)}: ${String(exit)}`)
        const { reason: allowed, ...named } = defect as TestOptionError
        assert.deepInclude(named, { where, option, value })
        assert.match(allowed, /^must be /)
      }
    }))

  it("in words", () => {
    const message = (value: unknown, reason: string) =>
      new TestOptionError({ where: "StopLaws", option: "promises", value, reason }).message
    assert.strictEqual(message([1, 9], "must be some of 1 to 8"), "StopLaws: promises is [1,9]: must be some of 1 to 8")
    assert.strictEqual(message(Number.NaN, "must be finite"), "StopLaws: promises is NaN: must be finite")
    assert.strictEqual(message("soon", "must be a duration"), "StopLaws: promises is \"soon\": must be a duration")
  })

  it("of handlers and registered tests it is thrown where they are made", () => {
    assert.throws(() => Misbehaviour.slowToEnd(Number.NaN), TestOptionError)
    assert.throws(() => Misbehaviour.blocking(-1), TestOptionError)
    const tests: Array<string> = []
    for (const options of [{ promises: [9] }, { runs: 0 }, { linger: Number.NaN }]) {
      assert.throws(() => StopLaws.register((name) => void tests.push(name), make, options), TestOptionError)
    }
    assert.deepStrictEqual(tests, [])
  })
})

describe("an option at the edge of what makes sense works", () => {
  it.effect("a handler may take no time to end, or for ever", () =>
    Effect.gen(function*() {
      for (const [duration, hasEnded] of [[0, true], ["1 day", true], ["Infinity", false]] as const) {
        const fiber = yield* Effect.forkDetach(Misbehaviour.slowToEnd(duration), { startImmediately: true })
        fiber.interruptUnsafe()
        yield* TestClock.adjust("1 day")
        assert.strictEqual(fiber.pollUnsafe() !== undefined, hasEnded, String(duration))
      }
    }))

  it.live("blocking for no time ends", () => Misbehaviour.blocking(0))

  it.live("a program may be waited for without an end, and not at all", () =>
    Effect.gen(function*() {
      const start = (how: string) =>
        ServerProgram.start(join(import.meta.dirname, "programs/program.mjs"), { args: [how] })
      assert.strictEqual((yield* (yield* start("dies")).endedWithin("Infinity")).code, 4)
      assert.isTrue((yield* (yield* start("deaf")).endedWithin(0)).killed)
    }))

  it.effect("a peer takes an interval of less than a millisecond", () =>
    Effect.gen(function*() {
      const server = yield* RawServers.http
      const peer = yield* HostilePeer.resetting(server.address, { path, every: Duration.micros(500n) })
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(peer.opened(), 20)
    }))

  it.live("a seed may be any whole number", () =>
    Effect.gen(function*() {
      for (const seed of [-1, 0, Date.now(), Number.MAX_SAFE_INTEGER]) {
        assert.strictEqual(yield* VirtualTime.run(Effect.succeed("done"), { seed }), "done")
        yield* StopLaws.laws[0]!.check(
          () => Effect.die("made"),
          { seed, runs: 1, maxShrinks: 0 }
        ).pipe(Effect.flip, Effect.tap((found) => Effect.sync(() => assert.strictEqual(found.seed, seed))))
      }
    }))

  it.live("with a horizon of 0 a program may not sleep", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* VirtualTime.run(Clock.currentTimeMillis, { horizon: 0 }), 0)
      const exit = yield* Effect.exit(VirtualTime.run(Effect.sleep(1), { horizon: 0 }))
      assert.deepStrictEqual(exit, Exit.die(new VirtualTime.Stuck({ at: 1, seed: undefined })))
    }))

  it.live("settling for no turn ends in this one", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(VirtualTime.settle(0), { startImmediately: true })
      assert.isDefined(fiber.pollUnsafe())
      yield* Fiber.join(fiber)
    }))
})
