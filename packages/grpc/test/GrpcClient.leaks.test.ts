import { assert, describe, it } from "@effect/vitest"
import * as GrpcCall from "@lastcall/grpc/GrpcCall"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import type { GrpcClientMiddleware } from "@lastcall/grpc/GrpcClientMiddleware"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Echo } from "./EchoServer.ts"
import * as EchoServer from "./EchoServer.ts"
import * as EventLoop from "./EventLoop.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
import * as Logs from "./Logs.ts"

type Client = GrpcClient.Client<typeof EchoService>

const Upto = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

const Plan = Schema.Struct({
  kind: Schema.Literals(["unary", "server stream", "client stream", "bidirectional"]),
  /** What the handler does in the end. */
  handler: Schema.Literals(["ends", "fails", "hangs", "answers early"]),
  /** What the stream of requests does in the end. */
  requests: Schema.Literals(["end", "fail", "hang"]),
  messages: Upto(12),
  /** Above the window of HTTP/2, so that both sides come to wait for each other. */
  isLarge: Schema.Boolean,
  /** After so many turns of the event loop it is interrupted; 12 is never. */
  interrupt: Upto(12),
  /** After so many responses the stream is left; 12 is never. */
  leave: Upto(12),
  deadline: Schema.Literals(["none", "short", "long"])
})
type Plan = typeof Plan.Type

/** Counts what was acquired and not released. */
const makeHeld = () => {
  let count = 0
  return {
    count: () => count,
    during: <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
      Stream.unwrap(Effect.as(
        Effect.acquireRelease(Effect.sync(() => count++), () => Effect.sync(() => count--)),
        self
      ))
  }
}
type Held = ReturnType<typeof makeHeld>

/** The handlers do what the metadata of the RPC says. */
const handlers = (held: Held): EchoServer.Handlers => {
  const ending = Effect.flatMap(GrpcCall.metadata, (metadata) => {
    switch (GrpcMetadata.get(metadata, "x-handler")) {
      case "fails":
        return Effect.fail(GrpcError.aborted("as planned"))
      case "hangs":
        return Effect.never
      default:
        return Effect.void
    }
  })
  const isEarly = Effect.map(
    GrpcCall.metadata,
    (metadata) => GrpcMetadata.get(metadata, "x-handler") === "answers early"
  )
  const single = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(
      Stream.runHead(held.during(Stream.fromEffect(effect))),
      (head) => head._tag === "Some" ? Effect.succeed(head.value) : Effect.die("nothing")
    )
  return {
    say: ({ text }) => single(Effect.as(ending, { text })),
    count: ({ padding, to }) =>
      held.during(Stream.concat(
        Stream.range(1, to).pipe(Stream.rechunk(1), Stream.map((n) => ({ n, padding: new Uint8Array(padding) }))),
        Stream.fromEffectDrain(ending)
      )),
    sum: (requests) =>
      single(Effect.gen(function*() {
        if (!(yield* isEarly)) yield* Stream.runDrain(requests)
        yield* ending
        return { total: 1 }
      })),
    chat: (requests) =>
      held.during(Stream.unwrap(Effect.map(isEarly, (early) =>
        Stream.concat(
          Stream.map(early ? Stream.take(requests, 1) : requests, ({ text }) => ({ text })),
          Stream.fromEffectDrain(ending)
        ))))
  }
}

const run = (echo: Client, held: Held, plan: Plan): Effect.Effect<unknown, unknown> => {
  const options: GrpcClient.CallOptions = {
    metadata: GrpcMetadata.make({ "x-handler": plan.handler }),
    deadline: plan.deadline === "none" ? undefined : plan.deadline === "short" ? 5 : "1 hour"
  }
  const text = "x".repeat(plan.isLarge ? 64 * 1024 : 1)
  const made = <A>(message: A) =>
    held.during(Stream.concat(
      Stream.range(1, plan.messages).pipe(Stream.rechunk(1), Stream.map(() => message)),
      plan.requests === "end" ? Stream.empty : plan.requests === "fail" ? Stream.fail("as planned") : Stream.never
    ))
  const consume = <A, E>(responses: Stream.Stream<A, E>) =>
    Stream.runDrain(held.during(plan.leave === 12 ? responses : Stream.take(responses, plan.leave)))
  switch (plan.kind) {
    case "unary":
      return echo.say({ text }, options)
    case "server stream":
      return consume(echo.count({ to: plan.messages, padding: text.length }, options))
    case "client stream":
      return echo.sum(made({ n: 1 }), options)
    case "bidirectional":
      return consume(echo.chat(made({ text }), options))
  }
}

