/** An RPC that ends in the turn in which it began: grpc-js opens its stream all the same, and somebody must close it. */
import { assert, describe, it } from "@effect/vitest"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import type * as net from "node:net"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

type Client = GrpcClient.Client<typeof EchoService>

const kinds = ["unary", "server stream", "client stream", "bidirectional"] as const
type Kind = typeof kinds[number]

interface Requests {
  readonly say: { readonly text: string }
  readonly count: { readonly to: number }
  readonly sum: Stream.Stream<{ readonly n: number }, string>
  readonly chat: Stream.Stream<{ readonly text: string }, string>
}

const call = (
  echo: Client,
  kind: Kind,
  { chat, count, say, sum }: Requests,
  options?: GrpcClient.CallOptions
): Effect.Effect<unknown, unknown> => {
  switch (kind) {
    case "unary":
      return echo.say(say, options)
    case "server stream":
      return Stream.runDrain(echo.count(count, options))
    case "client stream":
      return echo.sum(sum, options)
    case "bidirectional":
      return Stream.runDrain(echo.chat(chat, options))
  }
}

/** With something after it: the end of the requests would be that of the handler, too. */
const then = <A>(first: A): Stream.Stream<A> => Stream.concat(Stream.make(first), Stream.never)

const good: Requests = {
  say: { text: "hang" },
  count: { to: 1_000 },
  sum: then({ n: 1_000 }),
  chat: then({ text: "hang" })
}
const tooWide = 2 ** 40
const unwritable = {
  get text(): string {
    throw new Error("no text")
  }
}
const bad: Requests = { say: unwritable, count: { to: tooWide }, sum: then({ n: tooWide }), chat: then(unwritable) }
const failing: Requests = { ...good, sum: Stream.fail("as planned"), chat: Stream.fail("as planned") }

interface Ending {
  readonly options?: Partial<GrpcChannel.Options>
  readonly kinds?: ReadonlyArray<Kind>
  readonly run: (echo: Client, kind: Kind) => Effect.Effect<unknown, unknown>
}

const withRequests = (requests: Requests) => (echo: Client, kind: Kind) => call(echo, kind, requests)

const everywhere: Readonly<Record<string, Ending>> = {
  "a first request that cannot be written": { run: withRequests(bad) },
  "requests that fail at once": { kinds: ["client stream", "bidirectional"], run: withRequests(failing) },
  "a deadline that is over": { run: (echo, kind) => call(echo, kind, good, { deadline: 0 }) },
  "an interruption": {
    run: (echo, kind) =>
      Effect.flatMap(Effect.forkChild(call(echo, kind, good), { startImmediately: true }), Fiber.interrupt)
  }
}

const onTheWire: Readonly<Record<string, Ending>> = {
  ...everywhere,
  "a first request that is too large for its method": {
    options: { methods: { "lastcall.test.v1.EchoService": { maxSendBytes: 1 } } },
    run: withRequests(good)
  },
  "a deadline that is over, though such an error would be tried again": {
    options: {
      retry: {
        maxAttempts: 5,
        initialBackoff: "1 millis",
        maxBackoff: "1 millis",
        backoffMultiplier: 1,
        codes: ["DEADLINE_EXCEEDED", "CANCELLED"]
      }
    },
    run: (echo, kind) => call(echo, kind, good, { deadline: 0 })
  }
}

/** From the event loop, where what grpc-js puts off to the next tick comes before its promises, or from a promise. */
const starts = {
  "the event loop": EventLoop.turn,
  "a promise": Effect.promise(() => Promise.resolve())
}

const connected = (options: GrpcChannel.Options) =>
  Effect.gen(function*() {
    const channel = yield* GrpcChannel.make(options)
    yield* channel.awaitReady
    const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
    return { channel, echo }
  })

