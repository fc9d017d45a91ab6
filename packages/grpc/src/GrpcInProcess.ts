/**
 * A channel to services of the same process, without a network, an HTTP/2 connection or a server.
 *
 * It is for tests of what calls and of what is called, and for programs that have both in one process for now. Clients and
 * handlers are what they are elsewhere: requests and responses are written to bytes and read again, metadata passes as headers,
 * errors come as `GrpcError` with details and trailers, interruption and deadlines reach the handler, streams have backpressure,
 * middleware of both sides runs.
 *
 * @since 0.1.0
 */
import { type ChannelInterface, Client, connectivityState, credentials, status } from "@grpc/grpc-js"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { GrpcChannel } from "./GrpcChannel.ts"
import { unavailable } from "./GrpcError.ts"
import { compose } from "./GrpcMiddleware.ts"
import { DuplicateMethodError } from "./GrpcServer.ts"
import type { Implementation, Middleware, Required } from "./GrpcService.ts"
import * as ClientConnectivity from "./internal/clientConnectivity.ts"
import * as HandlerContext from "./internal/handlerContext.ts"
import { InProcessCall, peer } from "./internal/inProcessCall.ts"
import { encoder, type MethodRuntime, Rpc } from "./internal/rpc.ts"
import * as Status from "./internal/status.ts"

/**
 * The services of an in-process channel, declared with `GrpcService.Service`.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = ReadonlyArray<Context.Key<unknown, Implementation>>

/**
 * The options of an in-process channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S extends Services = Services, M extends Middleware = Middleware> {
  /** The services. Two of them must not have a method in common. */
  readonly services: S
  /** The name in logs and in the report of its stop. Default: `in-process`. */
  readonly name?: string | undefined
  /** As that of a server: runs around the handlers of all services, outside of the services' own. */
  readonly middleware?: M | undefined
  /** How long the steps of its stop may take. Default: no drain delay, 10 s grace, 2 s force timeout. */
  readonly stop?: StopPolicy.Options | undefined
}

type Identifiers<S extends Services> = S[number] extends infer K ? K extends Context.Key<infer Id, Implementation> ? Id
  : never
  : never

