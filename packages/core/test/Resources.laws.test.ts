/** The resources of this package keep the promises of the stop protocol, all of them or those that are theirs to keep. */
import { describe, it } from "@effect/vitest"
import * as Consumer from "@lastcall/core/Consumer"
import * as NodeHttp from "@lastcall/core/NodeHttp"
import * as ResourcePool from "@lastcall/core/ResourcePool"
import * as MemorySocket from "@lastcall/testing/MemorySocket"
import * as StopLaws from "@lastcall/testing/StopLaws"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as http from "node:http"

describe("Consumer", () => {
  StopLaws.register(it.effect, (policy) =>
    Effect.gen(function*() {
      const queue = yield* Queue.unbounded<Effect.Effect<string, string>>()
      const stop = yield* Consumer.make({
        name: "orders",
        take: Queue.take(queue),
        handle: (work) => work,
        concurrency: 5,
        stop: policy
      })
      return { stop, run: (work) => Queue.offer(queue, work) }
    }))
})

describe("ResourcePool", () => {
  StopLaws.register(it.effect, (policy) =>
    Effect.gen(function*() {
      const pool = yield* ResourcePool.make({ name: "database", acquire: Effect.void, size: 5, stop: policy })
      return { stop: pool.stop, run: (work) => pool.use(() => work) }
    }))
})

describe("NodeHttp", () => {
  // It refuses by its listener, which there is none of in memory (3, 6), and cannot interrupt a handler of Node's (4, 8).
  StopLaws.register(it.effect, (policy) =>
    Effect.gen(function*() {
      const works = new Map<string, Effect.Effect<string, string>>()
      const runFork = Effect.runForkWith(yield* Effect.context<never>())
      const server = http.createServer((request, response) => {
        // One that is refused has its 503 already.
        if (response.headersSent) return
        const fiber = runFork(works.get(request.url!)!)
        response.once("close", () => fiber.interruptUnsafe())
        fiber.addObserver((exit) => exit._tag === "Success" ? response.end() : response.destroy())
      })
      const stop = yield* NodeHttp.make(server, { name: "pages", stop: policy })
      return {
        stop,
        run: (work, name) =>
          Effect.callback<void>((resume) => {
            const path = `/${encodeURIComponent(name)}`
            works.set(path, work)
            const [client, end] = MemorySocket.pair()
            server.emit("connection", end)
            const done = () => resume(Effect.void)
            const request = http.get(
              { path, createConnection: () => client as never },
              (response) => response.resume().on("close", done)
            )
            request.on("error", done)
          })
      }
    }), { turns: 30, runs: 30, promises: [1, 2, 5, 7] })
})
