import * as grpc from "@grpc/grpc-js"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Client from "../Client.ts"
import * as Running from "../Running.ts"
import { expect, Failed, type Group, inTime } from "../Scenario.ts"
import { connected, expectEarly, shortGrace } from "./transport.ts"

/** A handler whose client is gone is told so. */
const interrupted = (running: Running.Running): Effect.Effect<void, Failed> =>
  Effect.mapError(
    running.handler("a", "interrupted"),
    () => new Failed({ how: "the handler is not told, and runs on" })
  )

export const inFlight: Group = {
  title: "In flight",
  scenarios: [
    {
      number: 11,
      title: "a unary RPC ends as if nothing had happened",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("a")
          yield* Client.expectOk("the RPC", yield* Fiber.join(rpc))
          yield* expectEarly(running)
        })
    },
    {
      number: 12,
      title: "a server stream goes on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* client.serverStream({ id: "a", behaviour: "gate", count: 100 })
          yield* rpc.awaitMessages(1)
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("a")
          const result = yield* rpc.result
          yield* Client.expectOk("the stream", result)
          yield* expect(result.messages.length === 100, `${result.messages.length} of 100 messages came`)
          yield* expectEarly(running)
        })
    },
    {
      number: 13,
      title: "a client stream goes on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* client.clientStream({ id: "a" })
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          for (let i = 0; i < 9; i++) yield* rpc.send({ id: "a" })
          yield* rpc.end
          const result = yield* rpc.result
          yield* Client.expectOk("the stream", result)
          yield* expect(result.messages[0]?.count === 10, `${result.messages[0]?.count} of 10 messages were read`)
          yield* expectEarly(running)
        })
    },
    {
      number: 14,
      title: "a bidi stream goes on in both directions",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* client.bidi({ id: "a" })
          yield* rpc.awaitMessages(1)
          yield* running.stop()
          yield* running.refusing()
          for (let i = 2; i <= 5; i++) {
            yield* rpc.send({ id: "a" })
            yield* rpc.awaitMessages(i)
          }
          yield* rpc.end
          yield* Client.expectOk("the stream", yield* rpc.result)
          yield* expectEarly(running)
        })
    },
    {
      number: 15,
      title: "a stream that is told of the drain ends with OK and a last message",
      needs: ["drain told to handlers"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const client = yield* Client.make(running.at())
          const rpc = yield* client.serverStream({ id: "a", behaviour: "watch" })
          yield* rpc.awaitMessages(1)
          yield* running.stop()
          const result = yield* rpc.result
          yield* Client.expectOk("the watch", result)
          yield* expect(result.messages.at(-1)?.count === -1, "the last message did not come")
          yield* expectEarly(running)
        })
    },
    {
      number: 16,
      title: "the GOAWAY is sent before handlers are told",
      needs: ["drain told to handlers"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const peer = yield* connected(HostilePeer.neverClosing(running.at()))
          yield* Effect.forkScoped(Effect.andThen(peer.awaitEnded, peer.leave))
          yield* peer.send(Client.frames(1, { id: "a", behaviour: "watch" }, "ServerStream"))
          yield* running.handler("a", "started")
          const { data, goaway } = Http2Frame.types
          yield* inTime(Effect.exit(peer.awaitFrame(({ type }) => type === data)), "no message came")
          yield* running.stop()
          yield* running.handler("a", "told")
          yield* expectEarly(running)
          yield* inTime(peer.awaitClosed, "the connection was not closed")
          const types = peer.frames().map(({ type }) => type)
          yield* expect(
            types.includes(goaway) && types.indexOf(goaway) < types.lastIndexOf(data),
            "the last message of the stream came before the GOAWAY"
          )
        })
    },
    {
      number: 17,
      title: "an early answer to a client stream that goes on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const client = yield* Client.make(running.at())
          const held = yield* Effect.forkChild(client.unary({ id: "held", behaviour: "gate" }))
          const rpc = yield* client.clientStream({ id: "a", behaviour: "early" })
          yield* running.handler("held", "started")
          yield* running.stop()
          yield* Client.expectOk("the stream", yield* rpc.result)
          yield* running.open("held")
          yield* Client.expectOk("the RPC beside it", yield* Fiber.join(held))
          yield* expectEarly(running)
        })
    },
    {
      number: 18,
      title: "a reader that is slow, its window full, gets everything",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* client.serverStream({ id: "a", behaviour: "gate", count: 60, size: 100_000 })
          yield* rpc.awaitMessages(1)
          yield* rpc.pause
          yield* running.open("a")
          yield* running.stop()
          yield* running.refusing()
          yield* rpc.resume
          const result = yield* rpc.result
          yield* Client.expectOk("the stream", result)
          yield* expect(result.messages.length === 60, `${result.messages.length} of 60 messages came`)
          yield* expectEarly(running)
        })
    },
    {
      number: 19,
      title: "an answer of 20 MB",
      check: (subject) =>
        Effect.gen(function*() {
          const size = 20_000_000
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate", size }))
          yield* running.handler("a", "started")
          yield* running.open("a")
          yield* running.stop()
          const result = yield* Fiber.join(rpc)
          yield* Client.expectOk("the RPC", result)
          yield* expect(result.messages[0]?.padding?.byteLength === size, "the answer was cut")
          yield* expectEarly(running)
        })
    },
    {
      number: 20,
      title: "an RPC whose deadline is shorter than the drain does not hold it",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: 2 * shortGrace })
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(
            client.unary({ id: "a", behaviour: "never" }, { deadline: Date.now() + 1_500 })
          )
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* Client.expectCode("the RPC", yield* Fiber.join(rpc), grpc.status.DEADLINE_EXCEEDED)
          yield* expectEarly(running)
        })
    },
    {
      number: 21,
      title: "a client that cancels ends the drain",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* Fiber.interrupt(rpc)
          yield* interrupted(running)
          yield* expectEarly(running)
        })
    },
    {
      number: 22,
      title: "a client that goes away ends the drain",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const peer = yield* connected(HostilePeer.neverClosing(running.at()))
          yield* peer.send(Client.frames(1, { id: "a", behaviour: "never" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* peer.leave
          yield* interrupted(running)
          yield* expectEarly(running)
        })
    },
    {
      number: 23,
      title: "a handler that dies during the drain fails its RPC and nothing else",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const dying = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "dies" }))
          const other = yield* Effect.forkChild(client.unary({ id: "b", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.handler("b", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("a")
          const { code } = yield* Fiber.join(dying)
          yield* expect(
            code === grpc.status.INTERNAL || code === grpc.status.UNKNOWN,
            `the process died with the handler: ${grpc.status[code]}`
          )
          yield* running.open("b")
          yield* Client.expectOk("the RPC beside it", yield* Fiber.join(other))
          yield* expectEarly(running)
        })
    }
  ]
}
