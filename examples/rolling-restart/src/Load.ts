/**
 * The load: one Lastcall client that uses all replicas in turn. It is open-loop: RPCs begin at a constant rate, whatever has
 * become of those before them.
 */
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import { GrpcError } from "@lastcall/grpc/GrpcError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { FeedService } from "./gen/lastcall/rolling/v1/feed_pb.ts"
import * as Tally from "./Tally.ts"

export interface Options {
  readonly ports: ReadonlyArray<number>
  /** How many RPCs begin in a second; 1 in 5 of them is a stream. */
  readonly perSecond: number
  /** How long the streams take, and 1 in 20 of the unary RPCs. */
  readonly longMillis: number
}

export interface Load {
  readonly tally: Tally.Tally
  /** Whether a replica has answered this client. */
  readonly hasHeard: (instance: string) => boolean
  /** How many RPCs were in flight at most. */
  readonly mostOutstanding: () => number
  /** Begins no more RPCs, closes the watches, and waits for the rest. */
  readonly finish: Effect.Effect<void>
}

type Feed = GrpcClient.Client<typeof FeedService>

/** No RPC but a watch takes nearly as long: one that does was dropped without a word. */
const deadline = "30 seconds"

const messages = 8

const numbers = Array.from({ length: messages }, (_, i) => i + 1)

const isWhole = (received: ReadonlyArray<{ readonly n: number }>): boolean =>
  received.map(({ n }) => n).join() === numbers.join()

/** Whether the answer was whole. */
type Rpc = Effect.Effect<boolean, GrpcError>

const makeRpcs = (feed: Feed, longMillis: number, hear: (instance: string) => void) => {
  const pauseMillis = longMillis / messages
  const slowly = Stream.fromIterable(numbers).pipe(
    Stream.mapEffect((n) => Effect.as(Effect.sleep(Duration.millis(pauseMillis)), { n }))
  )
  const get = (workMillis: number): Rpc =>
    Effect.map(feed.get({ workMillis }), ({ instance }) => {
      hear(instance)
      return true
    })
  return {
    get,
    list: Effect.map(Stream.runCollect(feed.list({ count: messages, pauseMillis })), isWhole),
    put: Effect.map(feed.put(slowly), ({ total }) => total === messages * (messages + 1) / 2),
    talk: Effect.map(Stream.runCollect(feed.talk(slowly)), isWhole)
  }
}

const statusOf = (cause: Cause.Cause<GrpcError>): string => {
  const error = Cause.squash(cause)
  return error instanceof GrpcError ? error.code : String(error)
}

export const start = (options: Options): Effect.Effect<Load, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [first, ...others] = options.ports.map((port) => `127.0.0.1:${port}`) as [string, ...Array<string>]
    const channel = yield* Effect.orDie(GrpcChannel.make({
      name: "load",
      address: GrpcChannel.ipv4(first, ...others),
      loadBalancing: "round_robin"
    }))
    const client = (callOptions: GrpcClient.CallOptions) =>
      Effect.provideService(GrpcClient.make(FeedService, callOptions), GrpcChannel.GrpcChannel, channel)
    const feed = yield* client({ deadline })
    const endless = yield* client({})
    const heard = new Set<string>()
    const rpcs = makeRpcs(feed, options.longMillis, (instance) => heard.add(instance))
    const tally = Tally.make()
    let mostOutstanding = 0

    const count = (method: Tally.Method, rpc: Rpc): Effect.Effect<string> =>
      Effect.suspend(() => {
        const counts = tally[method]
        counts.sent++
        mostOutstanding = Math.max(mostOutstanding, Tally.outstanding(tally))
        return Effect.map(
          Effect.matchCause(rpc, { onSuccess: (whole) => whole ? "OK" : "INCOMPLETE", onFailure: statusOf }),
          (status) => {
            Tally.settle(counts, status)
            return status
          }
        )
      })

    // Connected to all of them
    while (heard.size < options.ports.length) yield* count("Get", rpcs.get(0))

    // Watches: one for each replica, as they are used in turn. When one ends, the next is opened.
    let isOver = false
    const watching = yield* FiberSet.make<void>()
    for (const _ of options.ports) {
      let watched = false
      const watch = Stream.runDrain(Stream.tap(endless.watch({}), () => Effect.sync(() => watched = true)))
      // That we close it is no loss.
      const counted = Effect.onInterrupt(
        count("Watch", Effect.as(watch, true)),
        () => Effect.sync(() => Tally.settle(tally.Watch, "OK"))
      )
      yield* FiberSet.run(watching, Effect.forever(Effect.andThen(counted, Effect.sleep("10 millis"))))
      while (!watched) yield* Effect.sleep("5 millis")
    }

    // The open loop
    const running = yield* FiberSet.make<string>()
    const begin = (index: number): Effect.Effect<unknown> => {
      const streams = [
        () => count("List", rpcs.list),
        () => count("Put", rpcs.put),
        () => count("Talk", rpcs.talk)
      ]
      const rpc = index % 5 === 0
        ? streams[index / 5 % streams.length]!()
        : count("Get", rpcs.get(index % 20 === 1 ? options.longMillis : index % 40))
      return FiberSet.run(running, rpc)
    }
    const startedAt = performance.now()
    let begun = 0
    const dispatch: Effect.Effect<void> = Effect.suspend(() => {
      const due = Math.floor((performance.now() - startedAt) / 1_000 * options.perSecond)
      const now = Array.from({ length: due - begun }, (_, i) => begun + i)
      begun = due
      return Effect.forEach(now, begin, { discard: true })
    })
    const loop = yield* Effect.forkScoped(
      Effect.whileLoop({
        while: () => !isOver,
        body: () => Effect.andThen(dispatch, Effect.sleep("5 millis")),
        step: () => {}
      })
    )

    return {
      tally,
      hasHeard: (instance) => heard.has(instance),
      mostOutstanding: () => mostOutstanding,
      finish: Effect.gen(function*() {
        isOver = true
        yield* Fiber.join(loop)
        yield* FiberSet.clear(watching)
        yield* FiberSet.awaitEmpty(running)
      })
    }
  })
