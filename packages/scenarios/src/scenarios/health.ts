import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Client from "../Client.ts"
import * as HealthClient from "../HealthClient.ts"
import * as Running from "../Running.ts"
import { expect, type Group, until } from "../Scenario.ts"
import type { Subject } from "../Subject.ts"
import { expectEarly, shortGrace } from "./transport.ts"

const healthy = { ...Running.api, health: true }

/** An RPC every 50 ms until the server accepts none any more. */
const traffic = (running: Running.Running, times = Number.POSITIVE_INFINITY) =>
  Effect.gen(function*() {
    const client = yield* Client.make(running.at())
    for (let i = 0; i < times; i++) {
      const { code } = yield* client.unary({ id: "traffic" })
      if (code !== grpc.status.OK) return
      yield* Effect.sleep(50)
    }
  })

/** Where there is no health service, any stream that is open as long as its client lives stands for a watch. */
const openWatch = (subject: Subject) =>
  Effect.gen(function*() {
    const running = yield* Running.start(subject, { graceMillis: shortGrace })
    const client = yield* Client.make(running.at())
    const rpc = yield* client.serverStream({ id: "a", behaviour: "watch" })
    yield* rpc.awaitMessages(1)
    yield* running.stop()
    yield* expectEarly(running)
  })

export const health: Group = {
  title: "Health",
  scenarios: [
    {
      number: 53,
      title: "NOT_SERVING before the listener closes; RPCs are served during the drain delay",
      needs: ["health", "drain delay"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { servers: [healthy], drainDelayMillis: 2_000 })
          yield* expect((yield* HealthClient.check(running.at())) === HealthClient.serving, "it does not serve")
          yield* running.stop()
          yield* until(
            Effect.map(Effect.orElseSucceed(HealthClient.check(running.at()), () => -1), (status) =>
              status === HealthClient.notServing),
            "health never says NOT_SERVING"
          )
          const client = yield* Client.make(running.at())
          yield* Client.expectOk("an RPC in the drain delay", yield* client.unary({ id: "a" }))
          yield* running.ended
        })
    },
    {
      number: 54,
      title: "health updates after the announcement are ignored",
      needs: ["health"],
      check: { files: ["packages/grpc/test/GrpcHealth.test.ts"], why: "has no health service of its own" }
    },
    {
      number: 55,
      title: "a health Watch gets NOT_SERVING, then ends, and never holds the stop",
      check: (subject) =>
        !subject.has.includes("health") ? openWatch(subject) : Effect.gen(function*() {
          const running = yield* Running.start(subject, { servers: [healthy], graceMillis: shortGrace })
          const watch = yield* HealthClient.watch(running.at())
          yield* until(Effect.sync(() => watch.statuses.length > 0), "the watch says nothing")
          yield* running.stop()
          yield* expectEarly(running)
          yield* until(Effect.sync(() => watch.code() !== undefined), "the watch did not end")
          const statuses = watch.statuses.join(", ")
          yield* expect(watch.code() === grpc.status.OK, `the watch got ${grpc.status[watch.code()!]}`)
          yield* expect(statuses === "1, 2", `the watch was told ${statuses}`)
        })
    },
    {
      number: 56,
      title: "the health of the last server answers until the end",
      needs: ["health"],
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, {
            servers: [Running.api, { ...Running.admin, health: true }]
          })
          const client = yield* Client.make(running.at("api"))
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing("api")
          const status = yield* HealthClient.check(running.at("admin"))
          yield* expect(status === HealthClient.notServing, `health says ${status} while the first server drains`)
          yield* running.open("a")
          yield* Client.expectOk("the RPC", yield* Fiber.join(rpc))
          yield* running.ended
        })
    },
    {
      number: 57,
      title: "traffic extends the quiet period, up to the drain delay",
      needs: ["drain delay", "report"],
      isSlow: true,
      check: (subject) =>
        Effect.gen(function*() {
          const one = yield* Running.start(subject, { drainDelayMillis: 10_000, quietMillis: 700 })
          yield* one.stop()
          yield* traffic(one, 20)
          const extended = (yield* one.ended).report!.durations.drainDelay
          yield* expect(extended > 1_500, `the drain delay ended after ${extended} ms, under traffic`)
          yield* expect(extended < 9_000, "the drain delay did not end when the traffic had")
          const two = yield* Running.start(subject, { drainDelayMillis: 1_000, quietMillis: 700 })
          yield* Effect.forkChild(traffic(two))
          yield* two.stop()
          const capped = (yield* two.ended).report!.durations.drainDelay
          yield* expect(capped < 4_000, `traffic held the drain delay of 1 s for ${capped} ms`)
        })
    },
    {
      number: 58,
      title: "a poller of 10 s loses nothing",
      needs: ["health", "drain delay"],
      check: { files: ["packages/grpc/test/GrpcHealth.test.ts"], why: "has no drain delay" }
    }
  ]
}
