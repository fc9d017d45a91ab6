/**
 * `grpc.health.v1`: what load balancers, Kubernetes and clients ask to know whether to send RPCs here.
 *
 * The statuses are a value that the program sets; {@link Health} is the service that tells them. How they go with the stop:
 *
 * 1. Until the announcement they are what the program says. With `notServingUntilReady` they are `NOT_SERVING` until the
 *    process is ready.
 * 2. **At the announcement** every service is `NOT_SERVING`, and that is frozen: what the program sets later is ignored.
 *    Watchers are told, while everything is still served for the drain delay.
 * 3. **Until the end** Check and List answer. When the server drains, Watch ends with OK, after its last status, so that a
 *    watcher never holds a stop.
 *
 * With a `Lifecycle` that is the announcement of the process. Without one, each server that serves {@link Health} tells its
 * own clients of its own announcement.
 *
 * Health RPCs are no traffic: they do not keep a drain delay from ending after a quiet period.
 *
 * @since 0.1.0
 */
import { Lifecycle } from "@lastcall/core/Lifecycle"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as ServingStatus
} from "./gen/grpc/health/v1/health_pb.ts"
import { GrpcDrain } from "./GrpcDrain.ts"
import * as GrpcError from "./GrpcError.ts"
import * as GrpcService from "./GrpcService.ts"
import { makeChanges } from "./internal/health.ts"

/**
 * The status of a service, as a program sets it.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = "UNKNOWN" | "SERVING" | "NOT_SERVING"

/**
 * The status of a service, as a watcher sees it: `SERVICE_UNKNOWN` where it has none, or none yet.
 *
 * @category models
 * @since 0.1.0
 */
export type WatchedStatus = Status | "SERVICE_UNKNOWN"

/**
 * The statuses of the services of a program, by their full names; the empty name is the whole server.
 *
 * **Details**
 *
 * Reading is synchronous. Once the process has announced its end, every service is `NOT_SERVING`, and what changes the
 * statuses does nothing.
 *
 * @category services
 * @since 0.1.0
 */
export class GrpcHealth extends Context.Service<GrpcHealth, {
  /** Sets the status of a service, known or not. */
  readonly set: (service: string, status: Status) => Effect.Effect<void>
  /** Sets the status of every known service, the whole server included. */
  readonly setAll: (status: Status) => Effect.Effect<void>
  /** Forgets a service: Check fails with `NOT_FOUND`, and its watchers are told `SERVICE_UNKNOWN`. */
  readonly remove: (service: string) => Effect.Effect<void>
  /** The status of a service; `undefined` if it is unknown. */
  readonly get: (service: string) => Status | undefined
  /** All statuses, in the order in which the services became known. */
  readonly statuses: () => ReadonlyMap<string, Status>
  /**
   * The status of a service now, and each other that it comes to. It never ends; a slow reader gets the latest status and
   * misses those between.
   */
  readonly changes: (service: string) => Stream.Stream<WatchedStatus>
}>()("@lastcall/grpc/GrpcHealth") {}

/**
 * The options of the statuses.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The statuses to begin with. The whole server, `""`, is `SERVING` if it is not among them. */
  readonly statuses?: { readonly [service: string]: Status } | undefined
  /**
   * Whether every service is `NOT_SERVING` until the `Lifecycle` is ready: all layers built, the warm-up over. Outside of
   * `Lifecycle.launch` it is ready from the start. Default: false.
   */
  readonly notServingUntilReady?: boolean | undefined
}

/**
 * The service `grpc.health.v1.Health`, for the `services` of a server: Check, Watch and List.
 *
 * **Details**
 *
 * Check fails with `NOT_FOUND` for an unknown service. Watch tells `SERVICE_UNKNOWN` for it, and its status once it has one.
 * List fails with `RESOURCE_EXHAUSTED` if there are more than 100 services, as grpc-go's does.
 *
 * @category services
 * @since 0.1.0
 */
export class Health extends GrpcService.Service<Health>()(HealthService) {}

