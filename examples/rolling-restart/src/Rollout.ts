/** A rolling restart of three replicas under load. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Load from "./Load.ts"
import * as Ports from "./Ports.ts"
import * as Replica from "./Replica.ts"
import * as Tally from "./Tally.ts"

export interface Options {
  readonly way: Replica.Way
  /** In turn: A, B, C, A, ... */
  readonly restarts: number
  /** How long a new process is ready before the next one stops: `minReadySeconds` in Kubernetes. */
  readonly holdMillis: number
  /** The grace period of Lastcall, the timer of the recipe. */
  readonly graceMillis: number
  readonly load: Omit<Load.Options, "ports">
  readonly note: (line: string) => void
}

export interface Result {
  readonly way: Replica.Way
  readonly tally: Tally.Tally
  readonly mostOutstanding: number
  /** The stops of the restarts. */
  readonly stops: ReadonlyArray<Replica.Stop>
  /** Those, and the stops of the last three processes when the load was over. */
  readonly allStops: ReadonlyArray<Replica.Stop>
}

const names = ["A", "B", "C"]

export const run = (options: Options): Effect.Effect<Result, Replica.ReplicaError> =>
  Effect.scoped(rollOut(options)).pipe(
    // The stop of the client's channel is logged otherwise.
    Effect.provideService(References.MinimumLogLevel, "Error")
  )

const rollOut = Effect.fnUntraced(
  function*({ graceMillis, holdMillis, load: loadOptions, note, restarts, way }: Options) {
    const ports = yield* Ports.find(names.length)
    const prepare = (index: number, generation: number) =>
      Replica.prepare(way, { instance: `${names[index]}${generation}`, port: ports[index]!, graceMillis })
    const replicas = yield* Effect.forEach(
      names,
      (_, index) => Effect.flatMap(prepare(index, 1), ({ serve }) => serve),
      { concurrency: "unbounded" }
    )
    const load = yield* Load.start({ ports, ...loadOptions })
    note(`${way}: three replicas serve, the load is on`)

    /** The process that takes over in a restart, while the one before it is under way. */
    const prepareFor = (restart: number) =>
      Effect.forkScoped(prepare(restart % names.length, Math.floor(restart / names.length) + 2))

    const stops: Array<Replica.Stop> = []
    let preparing = yield* prepareFor(0)
    for (let restart = 0; restart < restarts; restart++) {
      const index = restart % names.length
      const successor = yield* Fiber.join(preparing)
      const stop = yield* replicas[index]!.terminate
      stops.push(stop)
      const replica = yield* successor.serve
      replicas[index] = replica
      if (restart + 1 < restarts) preparing = yield* prepareFor(restart + 1)
      yield* Effect.sleep(Duration.millis(holdMillis))
      note(
        `${way}: restart ${restart + 1} of ${restarts}: ${stop.instance} stopped in ${
          (stop.millis / 1_000).toFixed(2)
        } s, ` +
          `${replica.instance} is ${load.hasHeard(replica.instance) ? "" : "not "}in use; ` +
          `${Tally.sent(load.tally)} RPCs sent, ${Tally.lost(load.tally)} lost`
      )
    }
    yield* load.finish
    const last = yield* Effect.forEach(replicas, ({ terminate }) => terminate, { concurrency: "unbounded" })
    const result: Result = {
      way,
      tally: load.tally,
      mostOutstanding: load.mostOutstanding(),
      stops,
      allStops: [...stops, ...last]
    }
    return result
  }
)
