/** What the process holds, at one moment. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { readdirSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"

/** Bytes, but for the last four. `handles` are what `process.getActiveResourcesInfo` names: sockets, timers, requests. */
export const quantities = ["heap", "external", "handles", "descriptors", "fibers", "listeners"] as const

export type Quantity = typeof quantities[number]

export type Sample = { readonly [Q in Quantity]: number }

let fibers = 0

/** Counts the fibers of an effect: those that have begun and not ended. */
export const watched: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Metric.FiberRuntimeMetrics,
  {
    recordFiberStart: () => void fibers++,
    recordFiberEnd: () => void fibers--
  }
)

/** How long what is closed may take to be gone. */
const settleMillis = 500

/** Takes a sample once nothing that was closed is still there, and garbage is collected. */
export const take = async (collect: () => void, before?: Sample): Promise<Sample> => {
  for (let waited = 0; before !== undefined && waited < settleMillis && isMore(counts(), before); waited += 10) {
    await sleep(10)
  }
  // Twice: what finalizers let go of in the first is collected in the second.
  collect()
  await sleep(1)
  collect()
  const { arrayBuffers, external, heapUsed } = process.memoryUsage()
  return { heap: heapUsed, external: external + arrayBuffers, ...counts() }
}

type Counts = Omit<Sample, "heap" | "external">

const counts = (): Counts => ({
  handles: process.getActiveResourcesInfo().length,
  // Without the one that reads the directory.
  descriptors: readdirSync("/proc/self/fd").length - 1,
  fibers,
  listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
})

const isMore = (now: Counts, before: Counts): boolean =>
  now.handles > before.handles || now.descriptors > before.descriptors || now.fibers > before.fibers
