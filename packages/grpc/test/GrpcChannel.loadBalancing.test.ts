import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as EchoServer from "./EchoServer.ts"
import { open } from "./OpenChannel.ts"

/** Servers that count, and note who was asked; `answer` may do something besides. */
const replicas = (
  n: number,
  answer: (index: number) => Effect.Effect<unknown, GrpcError.GrpcError> = () => Effect.void
) =>
  Effect.gen(function*() {
    const served = Array.from({ length: n }, () => 0)
    const order: Array<number> = []
    const servers = yield* Effect.forEach(served, (_, index) =>
      EchoServer.make({
        say: ({ text }) =>
          Effect.suspend(() => {
            served[index]!++
            order.push(index)
            return Effect.as(answer(index), { text })
          })
      }))
    const targets = servers.map(({ target }) => target) as [string, ...Array<string>]
    return { served, order, address: GrpcChannel.ipv4(...targets) }
  })

const times = (n: number, echo: { readonly say: (request: { text: string }) => Effect.Effect<unknown, unknown> }) =>
  Effect.repeat(Effect.ignore(echo.say({ text: "" })), { times: n - 1 })

describe("pick_first", () => {
  it.live("shuffle: channels do not all choose the same server", () =>
    Effect.gen(function*() {
      const { address, served } = yield* replicas(4)
      for (let i = 0; i < 60 && new Set(served.flatMap((n, index) => n > 0 ? [index] : [])).size < 3; i++) {
        const { close, echo } = yield* open({ address, loadBalancing: { policy: "pick_first", shuffle: true } })
        yield* times(2, echo)
        yield* close
      }
      assert.isAtLeast(served.filter((n) => n > 0).length, 3)
      const ordered = yield* replicas(4)
      const { echo } = yield* open({ address: ordered.address, loadBalancing: { policy: "pick_first" } })
      yield* times(8, echo)
      assert.deepStrictEqual(ordered.served, [8, 0, 0, 0])
    }))
})

/** Makes RPCs in batches until one fits: at the beginning not all servers are connected. */
const until = (batch: Effect.Effect<unknown>, fits: () => boolean): Effect.Effect<void> =>
  Effect.repeat(batch, { until: fits }).pipe(Effect.timeout("40 seconds"), Effect.orDie, Effect.asVoid)

/** Counts from 0. */
const afresh = (served: Array<number>, batch: Effect.Effect<unknown>): Effect.Effect<unknown> =>
  Effect.andThen(Effect.sync(() => served.fill(0)), batch)

/** Whether the last nine RPCs went to three servers in turn. */
const isInTurn = (order: ReadonlyArray<number>): boolean => {
  const last = order.slice(-9)
  return new Set(last.slice(0, 3)).size === 3 && last.every((index, i) => index === last[i % 3])
}

describe("round_robin", () => {
  it.live("uses all servers in turn", () =>
    Effect.gen(function*() {
      const { address, order } = yield* replicas(3)
      const { echo } = yield* open({ address, loadBalancing: "round_robin" })
      yield* until(times(9, echo), () => isInTurn(order))
    }))
})

describe("weighted_round_robin", () => {
  const policy: GrpcChannel.WeightedRoundRobin = { policy: "weighted_round_robin", blackout: 0, update: 100 }

  it.live("without load reports is round_robin", () =>
    Effect.gen(function*() {
      const { address, order } = yield* replicas(3)
      const { echo } = yield* open({ address, loadBalancing: "weighted_round_robin" })
      yield* until(times(9, echo), () => isInTurn(order))
    }))

  it.live(
    "with load reports out of band, from a server of ours that serves grpc-js's recorder",
    () =>
      Effect.gen(function*() {
        const served = [0, 0]
        const server = (index: 0 | 1) =>
          Effect.gen(function*() {
            const recorder = new grpc.ServerMetricRecorder()
            recorder.setApplicationUtilizationMetric(index === 0 ? 0.2 : 0.8)
            recorder.setQpsMetric(100)
            const both = yield* GrpcServer.make("api", {
              services: [EchoServer.Echo, orca(recorder)],
              listen: [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })],
              stop: { grace: 0 }
            }).pipe(Effect.provide(EchoServer.layer({
              say: ({ text }) =>
                Effect.sync(() => {
                  served[index]!++
                  return { text }
                })
            })))
            return GrpcListener.target(both.addresses()[0]!)
          })
        const address = GrpcChannel.ipv4(yield* server(0), yield* server(1))
        const { close, echo } = yield* open({ address, loadBalancing: { ...policy, outOfBand: 20 } })
        yield* until(afresh(served, times(10, echo)), () => served[1]! > 0 && served[0]! > served[1]! * 2)
        assert.strictEqual((yield* close).outcome, "graceful")
      }),
    60_000
  )
})

/** grpc-js's service of load reports, which it only adds to servers of its own. */
const orca = (recorder: grpc.ServerMetricRecorder): GrpcService.Native => {
  let served: GrpcService.Native | undefined
  recorder.addToServer({
    addService(definition: grpc.ServiceDefinition, implementation: grpc.UntypedServiceImplementation) {
      served = GrpcService.native(definition, implementation)
    }
  } as unknown as grpc.Server)
  return served!
}

describe("outlier detection", () => {
  it.live(
    "a server of which most RPCs fail is left out, and comes back when its time is over",
    () =>
      Effect.gen(function*() {
        let isIll = true
        const { address, served } = yield* replicas(
          3,
          (index) => Effect.suspend(() => index === 0 && isIll ? Effect.fail(GrpcError.internal("ill")) : Effect.void)
        )
        const { echo } = yield* open({
          address,
          loadBalancing: "round_robin",
          outlierDetection: {
            interval: 100,
            // The second time it is twice as long.
            baseEjection: 300,
            maxEjectionPercent: 50,
            failurePercentage: { threshold: 50, minimumHosts: 3, requestVolume: 1 }
          }
        })
        const batch = afresh(served, times(6, echo))
        yield* until(batch, () => served[0] === 0 && served[1] === 3 && served[2] === 3)
        isIll = false
        yield* until(batch, () => served[0] === 2 && served[1] === 2 && served[2] === 2)
      }),
    60_000
  )
})
