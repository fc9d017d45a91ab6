/** Clients that break off, and do not read. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Peer from "./Peer.ts"

const headers = (path: string, more: Record<string, string> = {}) => ({
  ":method": "POST",
  ":path": path,
  "content-type": "application/grpc",
  te: "trailers",
  ...more
})

const open = (session: ClientHttp2Session, path: string, more: Record<string, string> = {}): ClientHttp2Stream => {
  const stream = session.request(headers(path, more))
  stream.on("error", () => {})
  return stream
}

const sumPath = "/lastcall.test.v1.EchoService/Sum"

/** An HTTP/2 frame of stream 1. */
const frame = (type: number, flags: number, payload: Buffer, stream = 1): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A literal header of HPACK without indexing. */
const literal = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)])

/** The preface, the headers of an upload and three messages, without an end. */
const upload = Buffer.concat([
  Peer.preface,
  frame(
    1,
    4,
    Buffer.concat(
      Object.entries({ ":scheme": "http", ":authority": "x", ...headers(sumPath) })
        .toSorted(([a], [b]) => Number(b.startsWith(":")) - Number(a.startsWith(":")))
        .map(([name, value]) => literal(name, value))
    )
  ),
  ...[1, 2, 3].map(() => frame(0, 0, EchoClient.emptyMessage))
])

const cancel = frame(3, 0, Buffer.from([0, 0, 0, 8]))

describe("an upload that breaks off is not taken for a whole one", () => {
  for (
    const [how, end] of [
      ["reset by its client", (peer: Peer.Peer) => peer.socket.write(cancel)],
      ["of a client that goes away", (peer: Peer.Peer) => peer.socket.end()]
    ] as const
  ) {
    it.live(`${how}: the handler is interrupted`, () =>
      Effect.gen(function*() {
        let received = 0
        let committed = 0
        const server = yield* EchoServer.make({
          sum: (requests) =>
            Stream.runForEach(requests, () => Effect.sync(() => received++)).pipe(
              Effect.andThen(Effect.sync(() => ({ total: ++committed })))
            )
        })
        const peer = yield* Peer.make(server.port, upload)
        yield* EchoServer.until("three messages came", () => received === 3)
        end(peer)
        yield* EchoServer.until("the RPC has ended", () => server.server.inFlight().length === 0)
        assert.strictEqual(committed, 0)
        peer.socket.destroy()
        assert.deepInclude((yield* server.close).counts, { admitted: 1, failed: 1 })
      }))
  }

  it.live("reset by its client: a grpc-js implementation sees no end of its requests", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const native = GrpcService.native(EchoClient.definition, {
        say() {},
        count() {},
        chat() {},
        sum(call: grpc.ServerReadableStream<unknown, unknown>) {
          call.on("data", () => events.push("data"))
          call.on("end", () => events.push("end"))
          call.on("cancelled", () => events.push("cancelled"))
          call.on("error", () => {})
        }
      })
      const server = yield* GrpcServer.make("api", {
        services: [native],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]
      })
      const address = server.addresses()[0]!
      const peer = yield* Peer.make(address._tag === "Tcp" ? address.port : 0, upload)
      yield* EchoServer.until("three messages came", () => events.length === 3)
      peer.socket.write(cancel)
      yield* EchoServer.until("it is cancelled", () => events.includes("cancelled"))
      assert.notInclude(events, "end")
      yield* server.escalate
    }))
})

describe("a client that does not read", () => {
  it.live("does not keep a stream beyond its deadline", () =>
    Effect.gen(function*() {
      let interrupted = false
      const server = yield* EchoServer.make({
        count: () =>
          Stream.forever(Stream.sync(() => ({ n: 1, padding: new Uint8Array(100_000) }))).pipe(
            Stream.onExit(() => Effect.sync(() => void (interrupted = true)))
          )
      })
      const session = yield* EchoClient.session(server.port)
      const stream = open(session, EchoClient.countPath, { "grpc-timeout": "300m" })
      stream.pause()
      stream.end(EchoClient.emptyMessage)
      yield* EchoServer.until("the handler is interrupted", () => interrupted)
      session.destroy()
      yield* EchoServer.until("the RPC has ended", () => server.server.inFlight().length === 0)
    }))

  it.live("and goes away ends a stream whose middleware is uninterruptible", () =>
    Effect.gen(function*() {
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        middleware: [GrpcMiddleware.make((rpc) => Effect.uninterruptible(rpc))]
      }).pipe(Effect.provide(EchoServer.layer({
        count: () => Stream.forever(Stream.sync(() => ({ n: 1, padding: new Uint8Array(100_000) }))),
        sum: (requests) => Effect.as(Stream.runDrain(requests), { total: 0 })
      })))
      const address = server.addresses()[0]!
      const session = yield* EchoClient.session(address._tag === "Tcp" ? address.port : 0)
      const stream = open(session, EchoClient.countPath)
      stream.pause()
      stream.end(EchoClient.emptyMessage)
      open(session, sumPath).write(EchoClient.emptyMessage)
      yield* EchoServer.until("both are in flight", () => server.inFlight().length === 2)
      session.destroy()
      yield* EchoServer.until("both have ended", () => server.inFlight().length === 0)
    }))
})

describe("metrics and logs tell the status that the client gets", () => {
  it.live("of an RPC that a stop cut, of one past its deadline, of a response that is too large", () =>
    Effect.gen(function*() {
      const server = yield* GrpcServer.make("api", {
        services: [EchoServer.Echo],
        listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
        middleware: [GrpcMiddleware.metrics],
        limits: { maxSendBytes: 100 },
        stop: { grace: 0 }
      }).pipe(
        Effect.provide(EchoServer.layer({
          say: ({ text }) => text === "large" ? Effect.succeed({ text: "x".repeat(200) }) : Effect.never
        }))
      )
      const client = yield* EchoClient.make(GrpcListener.target(server.addresses()[0]!))
      const large = yield* Effect.flip(EchoClient.say(client, "large"))
      // A bare client: grpc-js's own cancels by itself when its deadline is over.
      const address = server.addresses()[0]!
      const session = yield* EchoClient.session(address._tag === "Tcp" ? address.port : 0)
      const late = open(session, "/lastcall.test.v1.EchoService/Say", { "grpc-timeout": "100m" })
      late.end(EchoClient.emptyMessage)
      const lateCode = yield* Effect.callback<number>((resume) => {
        late.on("response", (headers) => resume(Effect.succeed(Number(headers["grpc-status"]))))
      })
      const cut = yield* Effect.forkChild(Effect.flip(EchoClient.say(client, "cut")))
      yield* EchoServer.until("one is in flight", () => server.inFlight().length === 1)
      yield* server.stop
      const codes = [large.code, lateCode, (yield* Fiber.join(cut)).code]
      assert.deepStrictEqual(codes, [
        grpc.status.RESOURCE_EXHAUSTED,
        grpc.status.DEADLINE_EXCEEDED,
        grpc.status.UNAVAILABLE
      ])
      for (const status of ["RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"]) {
        const counted = yield* Metric.value(Metric.withAttributes(GrpcMiddleware.callDuration, {
          "grpc.method": "lastcall.test.v1.EchoService/Say",
          "grpc.status": status
        }))
        assert.strictEqual(counted.count, 1)
      }
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
