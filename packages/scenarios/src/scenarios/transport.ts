import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as OpenLoop from "@lastcall/testing/OpenLoop"
import * as TcpProxy from "@lastcall/testing/TcpProxy"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as Client from "../Client.ts"
import type { Transport } from "../Plan.ts"
import * as Running from "../Running.ts"
import { expect, Failed, type Group, inTime } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"

/** So long as this a stop may take that has nothing to wait for; and a stop that is held takes longer. */
export const shortGrace = 5_000

/** Whatever connected before this returns has been accepted: the queue is first in, first out. */
export const settled = (
  running: Running.Running,
  transport?: Transport
): Effect.Effect<void, Failed> =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* Client.make(running.at(), { transport })
    yield* Client.expectOk("an RPC before the stop", yield* client.unary({ id: "settled" }))
  }))

/** Nothing held the stop: of subjects with a report by what it says, of others by the clock. */
export const expectEarly = (running: Running.Running): Effect.Effect<Running.Stopped, Failed> =>
  Effect.tap(running.ended, ({ millis, report }) => {
    const wasHeld = report === undefined
      ? millis >= Number(running.plan.graceMillis)
      : report.resources.some(({ forcedBy }) => forcedBy === "grace" || forcedBy === "budget")
    return expect(!wasHeld, "the stop took the whole timeout")
  })

/** The peer of this kind holds nothing: the stop does not wait for it, and its connection is closed. */
export const heldBy = (
  make: (running: Running.Running) => Effect.Effect<HostilePeer.HostilePeer, HostilePeer.HostilePeerError, Scope.Scope>,
  options: { readonly transport?: Transport; readonly reads?: boolean } = {}
) =>
(subject: Subject): Effect.Effect<void, Failed, Scope.Scope> =>
  Effect.gen(function*() {
    const running = yield* Running.start(subject, {
      graceMillis: shortGrace,
      servers: [{ ...Running.api, transport: options.transport }]
    })
    const peer = yield* connected(make(running))
    yield* settled(running, options.transport)
    yield* running.stop()
    yield* expectEarly(running)
    if (options.reads !== false) yield* inTime(peer.awaitEnded, "its connection was not closed")
  })

export const connected = <A, R>(
  peer: Effect.Effect<A, HostilePeer.HostilePeerError, R>
): Effect.Effect<A, Failed, R> => Effect.mapError(peer, ({ message }) => new Failed({ how: message }))

/** A peer that speaks HTTP/2 as it should, and closes when the server does. */
const polite = (running: Running.Running) =>
  Effect.gen(function*() {
    const peer = yield* connected(HostilePeer.neverClosing(running.at()))
    yield* Effect.forkScoped(Effect.andThen(peer.awaitEnded, peer.leave))
    return peer
  })

const isGoaway = ({ type }: Http2Frame.Http2Frame) => type === Http2Frame.types.goaway
const isEndOf = (streamId: number) => (frame: Http2Frame.Http2Frame) =>
  frame.streamId === streamId && frame.type === Http2Frame.types.headers &&
  (frame.flags & Http2Frame.flags.endStream) !== 0

const awaitFrame = (
  peer: HostilePeer.HostilePeer,
  matches: (frame: Http2Frame.Http2Frame) => boolean,
  what: string
): Effect.Effect<Http2Frame.Http2Frame, Failed> =>
  inTime(peer.awaitFrame(matches), `${what} did not come`).pipe(
    Effect.catchDefect(() => Effect.fail(new Failed({ how: `the connection closed before ${what} came` })))
  )

const proxied = (running: Running.Running, delay: number) =>
  Effect.mapError(
    TcpProxy.make({ target: running.at(), delay }),
    ({ message }) => new Failed({ how: message })
  )

