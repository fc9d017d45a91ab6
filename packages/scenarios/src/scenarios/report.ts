import type { StopReport } from "@lastcall/core/StopReport"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { join } from "node:path"
import * as Client from "../Client.ts"
import * as Ground from "../Ground.ts"
import type { ServerPlan } from "../Plan.ts"
import * as Running from "../Running.ts"
import { expect, Failed, type Group, until } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"
import { twoServers } from "./lifecycle.ts"
import { expectEarly, shortGrace } from "./transport.ts"

const reportOf = (stopped: Running.Stopped, name = "api"): Effect.Effect<StopReport, Failed> => {
  const report = stopped.report?.resources.find((report) => report.name === name)
  return report === undefined ? Effect.fail(new Failed({ how: `no report of ${name}` })) : Effect.succeed(report)
}

const adds = ({ counts }: StopReport): boolean =>
  counts.admitted ===
    counts.succeeded + counts.failed + counts.interrupted + counts.destroyed + counts.abandoned

/** RPCs that end in every way, and one that is cut. */
const mixture = (subject: Subject) =>
  Effect.gen(function*() {
    const running = yield* Running.start(subject, { graceMillis: 500, forceMillis: 500 })
    const client = yield* Client.make(running.at())
    for (let i = 0; i < 3; i++) yield* client.unary({ id: `ok ${i}` })
    const dying = yield* Effect.forkChild(client.unary({ id: "dies", behaviour: "dies" }))
    const cancelled = yield* Effect.forkChild(client.unary({ id: "cancelled", behaviour: "never" }))
    yield* Effect.forkChild(client.unary({ id: "never", behaviour: "never" }))
    yield* Effect.forkChild(client.unary({ id: "deaf", behaviour: "deaf" }))
    for (const id of ["dies", "cancelled", "never", "deaf"]) yield* running.handler(id, "started")
    yield* running.open("dies")
    yield* Fiber.join(dying)
    yield* Fiber.interrupt(cancelled)
    yield* running.handler("cancelled", "interrupted")
    yield* running.stop()
    return yield* running.ended
  })

/** Serves, and stops with an RPC in flight. */
const over = (subject: Subject, server: ServerPlan) =>
  Effect.scoped(Effect.gen(function*() {
    const what = server.listen !== undefined && "path" in server.listen ? "unix" : server.transport!
    const running = yield* Running.start(subject, { servers: [server], graceMillis: shortGrace })
    const client = yield* Client.make(running.at(), { transport: server.transport })
    const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
    yield* running.handler("a", "started")
    yield* running.stop()
    yield* running.refusing()
    yield* running.open("a")
    yield* Client.expectOk(what, yield* Fiber.join(rpc))
    yield* Effect.mapError(expectEarly(running), ({ how }) => new Failed({ how: `${what}: ${how}` }))
  }))

const sockets = (names: ReadonlyArray<string>): number => names.filter((name) => /^(TCP|TLS)/.test(name)).length
const timers = (names: ReadonlyArray<string>): number => names.filter((name) => name === "Timeout").length

const resources = (running: Running.Running) =>
  Effect.gen(function*() {
    const seen = running.said("Resources").length
    yield* running.command({ _tag: "Resources" })
    yield* until(Effect.sync(() => running.said("Resources").length > seen), "it does not answer")
    return running.said("Resources").at(-1)!.names
  })

