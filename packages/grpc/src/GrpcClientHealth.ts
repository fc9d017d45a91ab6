/**
 * Whether the service behind a channel says that it serves: gRFC A17, client-side health checking, which grpc-js lacks.
 *
 * One `grpc.health.v1.Health/Watch` is kept on the channel. Each status that comes is a value that can be asked, a stream, and
 * something to wait for before the first RPC.
 *
 * It observes, and does not steer: A17 watches each connection and keeps RPCs off the unhealthy ones. Here grpc-js picks the
 * connection of the Watch, so that of several servers behind one channel it is the status of one.
 *
 * @since 0.1.0
 */
import * as InFlight from "@lastcall/core/InFlight"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/grpc/health/v1/health_pb.ts"
import { GrpcCall } from "./GrpcCall.ts"
import { GrpcChannel } from "./GrpcChannel.ts"
import * as GrpcClient from "./GrpcClient.ts"
import { type GrpcError, unavailable } from "./GrpcError.ts"
import type { WatchedStatus } from "./GrpcHealth.ts"
import { codeOf } from "./internal/clientStatus.ts"
import { makeChanges } from "./internal/health.ts"

/**
 * What is known of the service:
 *
 * - what the server says: `SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN`, `UNKNOWN`,
 * - `CONNECTING`: nothing yet, or nothing since the Watch broke,
 * - `UNREACHABLE`: the Watch broke, and the next one waits for its backoff,
 * - `UNIMPLEMENTED`: the server has no health service. It counts as serving,
 * - `SHUTDOWN`: the channel is closed, or the scope of this.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = WatchedStatus | "CONNECTING" | "UNREACHABLE" | "UNIMPLEMENTED" | "SHUTDOWN"

/**
 * Whether RPCs should be sent: `SERVING`, or the server does not say.
 *
 * @category guards
 * @since 0.1.0
 */
export const isServing = (status: Status): boolean => status === "SERVING" || status === "UNIMPLEMENTED"

/**
 * The health of a service, as its channel sees it.
 *
 * @category services
 * @since 0.1.0
 */
export class GrpcClientHealth extends Context.Service<GrpcClientHealth, {
  /** The full name of the service; the empty name is the whole server. */
  readonly service: string
  /** The status now. */
  readonly status: () => Status
  /**
   * The status now, and each other that it comes to; ends after `SHUTDOWN`. A slow reader gets the latest status and misses those
   * between.
   */
  readonly changes: Stream.Stream<Status>
  /** Waits until the service serves, however long that takes. Fails with UNAVAILABLE at `SHUTDOWN`. */
  readonly awaitServing: Effect.Effect<void, GrpcError>
}>()("@lastcall/grpc/GrpcClientHealth") {}

/**
 * The options of a watch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The full name of the service to watch. Default: `""`, the whole server. */
  readonly service?: string | undefined
}

const names = new Map<number, WatchedStatus>(
  Object.entries(ServingStatus).map(([name, status]) => [status, name as WatchedStatus])
)

/** Those of A17, which are those of connections. */
const backoff = { initialMillis: 1_000, factor: 1.6, maxMillis: 120_000, jitter: 0.2 }

const backoffAfter = (failures: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (random) => {
    const millis = Math.min(backoff.maxMillis, backoff.initialMillis * backoff.factor ** failures)
    return Effect.sleep(Duration.millis(millis * (1 + backoff.jitter * (2 * random - 1))))
  })

