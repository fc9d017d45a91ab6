import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Client from "../Client.ts"
import * as Running from "../Running.ts"
import { expect, type Group } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"
import { expectEarly, heldBy, shortGrace } from "./transport.ts"

/** A stop that is cut soon. */
const soon = { graceMillis: 300, forceMillis: 1_000 }

/** The handler that could not be interrupted is named; nothing else can be done about it. */
const expectNamed = ({ report }: Running.Stopped) => {
  const named = report?.resources.some(({ abandoned }) => abandoned.some(({ kind }) => kind.endsWith("Unary")))
  return expect(named === true, "it ends, but nobody is told of the handler that still runs")
}

export const force: Group = {
  title: "Force",
  scenarios: [
    {
      number: 24,
      title: "a unary RPC that is cut gets UNAVAILABLE and a reason",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, soon)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* Client.expectUnavailable("the client", yield* Fiber.join(rpc))
          yield* running.handler("a", "interrupted")
          yield* running.ended
        })
    },
    {
      number: 25,
      title: "streams that are cut get UNAVAILABLE and a reason",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, soon)
          const client = yield* Client.make(running.at())
          const rpcs = {
            "the server stream": yield* client.serverStream({ id: "server", behaviour: "gate", count: 2 }),
            "the client stream": yield* client.clientStream({ id: "client" }),
            "the bidi stream": yield* client.bidi({ id: "bidi" })
          }
          for (const id of ["server", "client", "bidi"]) yield* running.handler(id, "started")
          yield* running.stop()
          for (const [what, rpc] of Object.entries(rpcs)) yield* Client.expectUnavailable(what, yield* rpc.result)
          yield* running.ended
        })
    },
    {
      number: 26,
      title: "a handler that ignores interruption is bounded and reported",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, soon)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "deaf" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          const stopped = yield* running.ended
          yield* Client.expectUnavailable("the client", yield* Fiber.join(rpc))
          yield* expectNamed(stopped)
        })
    },
    {
      number: 27,
      title: "the same with its client gone",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, soon)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "deaf" }))
          yield* running.handler("a", "started")
          yield* Fiber.interrupt(rpc)
          yield* client.close
          yield* running.stop()
          yield* expectNamed(yield* running.ended)
        })
    },
    {
      number: 28,
      title: "a TCP peer that is silent, and does not close, holds nothing",
      check: heldBy((running) => HostilePeer.silent(running.at()))
    },
    {
      number: 29,
      title: "nor does one at a TLS port that sends no ClientHello, or half of one",
      check: (subject) =>
        Effect.andThen(
          heldBy((running) => HostilePeer.silent(running.at()), { transport: "tls" })(subject),
          heldBy((running) => HostilePeer.stallingTls(running.at()), { transport: "tls" })(subject)
        )
    },
    {
      number: 30,
      title: "nor one that ends its handshake and sends no preface, or ends it during the drain",
      check: (subject) =>
        Effect.andThen(
          heldBy((running) => HostilePeer.tlsWithoutPreface(running.at()), { transport: "tls" })(subject),
          lateHandshake(subject)
        )
    },
    {
      number: 31,
      title: "nor one that sends half a preface",
      check: heldBy((running) => HostilePeer.halfPreface(running.at()))
    },
    {
      number: 32,
      title: "grace 0: what is in flight is cut at once",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: 0 })
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* Client.expectUnavailable("the client", yield* Fiber.join(rpc))
          yield* running.ended
        })
    },
    {
      number: 33,
      title: "grace infinite: the drain waits",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: "forever" })
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* Effect.sleep(1_000)
          yield* running.open("a")
          yield* Client.expectOk("the RPC", yield* Fiber.join(rpc))
          yield* running.ended
        })
    },
    {
      number: 34,
      title: "an RPC that ends exactly at the deadline is answered",
      check: { files: ["packages/grpc/test/GrpcServer.force.test.ts"], why: "needs virtual time" }
    },
    {
      number: 35,
      title: "a force during the GOAWAY phase still answers every RPC",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const client = yield* Client.make(running.at())
          const rpcs = yield* Effect.forEach(Array.from({ length: 20 }, (_, i) => `${i}`), (id) =>
            Effect.forkChild(client.unary({ id, behaviour: "never" })))
          yield* running.handler("19", "started")
          yield* running.stop("SIGTERM")
          yield* running.stopAgain("SIGINT")
          for (const rpc of rpcs) {
            yield* Client.expectUnavailable("a client", yield* Fiber.join(rpc))
          }
          yield* expectEarly(running)
        })
    },
    {
      number: 36,
      title: "dependencies are released only after the handlers have ended, cleaning up included",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, soon)
          const client = yield* Client.make(running.at())
          yield* Effect.forkChild(client.unary({ id: "a", behaviour: "cleans up", count: 300 }))
          yield* running.handler("a", "started")
          yield* running.stop()
          const { openAtRelease, usedAfterRelease } = yield* running.ended
          yield* expect(openAtRelease !== undefined, "the database was never released")
          yield* expect(
            openAtRelease === 0 && usedAfterRelease === 0,
            `the database was released under ${openAtRelease} handler, and used ${usedAfterRelease} times after it`
          )
        })
    }
  ]
}

/** A TLS handshake that ends when the drain has begun: whatever becomes of the connection, it holds nothing. */
const lateHandshake = (subject: Subject) =>
  heldBy((running) =>
    Effect.tap(
      HostilePeer.lateTls(running.at()),
      (peer) =>
        Effect.forkScoped(
          running.refusing().pipe(
            Effect.andThen(peer.handshake),
            Effect.ignore
          )
        )
    ), { transport: "tls", reads: false })(subject)