describe("of an RPC that ends in its first turn no handler is left", () => {
  /** Handlers that end only with their RPC. */
  const held = () => {
    let running = 0
    const during = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.acquireUseRelease(Effect.sync(() => running++), () => effect, () => Effect.sync(() => running--))
    const forever = Stream.fromEffect(during(Effect.never))
    const handlers: Partial<EchoServer.Handlers> = {
      say: ({ text }) => text === "" ? Effect.succeed({ text }) : during(Effect.never),
      count: () => forever,
      sum: () => during(Effect.never),
      chat: () => forever
    }
    return { handlers, running: () => running }
  }

  const endAll = (echo: Client, { kinds: some = kinds, run }: Ending) =>
    Effect.forEach(
      some.flatMap((kind) => Object.values(starts).map((start) => [kind, start] as const)),
      ([kind, start]) => Effect.andThen(start, Effect.exit(run(echo, kind)))
    )

  const expectEnded = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>, ending: Ending) =>
    assert.deepStrictEqual(
      exits.map(Exit.isFailure),
      exits.map(() => ending !== everywhere["an interruption"])
    )

  for (const [name, ending] of Object.entries(onTheWire)) {
    it.live(`on the wire: ${name}`, () =>
      Effect.gen(function*() {
        const { handlers, running } = held()
        const { close, server, target } = yield* EchoServer.make(handlers)
        const { channel, echo } = yield* connected({ address: target, ...ending.options })
        const exits = yield* endAll(echo, ending)
        expectEnded(exits, ending)
        // On the same connection: it comes after whatever they sent.
        yield* echo.say({ text: "" })
        yield* EchoServer.until("no handler runs", () => running() === 0 && server.inFlight().length === 0)
        assert.deepStrictEqual(channel.inFlight(), [])
        const { counts, outcome } = yield* close
        assert.strictEqual(outcome, "graceful")
        // Each of them once at most, and the last.
        assert.isAtMost(counts.admitted, exits.length + 1)
      }))
  }

  for (const [name, ending] of Object.entries(everywhere)) {
    it.live(`in process: ${name}`, () =>
      Effect.gen(function*() {
        const { handlers, running } = held()
        const scope = yield* Scope.make()
        const channel = yield* GrpcInProcess.make({ services: [EchoServer.Echo] }).pipe(
          Effect.provide(EchoServer.layer(handlers)),
          Scope.provide(scope)
        )
        const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
        expectEnded(yield* endAll(echo, ending), ending)
        yield* echo.say({ text: "" })
        yield* EchoServer.until("no handler runs", () => running() === 0)
        assert.deepStrictEqual(channel.inFlight(), [])
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* channel.stop).outcome, "graceful")
      }))
  }
})

describe("of an RPC that ends in its first turn no stream is left", () => {
  /** An HTTP/2 server that answers nothing, and heeds no deadline. */
  const silent = Effect.acquireRelease(
    Effect.callback<{
      readonly server: http2.Http2Server
      readonly address: string
      readonly streams: Array<http2.ServerHttp2Stream>
      /** It has seen the RPC that has this in its metadata. */
      readonly seen: Set<unknown>
    }>((resume) => {
      const streams: Array<http2.ServerHttp2Stream> = []
      const seen = new Set<unknown>()
      const server = http2.createServer()
      server.on("stream", (stream, headers) => {
        streams.push(stream)
        seen.add(headers["x-name"])
        stream.on("error", () => {})
        stream.resume()
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as net.AddressInfo
        resume(Effect.succeed({ server, address: `127.0.0.1:${port}`, streams, seen }))
      })
    }),
    ({ server }) => Effect.sync(() => server.close())
  )

  for (const [name, { options, run, ...ending }] of Object.entries(onTheWire)) {
    it.live(`on a server that does not answer: ${name}`, () =>
      Effect.gen(function*() {
        const { address, seen, streams } = yield* silent
        const { echo } = yield* connected({ address, stop: { grace: 0 }, ...options })
        for (const kind of ending.kinds ?? kinds) {
          for (const start of Object.values(starts)) {
            yield* start
            yield* Effect.exit(run(echo, kind))
          }
        }
        const metadata = GrpcMetadata.make({ "x-name": "last" })
        const last = yield* Effect.forkChild(echo.say({ text: "" }, { metadata }))
        yield* EchoServer.until("it has seen the last", () => seen.has("last"))
        yield* Fiber.interrupt(last)
        yield* EchoServer.until("every stream is closed", () => streams.every(({ closed }) => closed))
        for (const { rstCode } of streams) assert.strictEqual(rstCode, http2.constants.NGHTTP2_CANCEL)
      }))
  }
})

describe("of an RPC that ends in its first turn no call credentials are left", () => {
  for (const [name, start] of Object.entries(starts)) {
    it.live(`begun from ${name}`, () =>
      Effect.gen(function*() {
        const { target } = yield* EchoServer.make()
        let running = 0
        const metadata = () =>
          Effect.acquireUseRelease(
            Effect.sync(() => running++),
            () => Effect.never,
            () => Effect.sync(() => running--)
          )
        const { echo } = yield* connected({
          address: target,
          stop: { grace: 0 },
          callCredentials: { metadata, overPlaintext: true }
        })
        for (
          const ending of [
            everywhere["a deadline that is over"]!,
            everywhere["a first request that cannot be written"]!
          ]
        ) {
          for (const kind of kinds) {
            yield* start
            yield* Effect.exit(ending.run(echo, kind))
          }
        }
        yield* starts["the event loop"]
        yield* EchoServer.until("no credentials are made", () => running === 0)
      }))
  }
})
