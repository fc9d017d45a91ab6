/**
 * gRPC without ports: a server of `@lastcall/grpc` and its clients in one process, connected in memory.
 *
 * It is the real server, with grpc-js and HTTP/2, admission, drain and GOAWAY; only the connections are pairs of
 * `MemorySocket`. So nothing takes time that a `TestClock` or `VirtualTime` does not rule: a grace period of 30 seconds passes in
 * milliseconds. (Deadlines of RPCs, keepalive and the ages of connections are timers of grpc-js's own, and pass on the machine's
 * clock.)
 *
 * The client is a `GrpcChannel` for `GrpcClient.make` and for grpc-js's own clients. Its HTTP/2 is Node's and not grpc-js's: it
 * makes one attempt for each RPC, and a second one where the server has refused the first without a handler, as when it drains
 * (transparent retry, gRFC A6; of requests up to 1 MiB). It has no retry policy, load balancing, TLS or keepalive.
 *
 * @since 0.1.0
 */
import * as grpc from "@grpc/grpc-js"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import type { GrpcLimits } from "@lastcall/grpc/GrpcLimits"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import type * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as MemoryChannel from "./internal/memoryChannel.ts"
import * as MemorySocket from "./MemorySocket.ts"

/**
 * An address in memory: servers listen at it, clients connect to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Address {
  readonly name: string
  /** For `GrpcServer`. One server at a time; a successor can listen once its predecessor drains, or before: it takes over. */
  readonly listener: GrpcListener.GrpcListener
  /**
   * Connects: the client's end, for a client or bytes of your own. `undefined` while no server listens.
   */
  readonly connect: () => MemorySocket.MemorySocket | undefined
  /** Calls back once, as soon as a server listens. */
  readonly onListening: (callback: () => void) => void
}

/**
 * Makes an address.
 *
 * @category constructors
 * @since 0.1.0
 */
export const address = (name: string): Address => {
  const servers: Array<(connection: GrpcListener.Connection) => void> = []
  let waiting: Array<() => void> = []
  return {
    name,
    listener: GrpcListener.injected(name, {
      start(inject) {
        servers.push(inject)
        const wake = waiting
        waiting = []
        for (const callback of wake) callback()
        return () => void servers.splice(servers.indexOf(inject), 1)
      }
    }),
    connect() {
      const inject = servers.at(-1)
      if (inject === undefined) return undefined
      const [client, server] = MemorySocket.pair()
      inject(server)
      return client
    },
    onListening(callback) {
      if (servers.length > 0) callback()
      else waiting.push(callback)
    }
  }
}

/**
 * The options of a channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChannelOptions {
  /** The name in logs and in the report of its stop. Default: `channel` and the address. */
  readonly name?: string | undefined
  /** How long the steps of its stop may take. Default: no drain delay, 10 s grace, 2 s force timeout. */
  readonly stop?: StopPolicy.Options | undefined
}