/**
 * Watches a service on the channel in the context, until the scope closes.
 *
 * **Details**
 *
 * The channel connects, and the Watch waits while it cannot. A Watch that ends is made again: at once if it brought a message,
 * else after 1 second, 1.6 times as long after each further failure, at most 2 minutes, each time up to 20 % more or less. If the
 * server does not implement Watch that is logged once, and asked again when the channel has a new connection.
 *
 * The Watch is no RPC in flight: it neither holds the stop of the channel nor shows in its report, and ends when the channel
 * closes. Neither the deadline of an RPC that is being served nor that of a middleware applies to it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<GrpcClientHealth["Service"], never, GrpcChannel | Scope.Scope> =>
  Effect.gen(function*() {
    const { service = "" } = options
    const channel = yield* GrpcChannel
    // What is admitted here the stop of the channel does not know of.
    const inFlight = yield* InFlight.make
    const client = yield* Effect.provideService(GrpcClient.make(Health), GrpcChannel, {
      ...channel,
      admit: (path) => inFlight.kind(path.slice(1)).admit()
    })

    let status: Status = "CONNECTING"
    const changes = makeChanges()
    const set = (next: Status): void => {
      status = next
      changes.notify()
    }

    let isHeard = false
    let failures = 0
    let isLogged = false
    const watch = Stream.runForEach(
      client.watch({ service }, { waitForReady: true, deadline: Duration.infinity }),
      (response) =>
        Effect.sync(() => {
          isHeard = true
          set(names.get(response.status) ?? "UNKNOWN")
        })
    )
    const watching: Effect.Effect<never> = Effect.suspend(() => {
      // The end of this is on its way.
      if (channel.state() === "SHUTDOWN") return Effect.never
      isHeard = false
      set("CONNECTING")
      return Effect.flatMap(Effect.exit(watch), (exit) => Effect.andThen(broken(exit), watching))
    })
    const broken = (exit: Exit.Exit<void, GrpcError>): Effect.Effect<void> => {
      if (codeOf(exit) === "UNIMPLEMENTED") return unimplemented
      set("UNREACHABLE")
      const why = Exit.isSuccess(exit) ? "the server ended it" : Cause.pretty(exit.cause)
      const log = Effect.logDebug(`${channel.name}: the health watch broke: ${why}`)
      if (isHeard) {
        failures = 0
        return log
      }
      return Effect.andThen(log, backoffAfter(failures++))
    }
    const unimplemented = Effect.suspend(() => {
      failures = 0
      set("UNIMPLEMENTED")
      const log = isLogged
        ? Effect.void
        : Effect.logWarning(`${channel.name}: the server has no health service; it counts as serving`)
      isLogged = true
      return Effect.andThen(log, reconnected)
    })
    const reconnected = channel.states.pipe(
      Stream.dropWhile((state) => state === "READY"),
      Stream.takeUntil((state) => state === "READY"),
      Stream.runDrain
    )

    yield* Effect.addFinalizer(() => Effect.sync(() => set("SHUTDOWN")))
    yield* Effect.raceFirst(watching, Stream.runDrain(channel.states)).pipe(
      Effect.andThen(Effect.sync(() => set("SHUTDOWN"))),
      // It is nobody's RPC: it outlives what made it, and its deadline.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(GrpcCall, Tracer.ParentSpan)(context)),
      Effect.forkScoped
    )

    const statuses = Stream.takeUntil(changes.latest(() => status), (status) => status === "SHUTDOWN")
    return GrpcClientHealth.of({
      service,
      status: () => status,
      changes: statuses,
      awaitServing: Effect.flatMap(
        Stream.runHead(Stream.filter(statuses, isServing)),
        (serving) =>
          serving._tag === "Some"
            ? Effect.void
            : Effect.fail(unavailable(`${channel.name}: the watch of the health of "${service}" has ended`))
      )
    })
  })

/**
 * The health of a service as a layer.
 *
 * **Example** (Ready when the users service is)
 *
 * ```ts
 * import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
 * import * as GrpcClientHealth from "@lastcall/grpc/GrpcClientHealth"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * export const program = Effect.gen(function*() {
 *   const users = yield* GrpcClientHealth.GrpcClientHealth
 *   yield* Effect.timeout(users.awaitServing, "30 seconds")
 *   // ...
 * }).pipe(
 *   Effect.provide(GrpcClientHealth.layer({ service: "acme.users.v1.Users" })),
 *   Effect.provide(GrpcChannel.layer({ address: GrpcChannel.dns("users.internal", 50051) }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<GrpcClientHealth, never, GrpcChannel> =>
  Layer.effect(GrpcClientHealth, make(options))