const passing: GrpcClientMiddleware = (call, next) => Effect.ensuring(next(call), Effect.yieldNow)

/** The sockets and timers that keep Node alive. */
const resources = (): string =>
  process.getActiveResourcesInfo().filter((name) => /TCP|Pipe|Timeout/.test(name)).toSorted().join()

describe("nothing of an RPC is left, whenever it is interrupted, left, cut, over, or its channel closed", () => {
  for (const transport of ["on the wire", "in process"] as const) {
    it.live.prop(
      transport,
      {
        plans: Schema.Array(Plan).check(Schema.isMinLength(1), Schema.isMaxLength(8)),
        middleware: Schema.Boolean,
        /** Whether the channel is closed whatever is in flight, rather than when all RPCs are over. */
        isCut: Schema.Boolean,
        /** After so many turns either is done. */
        wait: Upto(16)
      },
      ({ isCut, middleware, plans, wait }) =>
        Effect.gen(function*() {
          let fibers = 0
          const logs = Logs.make()
          const held = makeHeld()
          let before = ""
          // Measured as it is after: with the timer of the one who waits.
          yield* EchoServer.until("it is measured", () => {
            before = resources()
            return true
          })

          yield* Effect.gen(function*() {
            const serverScope = yield* Scope.make()
            const scope = yield* Scope.make()
            const server = transport === "in process" ? undefined : yield* Scope.provide(
              EchoServer.make(handlers(held), { stop: { grace: 0 } }),
              serverScope
            )
            const channel = yield* (server === undefined
              ? Effect.provide(
                GrpcInProcess.make({ services: [Echo], stop: { grace: 0 } }),
                EchoServer.layer(handlers(held))
              )
              : GrpcChannel.make({ address: server.target, stop: { grace: 0 } })).pipe(Scope.provide(scope))
            const echo = yield* Effect.provideService(
              GrpcClient.make(EchoService, { middleware: middleware ? [passing] : [] }),
              GrpcChannel.GrpcChannel,
              channel
            )
            const rpcs = yield* Effect.forEach(plans, (plan) =>
              Effect.gen(function*() {
                const rpc = yield* Effect.forkChild(run(echo, held, plan))
                if (plan.interrupt < 12) {
                  yield* Effect.forkChild(Effect.andThen(EventLoop.turns(plan.interrupt), Fiber.interrupt(rpc)))
                }
                return rpc
              }))
            yield* EventLoop.turns(wait)
            if (!isCut) {
              yield* Fiber.interruptAll(rpcs)
              yield* EchoServer.until("no RPC is in flight", () => channel.inFlight().length === 0)
              yield* EchoServer.until("every handler has ended", () => held.count() === 0)
            }
            yield* Scope.close(scope, Exit.void)
            // The end of the channel was the end of all of them.
            yield* Effect.forEach(rpcs, Fiber.await)
            assert.deepStrictEqual(channel.inFlight(), [])
            if (server !== undefined) {
              yield* EchoServer.until("the server has no RPC", () => server.server.inFlight().length === 0)
              yield* EchoServer.until("the server has no connection", () => server.server.connections() === 0)
            }
            yield* Scope.close(serverScope, Exit.void)
          }).pipe(
            Effect.provide(logs.layer),
            Effect.provideService(Metric.FiberRuntimeMetrics, {
              recordFiberStart: () => void fibers++,
              recordFiberEnd: () => void fibers--
            })
          )

          yield* EchoServer.until("every finalizer has run", () => held.count() === 0)
          yield* EchoServer.until("every fiber has ended", () => fibers === 0)
          yield* EchoServer.until(`${resources()} is ${before} again`, () => resources() === before)
          // Nothing went wrong unseen; without a grace period every stop may be a forced one.
          const troubles = logs.lines.filter((line) =>
            /^(WARN|ERROR|FATAL)/.test(line) && !/drain cut short|was forced to stop/.test(line)
          )
          assert.strictEqual(troubles.join("; "), "")
        }),
      // Few shrinks: each waits in vain for what is left, and the replay must be told before the time is over.
      { arbitrary: { runs: 60, maxShrinks: 3 }, timeout: 60_000 }
    )
  }
})
