import * as grpc from "@grpc/grpc-js"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as OpenLoop from "@lastcall/testing/OpenLoop"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Client from "../Client.ts"
import * as NodeVersions from "../NodeVersions.ts"
import * as Running from "../Running.ts"
import { expect, Failed, type Group, inTime, type Scenario } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"
import { force } from "./force.ts"
import { inFlight } from "./inFlight.ts"
import { connected, expectEarly, shortGrace } from "./transport.ts"

/** Exit codes that say something else than "it was forced". */
const otherCodes: ReadonlySet<number | null> = new Set([null, 0, 1, 130, 137, 143])

const stopped = (subject: Subject, how: NodeJS.Signals, behaviour?: string) =>
  Effect.scoped(Effect.gen(function*() {
    const running = yield* Running.start(subject, { graceMillis: behaviour === undefined ? shortGrace : 200 })
    const client = yield* Client.make(running.at())
    yield* Effect.forkChild(client.unary({ id: "a", behaviour: behaviour ?? "echo" }))
    yield* running.handler("a", "started")
    yield* running.stop(how)
    return yield* running.ended
  }))

/** A process that can be replaced at its port. */
interface Replica {
  readonly running: Running.Running
  readonly scope: Scope.Closeable
}

const startReplica = (subject: Subject, port: number) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const running = yield* Scope.provide(
      Running.start(subject, { graceMillis: 2_000, servers: [{ name: "api", listen: { port } }] }),
      scope
    )
    return { running, scope }
  })

