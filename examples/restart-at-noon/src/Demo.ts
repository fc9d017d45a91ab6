/** Rolling restarts under load, in one way after the other. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as FreePort from "./FreePort.ts"
import * as Load from "./Load.ts"
import type { Progress } from "./Progress.ts"
import * as Replica from "./Replica.ts"
import * as StopText from "./StopText.ts"
import * as Tally from "./Tally.ts"
import type { Result, Stop, Way } from "./Way.ts"

export interface Options {
  readonly ways: ReadonlyArray<Way>
  /** The timer of the recipe, and the grace period of Lastcall. */
  readonly graceMillis: number
  readonly progress: Progress
}

const clients = 4
/** How long both replicas serve undisturbed between two restarts. */
const calm = "400 millis"

const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "noon-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

export const run = (
  { graceMillis, progress, ways }: Options
): Effect.Effect<ReadonlyArray<Result>, Replica.ReplicaError | Load.LoadError> =>
  Effect.forEach(ways, (way) => Effect.scoped(runWay(way, graceMillis, progress)))

/**
 * Restarts two replicas in turn. A successor has loaded its program when its predecessor gets SIGTERM, and listens when
 * that has ended. It is in use by all clients before the other replica goes.
 */
const runWay = Effect.fnUntraced(function*(way: Way, graceMillis: number, progress: Progress) {
  progress.note(way.name, way.what)
  const path = yield* directory
  const places = yield* Effect.forEach(
    [{ name: "A", lane: 0 }, { name: "B", lane: 1 }] as const,
    ({ lane, name }) =>
      Effect.map(FreePort.find(lane), (port) => ({ name, port, socketPath: join(path, `${name}.sock`) }))
  )
  const note = (line: string) => progress.note(way.name, line)
  /** The line that is rewritten: of the stop while there is one, otherwise of the load. */
  let stopping = ""
  let loaded = ""
  const showLive = () => progress.live(way.name, stopping || loaded)

  const prepare = (index: number, generation: number) => {
    const { name, port, socketPath } = places[index]!
    const instance = `${name}${generation}`
    return Replica.prepare({ instance, port, socketPath, graceMillis, stop: way.stop }, {
      onLog: note,
      onStopEvent(event) {
        const line = StopText.logged(instance, event)
        if (line !== undefined) note(line)
      },
      onLiveLine(line) {
        stopping = line && StopText.live(instance, line)
        showLive()
      }
    })
  }
  const replicas = yield* Effect.forEach(
    places,
    (_, index) => Effect.flatMap(prepare(index, 1), ({ serve }) => serve),
    { concurrency: "unbounded" }
  )

  const load = yield* Load.start({
    ports: places.map(({ port }) => port),
    socketPaths: places.map(({ socketPath }) => socketPath),
    clients,
    load: way.load
  }, {
    onLog: note,
    onReport() {
      loaded = score(load.latest().tally)
      showLive()
    }
  })
  const awaitReturn = Effect.fnUntraced(function*(instance: string) {
    if (yield* load.awaitReturn(instance)) return
    note(`${instance} is not in use by all clients yet; going on`)
  })
  for (const { instance } of replicas) yield* awaitReturn(instance)
  note("two replicas serve, the load is on")

  /** The process that takes over in a restart, while the one before it is under way. */
  const prepareFor = (restart: number) =>
    Effect.forkScoped(prepare(restart % places.length, Math.floor(restart / places.length) + 2))

  const stops: Array<Stop> = []
  let preparing = yield* prepareFor(0)
  for (let i = 0; i < way.restarts; i++) {
    const index = i % places.length
    yield* Effect.sleep(calm)
    const successor = yield* Fiber.join(preparing)
    const stop = yield* replicas[index]!.terminate
    stopping = ""
    stops.push(stop)
    replicas[index] = yield* successor.serve
    if (i + 1 < way.restarts) preparing = yield* prepareFor(i + 1)
    yield* awaitReturn(replicas[index].instance)
    note(
      `restart ${i + 1} of ${way.restarts}: ${stop.instance} stopped in ${(stop.millis / 1000).toFixed(2)} s, ` +
        `${replicas[index].instance} is in use; ${score(load.latest().tally)}`
    )
  }
  const { tally, watchesEnded } = yield* load.finish
  return { way, graceMillis, tally, watchesEnded, stops }
})

const score = (tally: Tally.Tally): string =>
  `${tally.sent.toLocaleString("en-US")} RPCs sent, ${Tally.lost(tally).toLocaleString("en-US")} lost`