/**
 * Makes the statuses.
 *
 * **Details**
 *
 * They follow the `Lifecycle` in the context until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<GrpcHealth["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const lifecycle = yield* Lifecycle
    const statuses = new Map<string, Status>(Object.entries({ "": "SERVING", ...options.statuses }))
    const changes = makeChanges()

    const isFrozen = () => lifecycle.phase() !== "Starting" && lifecycle.phase() !== "Ready"
    const isServing = () =>
      lifecycle.phase() === "Ready" || (lifecycle.phase() === "Starting" && options.notServingUntilReady !== true)

    const get = (service: string): Status | undefined => {
      const status = statuses.get(service)
      return status === undefined || isServing() ? status : "NOT_SERVING"
    }

    const change = (apply: () => void): Effect.Effect<void> =>
      Effect.sync(() => {
        if (isFrozen()) return
        apply()
        changes.notify()
      })

    yield* Effect.forkScoped(Stream.runForEach(lifecycle.changes, () => Effect.sync(changes.notify)))

    return GrpcHealth.of({
      set: (service, status) => change(() => statuses.set(service, status)),
      setAll: (status) =>
        change(() => {
          for (const service of statuses.keys()) statuses.set(service, status)
        }),
      remove: (service) => change(() => statuses.delete(service)),
      get,
      statuses: () => new Map(Array.from(statuses.keys(), (service) => [service, get(service)!])),
      changes: (service) => changes.latest(() => get(service) ?? "SERVICE_UNKNOWN")
    })
  })

/**
 * The statuses, and the service that tells them.
 *
 * **Details**
 *
 * Servers that are provided with one such layer share its statuses. Call it twice for statuses of their own.
 *
 * **Example** (A service that depends on a database)
 *
 * ```ts
 * import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
 * import * as GrpcListener from "@lastcall/grpc/GrpcListener"
 * import * as GrpcServer from "@lastcall/grpc/GrpcServer"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Schedule from "effect/Schedule"
 * import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
 *
 * declare const isDatabaseUp: Effect.Effect<boolean>
 *
 * const Probe = Layer.effectDiscard(Effect.gen(function*() {
 *   const health = yield* GrpcHealth.GrpcHealth
 *   yield* isDatabaseUp.pipe(
 *     Effect.flatMap((up) => health.set(EchoService.typeName, up ? "SERVING" : "NOT_SERVING")),
 *     Effect.repeat(Schedule.spaced("5 seconds")),
 *     Effect.forkScoped
 *   )
 * }))
 *
 * export const Api = GrpcServer.layer("api", {
 *   services: [GrpcHealth.Health],
 *   listen: [GrpcListener.tcp({ port: 50051 })]
 * }).pipe(Layer.provide(Probe), Layer.provide(GrpcHealth.layer({ statuses: { [EchoService.typeName]: "NOT_SERVING" } })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<GrpcHealth | Health> =>
  Layer.provideMerge(Health.toLayer(Effect.map(GrpcHealth, implement)), Layer.effect(GrpcHealth, make(options)))

/** As many services as grpc-go's List tells. */
const maxListed = 100

const response = (status: WatchedStatus) => ({ status: ServingStatus[status] })

/** The handlers. To the clients of a server that has announced its end every service is `NOT_SERVING`. */
const implement = (health: GrpcHealth["Service"]) =>
  Health.of({
    check: ({ service }) =>
      Effect.flatMap(GrpcDrain, (drain) => {
        const status = health.get(service)
        return status === undefined
          ? Effect.fail(GrpcError.notFound("unknown service"))
          : Effect.succeed(response(drain.isAnnounced() ? "NOT_SERVING" : status))
      }),
    list: () =>
      Effect.flatMap(GrpcDrain, (drain) => {
        const statuses = health.statuses()
        if (statuses.size > maxListed) {
          return Effect.fail(GrpcError.resourceExhausted(`there are more than ${maxListed} services`))
        }
        const entries = Array.from(statuses, ([service, status]) => [
          service,
          response(drain.isAnnounced() ? "NOT_SERVING" : status)
        ])
        return Effect.succeed({ statuses: Object.fromEntries(entries) })
      }),
    watch: ({ service }) =>
      Stream.unwrap(Effect.map(GrpcDrain, (drain) => Stream.map(watch(health, service, drain), response)))
  })

/** Each status until the announcement, one last after it if that is another, and the end when the server drains. */
const watch = (
  health: GrpcHealth["Service"],
  service: string,
  drain: GrpcDrain
): Stream.Stream<WatchedStatus> => {
  let told: WatchedStatus | undefined
  const serving = health.changes(service).pipe(
    Stream.interruptWhen(drain.awaitAnnounced),
    Stream.tap((status) => Effect.sync(() => void (told = status)))
  )
  const announced = Stream.suspend(() => {
    const last = health.get(service) === undefined ? "SERVICE_UNKNOWN" : "NOT_SERVING"
    return last === told ? Stream.empty : Stream.make<[WatchedStatus]>(last)
  })
  return serving.pipe(
    Stream.concat(announced),
    Stream.concat(Stream.fromEffectDrain(drain.awaitDraining))
  )
}