/**
 * Opens a channel to an address. It connects when its first RPC is made, and again after a GOAWAY; closing the scope stops it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const channel = (
  address: Address,
  options: ChannelOptions = {}
): Effect.Effect<GrpcChannel.GrpcChannel["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const { name = `channel ${address.name}` } = options
    const inFlight = yield* InFlight.make
    const memory = yield* Effect.acquireRelease(
      Effect.sync(() => MemoryChannel.make(address)),
      (self) =>
        Effect.sync(() => {
          self.close()
          self.destroy()
        })
    )
    const client = new grpc.Client(address.name, grpc.credentials.createInsecure(), { channelOverride: memory })
    const states = yield* watch(memory)
    const stop = yield* GracefulStop.make({
      name,
      inFlight,
      drain: Effect.suspend(() => {
        inFlight.close()
        return Effect.andThen(inFlight.awaitEmpty, Effect.sync(() => memory.close()))
      }),
      destroy() {
        memory.close()
        memory.destroy()
      }
    }, options.stop)
    return GrpcChannel.GrpcChannel.of({
      name,
      address: address.name,
      phase: stop.phase,
      state: () => names[memory.getConnectivityState(false)],
      states,
      awaitReady: Effect.flatMap(
        Stream.runHead(Stream.filter(
          Stream.onStart(states, Effect.sync(() => void memory.getConnectivityState(true))),
          (state) => state === "READY" || state === "SHUTDOWN"
        )),
        (state) =>
          Option.contains(state, "READY") ? Effect.void : Effect.fail(GrpcError.unavailable(`${name} was stopped`))
      ),
      inFlight: () => inFlight.running(),
      admit: (path) => inFlight.kind(path.slice(1)).admit(),
      client,
      enter: (call) => call(),
      stop: stop.stop,
      escalate: stop.escalate
    })
  })

const names = {
  [grpc.connectivityState.IDLE]: "IDLE",
  [grpc.connectivityState.CONNECTING]: "CONNECTING",
  [grpc.connectivityState.READY]: "READY",
  [grpc.connectivityState.TRANSIENT_FAILURE]: "TRANSIENT_FAILURE",
  [grpc.connectivityState.SHUTDOWN]: "SHUTDOWN"
} as const

const watch = (memory: MemoryChannel.MemoryChannel): Effect.Effect<Stream.Stream<GrpcChannel.State>> =>
  Effect.map(PubSub.unbounded<GrpcChannel.State>({ replay: 1 }), (changes) => {
    const look = (): void => {
      const state = memory.getConnectivityState(false)
      PubSub.publishUnsafe(changes, names[state])
      if (state !== grpc.connectivityState.SHUTDOWN) {
        memory.watchConnectivityState(state, Number.POSITIVE_INFINITY, look)
      }
    }
    look()
    return Stream.takeUntil(Stream.fromPubSub(changes), (state) => state === "SHUTDOWN")
  })

/**
 * A server in memory, and a channel to it: what a test of handlers needs.
 *
 * **Details**
 *
 * The options are those of `GrpcServer.layer`, without `listen`. When the layer is released, the channel stops first.
 *
 * **Example** (A test of handlers)
 *
 * ```ts
 * import * as GrpcClient from "@lastcall/grpc/GrpcClient"
 * import * as GrpcService from "@lastcall/grpc/GrpcService"
 * import * as InMemoryGrpc from "@lastcall/testing/InMemoryGrpc"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const text = { requestSerialize: Buffer.from, requestDeserialize: String, responseSerialize: Buffer.from, responseDeserialize: String }
 * const definition = {
 *   shout: { path: "/demo.Echo/Shout", requestStream: false, responseStream: false, ...text }
 * } as const
 *
 * class Echo extends GrpcService.Service<Echo>()(definition) {}
 * const EchoLive = Echo.toLayer({ shout: (request) => Effect.succeed(request.toUpperCase()) })
 *
 * const test = Effect.gen(function*() {
 *   const echo = yield* GrpcClient.make(definition)
 *   const answer = yield* echo.shout("last call")
 *   if (answer !== "LAST CALL") throw new Error(answer)
 * })
 *
 * await Effect.runPromise(
 *   Effect.provide(test, InMemoryGrpc.layer("api", { services: [Echo] }).pipe(Layer.provide(EchoLive)))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const S extends GrpcServer.Services, const M extends GrpcService.Middleware = []>(
  name: string,
  options: {
    readonly services: S
    readonly middleware?: M | undefined
    readonly limits?: GrpcLimits | undefined
    readonly stop?: StopPolicy.Options | undefined
    readonly channel?: ChannelOptions | undefined
  }
): Layer.Layer<
  GrpcChannel.GrpcChannel,
  never,
  Exclude<Effect.Services<ReturnType<typeof GrpcServer.make<S, M>>>, Scope.Scope>
> =>
  Layer.effect(
    GrpcChannel.GrpcChannel,
    Effect.suspend(() => {
      const at = address(name)
      return Effect.andThen(
        Effect.orDie(GrpcServer.make(name, { ...options, listen: [at.listener] })),
        channel(at, options.channel)
      )
    })
  )