export const report: Group = {
  title: "Report",
  scenarios: [
    {
      number: 66,
      title: "graceful or forced, duration, counts, blockers by method and age",
      needs: ["report"],
      check: (subject) =>
        Effect.gen(function*() {
          const stopped = yield* mixture(subject)
          const { blockers, counts, durations, forcedBy, outcome } = yield* reportOf(stopped)
          yield* expect(outcome === "forced" && forcedBy === "grace", `the outcome is ${outcome} by ${forcedBy}`)
          yield* expect(durations.draining >= 500, `a grace of 500 ms took ${durations.draining} ms`)
          yield* expect(counts.succeeded === 3, `of 3 RPCs ${counts.succeeded} succeeded`)
          yield* expect(
            blockers.length === 2 &&
              blockers.every(({ ageMillis, kind }) => kind.endsWith("ScenarioService/Unary") && ageMillis >= 500),
            `the blockers are ${JSON.stringify(blockers)}`
          )
        })
    },
    {
      number: 67,
      title: "the events of the stop come in order",
      needs: ["report"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, twoServers({ first: 300 }))
          const client = yield* Client.make(running.at())
          yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.ended
          const events = running.said("StopEvent").map(({ event }) => `${event.resource} ${event._tag}`)
          const told = events.filter((event) => !event.endsWith("StillRunning"))
          const announced = told.splice(0, 2).toSorted().join(", ")
          yield* expect(announced === "admin Announced, api Announced", `first came ${announced}`)
          const expected = [
            "api DrainStarted",
            "api DrainCut",
            "api Interrupted",
            "api Destroyed",
            "api Stopped",
            "admin DrainStarted",
            "admin Stopped"
          ]
          yield* expect(told.join() === expected.join(), `the events were ${told.join(", ")}`)
        })
    },
    {
      number: 68,
      title: "telemetry of the stop is exported before the exit",
      needs: ["telemetry"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { telemetry: true, graceMillis: 300 })
          const client = yield* Client.make(running.at())
          yield* client.unary({ id: "a" })
          yield* Effect.forkChild(client.unary({ id: "b", behaviour: "never" }))
          yield* running.handler("b", "started")
          yield* running.stop()
          yield* running.ended
          const spans = running.said("Exported")[0]?.spans ?? []
          const rpcs = spans.filter((name) => name.endsWith("/Unary")).length
          yield* expect(rpcs === 2, `the spans of ${rpcs} of 2 RPCs were exported: ${spans.join(", ")}`)
          yield* expect(spans.includes("stop"), `the span of the stop was not exported: ${spans.join(", ")}`)
        })
    },
    {
      number: 69,
      title: "accounting adds up: admitted = succeeded + failed + interrupted + destroyed + abandoned",
      needs: ["report"],
      check: (subject) =>
        Effect.gen(function*() {
          const report = yield* Effect.flatMap(mixture(subject), reportOf)
          yield* expect(adds(report), JSON.stringify(report.counts))
          yield* expect(report.counts.admitted === 7, `of 7 RPCs ${report.counts.admitted} were admitted`)
          yield* expect(report.counts.abandoned === 1, `${report.counts.abandoned} handlers were abandoned`)
        })
    },
    {
      number: 70,
      title: "no socket and no timer is left by a server that has stopped in a process that goes on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const before = yield* resources(running)
          for (let i = 0; i < 5; i++) {
            const client = yield* Client.make(running.at())
            yield* Client.expectOk("an RPC", yield* client.unary({ id: `${i}` }, { deadline: Date.now() + 3_600_000 }))
          }
          yield* running.command({ _tag: "Stop", times: 1 })
          yield* running.awaitSaid("StopReturned")
          const clean = (names: ReadonlyArray<string>) => sockets(names) === 0 && timers(names) <= timers(before)
          let after: ReadonlyArray<string> = []
          yield* Effect.ignore(until(
            Effect.map(resources(running), (names) => {
              after = names
              return clean(names)
            }).pipe(Effect.orElseSucceed(() => false)),
            "",
            10_000
          ))
          yield* expect(
            clean(after),
            `left are ${sockets(after)} sockets and ${timers(after) - timers(before)} timers`
          )
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 71,
      title: "certificates are rotated during a drain",
      needs: ["rotation"],
      check: {
        files: ["packages/grpc/test/GrpcCredentials.rotation.test.ts"],
        why: "certificates are fixed when the server is made"
      }
    },
    {
      number: 72,
      title: "plaintext, TLS, mTLS, Unix socket",
      check: (subject) =>
        Effect.gen(function*() {
          for (const transport of ["plaintext", "tls", "mtls"] as const) {
            yield* over(subject, { ...Running.api, transport })
          }
          yield* over(subject, { name: "api", listen: { path: join(yield* Ground.folder, "api.sock") } })
        })
    }
  ]
}