/** RPCs that race the GOAWAY of one of two servers, each server `delay` away. */
const race = (subject: Subject, other: Running.Running, delay: number) =>
  Effect.gen(function*() {
    const running = yield* Running.start(subject)
    const near = yield* proxied(running, delay)
    const far = yield* proxied(other, delay)
    const load = (retries: boolean) =>
      Effect.gen(function*() {
        const client = yield* Client.make(`ipv4:127.0.0.1:${near.port},127.0.0.1:${far.port}`, {
          channel: {
            "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
            "grpc.enable_retries": retries ? 1 : 0
          }
        })
        yield* Effect.forEach([0, 1, 2, 3], () => client.unary({ id: "warm" }), { discard: true })
        return yield* OpenLoop.start({
          perSecond: 100,
          send: () => Effect.tap(client.unary({ id: "race" }), (result) => Client.expectOk("an RPC", result))
        })
      })
    const on = yield* load(true)
    const off = yield* load(false)
    yield* Effect.sleep(400)
    yield* running.stop()
    yield* running.ended
    yield* Effect.sleep(2 * delay + 300)
    yield* on.end
    yield* off.end
    return { delay, sent: on.sent(), on: on.failures().length, off: off.failures().length }
  })

export const transport: Group = {
  title: "Transport",
  scenarios: [
    {
      number: 1,
      title: "a new connection after the drain began is refused, what is in flight runs on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("a")
          yield* Client.expectOk("the RPC in flight", yield* Fiber.join(rpc))
          yield* expectEarly(running)
        })
    },
    {
      number: 2,
      title: "connections accepted in the race close before their handshake",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { graceMillis: shortGrace })
          const sockets = Array.from({ length: 20 }, () => {
            const socket = net.connect({ ...running.at() as { readonly port: number }, host: "127.0.0.1" })
            socket.on("error", () => {})
            return socket.resume()
          })
          yield* Effect.addFinalizer(() => Effect.sync(() => sockets.forEach((socket) => socket.destroy())))
          yield* running.stop()
          yield* expectEarly(running)
        })
    },
    {
      number: 3,
      title:
        "RPCs racing the GOAWAY through a proxy that delays 0, 20, 100 ms, client retries on and off: what is lost",
      isSlow: true,
      check: (subject) =>
        Effect.gen(function*() {
          const other = yield* Running.start(subject)
          const races = yield* Effect.forEach([0, 20, 100], (delay) => Effect.scoped(race(subject, other, delay)))
          const told = (key: "on" | "off") => races.map((race) => `${race[key]}/${race.sent}`).join(", ")
          yield* expect(races.every(({ on }) => on === 0), `lost with retries on: ${told("on")}`)
          return `lost with retries off: ${told("off")} at 0, 20, 100 ms; with retries: none`
        })
    },
    {
      number: 4,
      title: "the frames of a drain: one GOAWAY without error, then the answer, then the close",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const peer = yield* polite(running)
          yield* peer.send(Client.frames(1, { id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          const goaway = Http2Frame.goaway(yield* awaitFrame(peer, isGoaway, "the GOAWAY"))
          yield* expect(goaway.code === 0 && goaway.lastStreamId === 1, `a GOAWAY of ${JSON.stringify(goaway)}`)
          yield* running.open("a")
          yield* awaitFrame(peer, isEndOf(1), "the answer")
          yield* expectEarly(running)
          yield* inTime(peer.awaitClosed, "the connection was not closed")
          const { data, goaway: goawayType, headers, rstStream } = Http2Frame.types
          const frames = peer.frames().filter(({ type }) =>
            type === data || type === headers || type === goawayType || type === rstStream
          )
          const told = frames.map(Http2Frame.render).join("; ")
          yield* expect(
            /^(goaway last=1 code=0; )+headers stream=1; (data stream=1; )+headers stream=1 end(; goaway last=1 code=0)*$/
              .test(told),
            `the frames were ${told}`
          )
        })
    },
    {
      number: 5,
      title: "RPCs whose HEADERS came before the GOAWAY are served, those after it never start",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const peer = yield* polite(running)
          yield* peer.send(Client.frames(1, { id: "a", behaviour: "gate" }))
          yield* peer.send(Client.frames(3, { id: "b", behaviour: "gate" }))
          yield* running.handler("b", "started")
          yield* running.stop()
          const { lastStreamId } = Http2Frame.goaway(yield* awaitFrame(peer, isGoaway, "the GOAWAY"))
          yield* expect(lastStreamId === 3, `the GOAWAY says that stream ${lastStreamId} was the last`)
          yield* peer.send(Client.frames(5, { id: "late" }))
          yield* running.open("a")
          yield* awaitFrame(peer, isEndOf(1), "the first answer")
          yield* running.open("b")
          yield* awaitFrame(peer, isEndOf(3), "the second answer")
          yield* expectEarly(running)
          const served = running.said("Handler").some(({ id }) => id === "late")
          yield* expect(!served, "the late RPC was served, after the client was told that it is not")
        })
    },
    {
      number: 6,
      title: "a peer that never closes its half of TCP",
      check: heldBy((running) => HostilePeer.neverClosing(running.at()))
    },
    {
      number: 7,
      title: "duplicate GOAWAYs and PING ACKs from clients are harmless",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const peer = yield* polite(running)
          const pinging = yield* polite(running)
          yield* peer.send(Client.frames(1, { id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          const { goaway, ping } = Http2Frame.types
          const ack = Http2Frame.encode(ping, { flags: Http2Frame.flags.ack, payload: Buffer.alloc(8) })
          const away = Http2Frame.encode(goaway, { payload: Buffer.alloc(8) })
          yield* pinging.send(Buffer.concat([ack, ack]))
          yield* peer.send(Buffer.concat([away, away]))
          yield* running.stop()
          yield* running.refusing()
          yield* peer.send(away)
          yield* running.open("a")
          yield* awaitFrame(peer, isEndOf(1), "the answer")
          yield* expectEarly(running)
          return "node:http2 closes a connection for a PING ACK that nobody asked for"
        })
    },
    {
      number: 8,
      title: "the last answer and its trailers are flushed before the close",
      check: (subject) =>
        Effect.gen(function*() {
          const size = 3_000_000
          const running = yield* Running.start(subject)
          const client = yield* Client.make(running.at())
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate", size }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("a")
          const result = yield* Fiber.join(rpc)
          yield* Client.expectOk("the last RPC", result)
          yield* expect(result.messages[0]?.padding?.byteLength === size, "the last answer was cut")
          yield* expectEarly(running)
        })
    },
    {
      number: 9,
      title: "a connection closes after its last stream, while another goes on",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject)
          const one = yield* polite(running)
          const two = yield* polite(running)
          yield* one.send(Client.frames(1, { id: "one", behaviour: "gate" }))
          yield* two.send(Client.frames(1, { id: "two", behaviour: "gate" }))
          yield* running.handler("one", "started")
          yield* running.handler("two", "started")
          yield* running.stop()
          yield* running.refusing()
          yield* running.open("one")
          yield* inTime(one.awaitEnded, "the connection that was done stayed open")
          yield* expect(!two.isEnded(), "the other connection was closed with its RPC in flight")
          yield* running.open("two")
          yield* awaitFrame(two, isEndOf(1), "the answer of the other")
          yield* expectEarly(running)
        })
    },
    {
      number: 10,
      title: "maximum connection age under load: no errors",
      needs: ["connection age"],
      isSlow: true,
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, {
            servers: [{ ...Running.api, maxConnectionAgeMillis: 300 }]
          })
          const proxy = yield* proxied(running, 5)
          const client = yield* Client.make({ port: proxy.port })
          const load = yield* OpenLoop.start({
            perSecond: 200,
            send: () =>
              Effect.tap(client.unary({ id: "a", behaviour: "sleep", count: 20 }), (result) =>
                Client.expectOk("an RPC", result))
          })
          yield* Effect.sleep(3_000)
          yield* load.end
          const lost = load.failures().length
          const told = `${lost} of ${load.sent()} RPCs over ${proxy.accepted()} connections failed`
          yield* expect(proxy.accepted() > 3, `there was one connection, whatever its age: ${told}`)
          yield* expect(lost === 0, `${told}: ${String((load.failures()[0] as Failed | undefined)?.how)}`)
          yield* running.stop()
          yield* expectEarly(running)
          return told
        })
    }
  ]
}
