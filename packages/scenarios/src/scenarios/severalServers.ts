import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Client from "../Client.ts"
import * as Running from "../Running.ts"
import { expect, type Group } from "../Scenario.ts"
import { twoServers } from "./lifecycle.ts"

/** A client of each server, with an RPC in flight. */
const inFlight = (running: Running.Running, behaviours: { readonly api: string; readonly admin: string }) =>
  Effect.gen(function*() {
    const rpc = (name: "api" | "admin") =>
      Effect.gen(function*() {
        const client = yield* Client.make(running.at(name))
        const rpc = yield* Effect.forkChild(client.unary({ id: name, behaviour: behaviours[name], count: 300 }))
        yield* running.handler(name, "started")
        return rpc
      })
    return { api: yield* rpc("api"), admin: yield* rpc("admin") }
  })

const order = (running: Running.Running) => running.said("ServerStopped").map(({ name }) => name).join(", ")

export const severalServers: Group = {
  title: "Several servers",
  scenarios: [
    {
      number: 46,
      title: "servers of one scope stop in the reverse order",
      check: { files: ["packages/grpc/test/GrpcServer.lifecycle.test.ts"], why: "about scopes" }
    },
    {
      number: 47,
      title: "in the declared order: the second serves while the first drains",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, twoServers())
          const client = yield* Client.make(running.at("api"))
          const rpc = yield* Effect.forkChild(client.unary({ id: "a", behaviour: "gate" }))
          yield* running.handler("a", "started")
          yield* running.stop()
          yield* running.refusing("api")
          const other = yield* Client.make(running.at("admin"))
          yield* Client.expectOk("an RPC to the second server", yield* other.unary({ id: "b" }))
          yield* running.open("a")
          yield* Client.expectOk("the RPC in flight", yield* Fiber.join(rpc))
          yield* running.ended
          yield* expect(order(running) === "api, admin", `they stopped in the order ${order(running)}`)
        })
    },
    {
      number: 48,
      title: "a parallel group stops at the same time",
      check: (subject) =>
        Effect.gen(function*() {
          const graceMillis = 3_000
          const running = yield* Running.start(subject, {
            ...twoServers({ first: graceMillis, second: graceMillis }),
            parallel: true
          })
          yield* inFlight(running, { api: "never", admin: "never" })
          yield* running.stop()
          const { millis, report } = yield* running.ended
          const took = report?.durations.total ?? millis
          yield* expect(took < 2 * graceMillis, `two stops of 3 s took ${(took / 1_000).toFixed(1)} s`)
        })
    },
    {
      number: 49,
      title: "one hangs, the other still drains",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, twoServers({ first: 500, second: 20_000 }))
          const rpcs = yield* inFlight(running, { api: "never", admin: "gate" })
          yield* running.stop()
          yield* running.awaitSaid("ServerStopped", ({ name }) => name === "api")
          yield* running.refusing("admin")
          yield* running.open("admin")
          yield* Client.expectOk("the RPC of the other", yield* Fiber.join(rpcs.admin))
          yield* running.ended
        })
    },
    {
      number: 50,
      title: "a part of the program dies: the rest stops gracefully, and the exit says so",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, twoServers())
          const rpcs = yield* inFlight(running, { api: "gate", admin: "gate" })
          yield* running.command({ _tag: "Die" })
          yield* running.refusing("api")
          for (const name of ["api", "admin"] as const) {
            yield* running.open(name)
            yield* Client.expectOk("the process died: an RPC in flight", yield* Fiber.join(rpcs[name]))
          }
          const { code, output } = yield* running.ended
          yield* expect(code === 1, `the exit code is ${code}`)
          yield* expect(output.includes("a loop of the program failed"), "the cause is not told")
        })
    },
    {
      number: 51,
      title: "a release between the servers dies: the others stop, and the exit says so",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, { ...twoServers(), brokenCache: true })
          const rpcs = yield* inFlight(running, { api: "gate", admin: "gate" })
          yield* running.stop()
          yield* running.refusing("api")
          yield* running.open("api")
          yield* Client.expectOk("the RPC of the first", yield* Fiber.join(rpcs.api))
          yield* running.refusing("admin")
          yield* running.open("admin")
          yield* Client.expectOk("the process died: the RPC of the second", yield* Fiber.join(rpcs.admin))
          const { code, openAtRelease, output } = yield* running.ended
          yield* expect(openAtRelease === 0, "the database was never released")
          yield* expect(code === 1 && output.includes("half released"), "the exit does not say so")
        })
    },
    {
      number: 52,
      title: "the database outlives every handler",
      check: (subject) =>
        Effect.gen(function*() {
          const running = yield* Running.start(subject, twoServers({ first: 300, second: 300 }))
          yield* inFlight(running, { api: "cleans up", admin: "cleans up" })
          yield* running.stop()
          const { openAtRelease, usedAfterRelease } = yield* running.ended
          yield* expect(openAtRelease !== undefined, "the database was never released")
          yield* expect(
            openAtRelease === 0 && usedAfterRelease === 0,
            `the database was released under ${openAtRelease} handlers, and used ${usedAfterRelease} times after it`
          )
        })
    }
  ]
}
