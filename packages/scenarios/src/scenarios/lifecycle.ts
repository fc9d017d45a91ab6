import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as net from "node:net"
import { join } from "node:path"
import * as Client from "../Client.ts"
import * as Ground from "../Ground.ts"
import type { Address } from "../Plan.ts"
import * as Running from "../Running.ts"
import { expect, Failed, type Group, until } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"
import { expectEarly, shortGrace } from "./transport.ts"

const returned = (running: Running.Running, times: number) =>
  until(Effect.sync(() => running.said("StopReturned").length === times), `of ${times} stops not all returned`, 10_000)

/** Stops it in the moment in which it begins to bind: it must not listen in the end. */
const stopDuringBind = (subject: Subject) =>
  Effect.gen(function*() {
    const running = yield* Running.start(subject, { servers: [{ name: "api" }], stopDuringBind: true })
    const { at } = yield* running.awaitSaid("BindOver")
    if (at !== undefined) {
      yield* until(
        Effect.map(Running.accepts(at), (does) => !does),
        "a bind that a stop overtook listens for ever",
        3_000
      )
    }
    yield* running.stop()
    yield* running.ended
  })

/** Of two servers the second cannot bind: the process ends, and with it the first. */
const bindFails = (subject: Subject) =>
  Effect.gen(function*() {
    const taken = yield* Effect.acquireRelease(
      Effect.callback<net.Server>((resume) => {
        const server = net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    const { port } = taken.address() as net.AddressInfo
    const running = yield* Running.launch(subject, { servers: [{ name: "api", listen: { port } }, Running.admin] })
    const { code } = yield* running.ended
    yield* expect(code !== 0, "a program whose server could not bind exits with 0")
  })

/** A successor binds while the predecessor drains. */
const rebinds = (subject: Subject, listen: Address) =>
  Effect.gen(function*() {
    const one = yield* Running.start(subject, { servers: [{ name: "api", listen }] })
    const client = yield* Client.make(one.at())
    const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
    yield* one.handler("a", "started")
    yield* one.stop()
    yield* one.refusing()
    const two = yield* Running.start(subject, { servers: [{ name: "api", listen: one.at() }] })
    yield* one.open("a")
    yield* Client.expectOk("the RPC in flight", yield* Fiber.join(rpc))
    yield* expectEarly(one)
    yield* answers(two, "the successor")
    return two
  })

const answers = (running: Running.Running, what: string) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* Client.make(running.at())
    yield* Client.expectOk(what, yield* client.unary({ id: "hello" }))
  }))

const fails = (effect: Effect.Effect<unknown, Failed, never>, how: string) =>
  Effect.matchEffect(effect, { onSuccess: () => Effect.fail(new Failed({ how })), onFailure: () => Effect.void })

export const lifecycle: Group = {
  title: "Lifecycle",
  scenarios: [
    {
      number: 37,
      title: "three stops at the same time all return",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.command({ _tag: "Stop", times: 3 })
          yield* running.refusing()
          yield* running.open("a")
          yield* Client.expectOk("the RPC", yield* Fiber.join(rpc))
          yield* returned(running, 3)
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 38,
      title: "concurrent stops share one report",
      needs: ["report"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          yield* answers(running, "an RPC")
          yield* running.command({ _tag: "Stop", times: 3 })
          yield* returned(running, 3)
          const reports = new Set(running.said("StopReturned").map(({ report }) => JSON.stringify(report)))
          yield* expect(reports.size === 1, "the reports differ")
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 39,
      title: "a force during a graceful stop: both return",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.command({ _tag: "Stop", times: 1 })
          yield* running.refusing()
          yield* running.command({ _tag: "Force" })
          yield* running.awaitSaid("ForceReturned")
          yield* returned(running, 1)
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 40,
      title: "a stop before the start",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { servers: [{ name: "api" }] })
          yield* running.command({ _tag: "Stop", times: 1 })
          yield* returned(running, 1)
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 41,
      title: "a start after the stop fails, with an error of its own type",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          yield* running.command({ _tag: "Stop", times: 1 })
          yield* returned(running, 1)
          yield* running.command({ _tag: "Listen" })
          yield* until(
            Effect.sync(() => running.said("ListenFailed").length + running.said("ListenSucceeded").length > 0),
            "a start after the stop neither succeeds nor fails",
            10_000
          )
          const failed = running.said("ListenFailed")[0]
          yield* expect(failed !== undefined, "it starts again")
          yield* expect(
            failed!.type !== "Error" && failed!.type !== "TypeError",
            `it fails with a bare ${failed!.type}: ${failed!.message.slice(0, 60)}`
          )
          yield* running.stop()
          yield* running.ended
        })
    },
    {
      number: 42,
      title: "a stop during the bind; a bind that fails releases the servers before it",
      check: (subject) => Effect.andThen(stopDuringBind(subject), bindFails(subject))
    },
    {
      number: 43,
      title: "port and socket file can be used again at once; a stale file is replaced, a live one not stolen",
      check: (subject) =>
        Effect.gen(function*() {
          yield* Effect.scoped(rebinds(subject, { port: 0 }))
          const path = join(yield* Ground.folder, "api.sock")
          const two = yield* rebinds(subject, { path })
          yield* fails(
            Effect.scoped(Running.start(subject, { servers: [{ name: "api", listen: { path } }] })),
            "a live socket file is stolen"
          )
          yield* answers(two, "the server whose file was wanted")
          yield* two.stop("SIGKILL")
          yield* two.ended
          const three = yield* Effect.mapError(
            Running.start(subject, { servers: [{ name: "api", listen: { path } }] }),
            () => new Failed({ how: "a stale socket file is in the way of the next start" })
          )
          yield* answers(three, "the server after the stale file")
        })
    },
    {
      number: 44,
      title: "the fiber that stops is itself interrupted",
      check: { files: ["packages/grpc/test/GrpcServer.lifecycle.test.ts"], why: "about fibers" }
    },
    {
      number: 45,
      title: "the scope closes once; a failed acquire leaves nothing",
      check: {
        files: ["packages/grpc/test/GrpcListener.tcp.test.ts", "packages/grpc/test/GrpcListener.unix.test.ts"],
        why: "about scopes"
      }
    }
  ]
}

/** Of two servers that stop one after the other. */
export const twoServers = (options: { readonly first?: number; readonly second?: number } = {}) => ({
  servers: [
    { ...Running.api, graceMillis: options.first ?? shortGrace },
    { ...Running.admin, graceMillis: options.second ?? shortGrace }
  ]
})