/**
 * Opens an in-process channel. Closing the scope stops it as any channel is stopped, and waits for the handlers, finalizers
 * included, up to the force timeout; they are told as by a server that drains.
 *
 * **Gotchas**
 *
 * There is no retry policy, no compression and no connection: their failures cannot be tested with it. Deadlines are measured by
 * timers of Node's, as everywhere: a `TestClock` does not move them. A message of more than 4 MiB fails its RPC with
 * RESOURCE_EXHAUSTED.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const S extends Services, const M extends Middleware = []>(
  options: Options<S, M>
): Effect.Effect<GrpcChannel["Service"], never, Identifiers<S> | Required<M> | Scope.Scope> =>
  Effect.gen(function*() {
    const { name = peer, services } = options
    const context = yield* Effect.context<never>()
    const inFlight = yield* InFlight.make
    const handled = yield* InFlight.make
    const told = Latch.makeUnsafe(false)
    const runFork = Effect.runForkWith(context)
    const logDefect = (path: string, cause: Cause.Cause<unknown>): void => {
      runFork(Effect.logError(`${name}: the handler of ${path} died`, cause))
    }
    const handlerContext = HandlerContext.make(() => stop, told, services)

    const methods = new Map<string, MethodRuntime>()
    for (const service of services) {
      const implementation = Context.getUnsafe(context, service)
      const serviceContext = Context.merge(Context.merge(context, implementation.context), handlerContext)
      const middleware = compose([...(options.middleware ?? []), ...implementation.middleware], serviceContext)
      for (const method of implementation.methods) {
        if (methods.has(method.path)) throw new DuplicateMethodError({ server: name, path: method.path })
        methods.set(method.path, {
          method,
          context: serviceContext,
          middleware,
          encode: encoder(method, Number.POSITIVE_INFINITY),
          logDefect
        })
      }
    }

    let isClosed = false
    let closed = (): void => {}
    const channel: ChannelInterface = {
      close() {
        if (isClosed) return
        isClosed = true
        closed()
      },
      getTarget: () => peer,
      getConnectivityState: () => isClosed ? connectivityState.SHUTDOWN : connectivityState.READY,
      watchConnectivityState(_state, _deadline, changed) {
        closed = changed
      },
      getChannelzRef() {
        throw new Error("there is no channelz in process")
      },
      createCall: (path, deadline, host) =>
        new InProcessCall(
          (call) => {
            const runtime = methods.get(path)
            if (runtime === undefined) {
              call.sendStatus(
                Status.make(status.UNIMPLEMENTED, `The server does not implement the method ${path}`)
              )
              return
            }
            const entry = handled.kind(path.slice(1)).admit()!
            const rpc = new Rpc(runtime, call, entry)
            entry.onInterrupt(() => rpc.interrupt())
          },
          typeof deadline === "number" ? deadline : deadline.getTime(),
          host ?? peer
        ).client
    }
    const client = new Client(peer, credentials.createInsecure(), { channelOverride: channel })

    const { state, states } = yield* ClientConnectivity.make(channel, (call) => call())

    /** A client has its status before the finalizers of its handler have run. */
    const allEnded = Effect.andThen(inFlight.awaitEmpty, handled.awaitEmpty)
    const stop = yield* GracefulStop.make({
      name,
      inFlight,
      drain: Effect.suspend(() => {
        inFlight.close()
        told.openUnsafe()
        return Effect.andThen(allEnded, Effect.sync(() => client.close()))
      }),
      interrupt: Effect.suspend(() => {
        inFlight.interruptAll()
        return allEnded
      }),
      destroy: () => client.close()
    }, options.stop)
    return GrpcChannel.of({
      name,
      address: peer,
      phase: stop.phase,
      state,
      states,
      awaitReady: Effect.suspend(() =>
        state() === "READY" ? Effect.void : Effect.fail(unavailable(`${name} was stopped`))
      ),
      inFlight: () => inFlight.running(),
      admit: (path) => inFlight.kind(path.slice(1)).admit(),
      client,
      enter: (call) => call(),
      stop: stop.stop,
      escalate: stop.escalate
    })
  })

/**
 * An in-process channel as a layer, in the place of `GrpcChannel.layer`.
 *
 * **Example** (The clients of a program, in a test)
 *
 * ```ts
 * import * as GrpcClient from "@lastcall/grpc/GrpcClient"
 * import * as GrpcInProcess from "@lastcall/grpc/GrpcInProcess"
 * import * as GrpcService from "@lastcall/grpc/GrpcService"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Stream from "effect/Stream"
 * import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
 *
 * // The program's
 * class EchoClient extends Context.Service<EchoClient, GrpcClient.Client<typeof EchoService>>()("app/EchoClient") {
 *   static readonly layer = Layer.effect(EchoClient, GrpcClient.make(EchoService))
 * }
 *
 * // The test's
 * class Echo extends GrpcService.Service<Echo>()(EchoService) {}
 *
 * const EchoTest = Echo.toLayer({
 *   say: ({ text }) => Effect.succeed({ text }),
 *   count: ({ to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n }))),
 *   sum: () => Effect.succeed({ total: 0 }),
 *   chat: () => Stream.empty
 * })
 *
 * export const TestLayer = EchoClient.layer.pipe(
 *   Layer.provide(GrpcInProcess.layer({ services: [Echo] })),
 *   Layer.provide(EchoTest)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const S extends Services, const M extends Middleware = []>(
  options: Options<S, M>
): Layer.Layer<GrpcChannel, never, Identifiers<S> | Required<M>> => Layer.effect(GrpcChannel, make(options))
