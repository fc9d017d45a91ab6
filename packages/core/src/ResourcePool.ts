/**
 * A pool whose members are in use for a while, under the stop protocol: connections of a database, browsers, workers.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Pool from "effect/Pool"
import * as Scope from "effect/Scope"
import * as GracefulStop from "./GracefulStop.ts"
import * as InFlight from "./InFlight.ts"
import * as StopPolicy from "./StopPolicy.ts"

/**
 * A pool that can be stopped.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResourcePool<A, E> {
  readonly stop: GracefulStop.GracefulStop
  /**
   * Uses a member; it goes back to the pool afterwards. Fails with `Refused` once the pool drains; waits while all members
   * are in use.
   */
  readonly use: <B, E2, R>(f: (member: A) => Effect.Effect<B, E2, R>) => Effect.Effect<B, E | E2 | InFlight.Refused, R>
}

/**
 * The options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E, R> {
  /** The name in logs and in the report. */
  readonly name: string
  /** Makes a member; its scope is released when the pool has stopped. */
  readonly acquire: Effect.Effect<A, E, R>
  /** How many members there are. A defect if it is no whole number above 0. */
  readonly size: number
  /** How long the steps of its stop may take. */
  readonly stop?: StopPolicy.Options | undefined
}

/**
 * Makes a pool. When the scope closes it lends nothing more, waits for what is lent, and then releases its members.
 *
 * **Details**
 *
 * A use that was abandoned still holds its member, and a `Pool` waits for that: then the scope closes without waiting, and
 * the members are released when the use has ended.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E, R>(
  options: Options<A, E, R>
): Effect.Effect<ResourcePool<A, E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const { size } = options
    if (!Number.isInteger(size) || size < 1) {
      throw new StopPolicy.StopPolicyError({ option: "size", value: size, reason: "must be a whole number above 0" })
    }
    const members = yield* Scope.make()
    let stop: GracefulStop.GracefulStop | undefined
    yield* Effect.addFinalizer((exit) =>
      Effect.gen(function*() {
        const release = Scope.close(members, exit)
        // The stop comes first also where finalizers run in parallel.
        const isHeld = stop !== undefined && (yield* stop.stop).abandoned.length > 0
        yield* isHeld ? Effect.forkDetach(release, { startImmediately: true }) : release
      })
    )
    const pool = yield* Scope.provide(Pool.make({ acquire: options.acquire, size }), members)
    const inFlight = yield* InFlight.make
    stop = yield* GracefulStop.make({ name: options.name, inFlight }, options.stop)
    return {
      stop,
      use: (f) => InFlight.run(inFlight, "use", Effect.scoped(Effect.flatMap(Pool.get(pool), f)))
    }
  })