/** Clients of three replicas are told apart by nothing: the load is round robin. */
const channel = { "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }) }

/** How long a new process is held ready before the next one stops; see docs/lifecycle.md. */
const holdMillis = 1_500

const rolling = (subject: Subject) =>
  Effect.gen(function*() {
    const replicas: Array<Replica> = yield* Effect.forEach([0, 0, 0], (port) => startReplica(subject, port))
    const ports = replicas.map(({ running }) => (running.at() as { readonly port: number }).port)
    const target = `ipv4:${ports.map((port) => `127.0.0.1:${port}`).join(",")}`
    const client = yield* Client.make(target, { channel })
    yield* Effect.forEach(ports, () => client.unary({ id: "warm" }), { discard: true })
    const load = yield* OpenLoop.start({
      perSecond: 150,
      send: (n) =>
        Effect.tap(
          client.unary({ id: "load", behaviour: "sleep", count: n * 7 % 50 }),
          (result) => Client.expectOk("an RPC", result)
        )
    })
    let cut = 0
    const watch = Effect.forever(Effect.gen(function*() {
      const rpc = yield* client.serverStream({ id: "watch", behaviour: "watch" })
      const { code } = yield* rpc.result
      if (code !== grpc.status.OK) cut++
    }))
    for (const _ of ports) yield* Effect.forkScoped(Effect.ignore(watch))
    yield* Effect.sleep(500)
    for (const [i, port] of ports.entries()) {
      const { running, scope } = replicas[i]!
      yield* running.stop()
      yield* Effect.ensuring(running.ended, Scope.close(scope, Exit.void))
      replicas[i] = yield* startReplica(subject, port)
      yield* Effect.sleep(holdMillis)
    }
    const watchesCut = cut
    yield* load.end
    const lost = load.failures().length
    const told = `${lost} of ${load.sent()} RPCs lost, ${watchesCut} watches cut`
    yield* expect(lost === 0 && watchesCut === 0, told)
    return told
  })

/** What the others' program promises, and what Lastcall's does, on another node. */
const onNode = (subject: Subject, scenarios: ReadonlyArray<Scenario>) => (major: number) =>
  Effect.gen(function*() {
    const node = yield* NodeVersions.install(major)
    for (const { check, number } of scenarios) {
      if (typeof check !== "function") continue
      yield* Effect.mapError(
        Effect.scoped(check({ ...subject, node })),
        ({ how }) => new Failed({ how: `scenario ${number} on node ${major}: ${how}` })
      )
    }
  })

export const processes: Group = {
  title: "Process",
  scenarios: [
    {
      number: 59,
      title: "SIGTERM, SIGINT: exit 0; a forced stop has a code of its own",
      check: (subject) =>
        Effect.gen(function*() {
          const [term, int, forced] = yield* Effect.all([
            stopped(subject, "SIGTERM"),
            stopped(subject, "SIGINT"),
            stopped(subject, "SIGTERM", "never")
          ], { concurrency: "unbounded" })
          yield* expect(term.code === 0, `SIGTERM: a clean stop exits with ${term.code ?? term.signal}`)
          yield* expect(int.code === 0, `SIGINT: a clean stop exits with ${int.code ?? int.signal}`)
          const { code, signal } = forced
          yield* expect(!otherCodes.has(code), `a forced stop exits with ${code ?? signal}, as others do`)
          return `${code}`
        })
    },
    {
      number: 60,
      title: "the second signal forces, and everything is still released",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.stopAgain()
          const { openAtRelease, signal } = yield* expectEarly(running)
          yield* expect(signal === null, `${signal} killed the process, and nothing was released`)
          yield* expect(openAtRelease === 0, "the database was not released")
          yield* Client.expectUnavailable("the client", yield* Fiber.join(rpc))
        })
    },
    {
      number: 61,
      title: "nothing keeps node alive after a stop that no signal asked for",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const client = yield* Client.make(running.at())
          yield* Client.expectOk("an RPC", yield* client.unary({ id: "a" }))
          const rpc = yield* Effect.forkChild(client.unary({ id: "b", behaviour: "gate" }))
          yield* running.handler("b", "started")
          yield* running.stop("command")
          yield* running.refusing()
          yield* running.open("b")
          yield* Client.expectOk("the RPC in flight", yield* Fiber.join(rpc))
          yield* expectEarly(running)
        })
    },
    {
      number: 62,
      title: "all servers hang: together they end within the budget",
      check: (subject) =>
        Effect.gen(function*() {
          const budgetMillis = 2_000
          const names = ["api", "admin", "jobs"]
          const running = yield* Running.start(subject, {
            servers: names.map((name) => ({ name, listen: { port: 0 } })),
            graceMillis: 1_500,
            forceMillis: 200,
            budgetMillis
          })
          for (const name of names) {
            const client = yield* Client.make(running.at(name))
            yield* Effect.forkChild(client.unary({ id: name, behaviour: "never" }))
            yield* running.handler(name, "started")
          }
          yield* running.stop()
          const { millis, report } = yield* running.ended
          const took = report?.durations.total ?? millis
          yield* expect(
            took <= budgetMillis + 1_000,
            `took ${(took / 1_000).toFixed(1)} s of a budget of 2 s`
          )
        })
    },
    {
      number: 63,
      title: "rolling restart of three replicas under open-loop load and watches: no failures",
      isSlow: true,
      check: rolling
    },
    {
      number: 64,
      title: "connections of one age do not all go away at once",
      needs: ["connection age"],
      isSlow: true,
      check: (subject) =>
        Effect.gen(function*() {
          const age = 2_000
          const running = yield* Running.start(subject, {
            servers: [{ ...Running.api, maxConnectionAgeMillis: age }]
          })
          const peers = yield* Effect.forEach(
            Array.from({ length: 30 }),
            () => connected(HostilePeer.neverClosing(running.at())),
            { concurrency: "unbounded" }
          )
          const times = yield* inTime(
            Effect.forEach(peers, (peer) =>
              Effect.as(
                peer.awaitFrame(({ type }) => type === Http2Frame.types.goaway),
                undefined
              ).pipe(Effect.map(() => performance.now())), { concurrency: "unbounded" }),
            "not every connection got its GOAWAY"
          )
          const spread = Math.max(...times) - Math.min(...times)
          // a tenth more or less, of which 30 peers see most
          yield* expect(spread > age / 20, `30 connections got their GOAWAYs within ${Math.round(spread)} ms`)
          return `${Math.round(spread)} ms between the first and the last of 30; a stop sends all at once`
        })
    },
    {
      number: 65,
      title: "node 22, 24 and 26",
      isSlow: true,
      check: (subject) => {
        const numbers = subject.id === "lastcall" ? [11, 15, 24, 28, 36] : [11, 12]
        const scenarios = [...inFlight.scenarios, ...force.scenarios].filter(({ number }) => numbers.includes(number))
        return Effect.as(
          Effect.forEach([22, 24, 26], onNode(subject, scenarios), { discard: true }),
          `scenarios ${numbers.join(", ")} on each`
        )
      }
    }
  ]
}
