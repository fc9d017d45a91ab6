/**
 * A gRPC server as a scoped resource: closing its scope stops it gracefully.
 *
 * The contract of its stop, in order:
 *
 * 1. **Announce.** For the drain delay everything is still served.
 * 2. **Drain.** What waits to be accepted is accepted. Then, in one step, every listener is closed (ports and socket files
 *    are free for a successor at once) and every connection gets one GOAWAY: what a client sent before is served, what it
 *    sends after goes elsewhere. Handlers are told (`GrpcDrain`). What is in flight runs on; a connection is closed when
 *    its last RPC has been answered and flushed. A TLS handshake that ends late gets its GOAWAY then.
 * 3. **Interrupt**, when the grace period is over. Handlers are interrupted; a step that is uninterruptible ends first, and
 *    finalizers are awaited. Then the client gets `UNAVAILABLE` "server is shutting down", which it may retry. An answer
 *    that is on its way is not taken back. 200 ms before the force timeout, clients of handlers that ignore interruption
 *    are answered too.
 * 4. **Destroy.** Every socket that is left is destroyed.
 *
 * When the scope has closed, no handler runs any more, but those that the report names as abandoned.
 *
 * **Why one GOAWAY**: the two-step GOAWAY of RFC 9113 section 6.8 cannot be sent with Node's http2, which ignores new
 * streams after the first. RPCs that race it are retried by their client (gRFC A6, transparent retry, on by default in
 * every gRPC client).
 *
 * @since 0.1.0
 */
import {
  Server,
  type ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServiceDefinition
} from "@grpc/grpc-js"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import * as GrpcLimits from "./GrpcLimits.ts"
import { type Address, describe, type GrpcListener, GrpcListenerError } from "./GrpcListener.ts"
import { compose } from "./GrpcMiddleware.ts"
import type { Implementation, Middleware, Native, Required } from "./GrpcService.ts"
import { bind, type Bound, listenerError, type Restore } from "./internal/bind.ts"
import * as Connections from "./internal/connections.ts"
import { deaf } from "./internal/deaf.ts"
import * as HandlerContext from "./internal/handlerContext.ts"
import * as longDeadlines from "./internal/longDeadlines.ts"
import { NativeRpc, watch } from "./internal/native.ts"
import { type Cut, encoder, type MethodRuntime, Rpc } from "./internal/rpc.ts"
import * as Status from "./internal/status.ts"

/**
 * What a server serves: services declared with `GrpcService.Service`, and grpc-js implementations.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = ReadonlyArray<Context.Key<unknown, Implementation> | Native>

/**
 * The options of a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S extends Services = Services, M extends Middleware = Middleware> {
  /** The services. Two of them must not have a method in common. */
  readonly services: S
  /** Where it listens; more can be added while it serves. */
  readonly listen: ReadonlyArray<GrpcListener>
  /** How long the steps of its stop may take. Default: no drain delay, 10 s grace, 2 s force timeout. */
  readonly stop?: StopPolicy.Options | undefined
  /** Runs around the handlers of all services, but the grpc-js ones, outside of the services' own. The first is outermost. */
  readonly middleware?: M | undefined
  /** What it takes from its clients at most. */
  readonly limits?: GrpcLimits.GrpcLimits | undefined
}

/**
 * A server that serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcServer {
  readonly name: string
  /** Where it is bound, in the order of the listeners. */
  readonly addresses: () => ReadonlyArray<Address>
  /**
   * Listens at one more place; returns where it is bound. Fails with reason `ServerStopped` once the server stops.
   */
  readonly listen: (listener: GrpcListener) => Effect.Effect<Address, GrpcListenerError>
  /** The phase of its stop protocol. */
  readonly phase: () => GracefulStop.Phase
  /** Whether RPCs are admitted: true until the drain has closed the listeners and sent the GOAWAYs. */
  readonly isAdmitting: () => boolean
  /** What is in flight, oldest first. */
  readonly inFlight: () => ReadonlyArray<InFlight.Running>
  /** How many connections are open, handshaking ones included. */
  readonly connections: () => number
  /** Stops it before its scope closes. One stop and one report, however often it is asked for. */
  readonly stop: Effect.Effect<StopReport>
  /** Cuts the drain short, a running one or one to come; see `GracefulStop`. */
  readonly escalate: Effect.Effect<void>
}

/**
 * Two services of one server have a method in common. It is a mistake in the program, so it is thrown (a defect in an
 * Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicateMethodError extends Data.TaggedError("DuplicateMethodError")<{
  readonly server: string
  readonly path: string
}> {
  override get message(): string {
    return `${this.server}: the method ${this.path} is served twice`
  }
}

/** How long a drain waits for a bind that has begun; one that ends later, after a slow name lookup, is closed then. */
const bindMillis = 1_000
/** How long the last answers may take to reach their clients in a force. */
const flushMillis = 200

type Identifiers<S extends Services> = S[number] extends infer K ? K extends Context.Key<infer Id, Implementation> ? Id
  : never
  : never

/**
 * Makes a server and binds its listeners. Closing the scope stops it.
 *
 * **Details**
 *
 * Fails with `GrpcListenerError` if a listener cannot be bound. Those that were bound before are closed at once then, without
 * the drain delay, and what came in there is drained; so too if the start is interrupted. Takes its part of the `StopBudget` in
 * the context.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const S extends Services, const M extends Middleware = []>(
  name: string,
  options: Options<S, M>
): Effect.Effect<GrpcServer, GrpcListenerError, Identifiers<S> | Required<M> | Scope.Scope> =>
  Effect.gen(function*() {
    const limits = GrpcLimits.check(options.limits)
    const context = yield* Effect.context<never>()
    const clock = yield* Clock.Clock
    const inFlight = yield* InFlight.make
    const told = Latch.makeUnsafe(false)
    yield* Effect.acquireRelease(Effect.sync(longDeadlines.watch), (unwatch) => Effect.sync(unwatch))
    const runFork = Effect.runForkWith(context)

    const logDefect = (path: string, cause: Cause.Cause<unknown>): void => {
      runFork(Effect.logError(`${name}: the handler of ${path} died`, cause))
    }

    // Methods

    const handlerContext = HandlerContext.make(() => stop, told, options.services)
    const methods = new Map<
      string,
      {
        readonly kind: InFlight.Kind
        readonly run: (call: ServerInterceptingCallInterface, entry: InFlight.Entry) => ServerInterceptingCall
      }
    >()
    /** What a force has cut. */
    const cuts: Array<Cut> = []

    const cut = (entry: InFlight.Entry, rpc: Cut & { interrupt(): void }): void =>
      entry.onInterrupt(() => {
        cuts.push(rpc)
        rpc.interrupt()
      })

    const interceptor: ServerInterceptor = (definition, call) => {
      if (inFlight.traffic() >= limits.maxInFlight && !isHealth(definition.path)) {
        call.sendStatus(Status.tooManyInFlight)
        return deaf
      }
      const method = methods.get(definition.path)!
      const entry = method.kind.admit()
      if (entry !== undefined) return method.run(call, entry)
      call.sendStatus(Status.shuttingDown)
      return deaf
    }

    const server = new Server({ ...limits.channelOptions, "grpc.enable_channelz": 0, interceptors: [interceptor] })

    const register = (
      path: string,
      run: (call: ServerInterceptingCallInterface, entry: InFlight.Entry) => ServerInterceptingCall
    ) => {
      if (methods.has(path)) throw new DuplicateMethodError({ server: name, path })
      const kind = inFlight.kind(path.slice(1), { traffic: !isHealth(path) })
      methods.set(path, { kind, run })
    }

    for (const service of options.services) {
      if (isNative(service)) {
        for (const { path, requestStream, responseStream } of Object.values(service.definition)) {
          register(path, (call, entry) => {
            const rpc = new NativeRpc(path, requestStream, responseStream, call, entry, logDefect)
            cut(entry, rpc)
            return rpc.intercept()
          })
        }
        server.addService(service.definition, watch(service.implementation))
      } else {
        const implementation = Context.getUnsafe(context, service)
        const serviceContext = Context.merge(Context.merge(context, implementation.context), handlerContext)
        const middleware = compose([...(options.middleware ?? []), ...implementation.middleware], serviceContext)
        for (const method of implementation.methods) {
          const runtime: MethodRuntime = {
            method,
            context: serviceContext,
            middleware,
            encode: encoder(method, limits.maxSendBytes),
            logDefect
          }
          register(method.path, (call, entry) => {
            const rpc = new Rpc(runtime, call, entry)
            cut(entry, rpc)
            return deaf
          })
        }
        server.addService(...bytesOnly(implementation))
      }
    }

    // Listeners

    const connections = yield* Connections.make(server, clock, limits)
    const bound: Array<Bound> = []
    /** Binds that have begun and not ended. */
    let binding = 0
    const bindingOver = Latch.makeUnsafe(true)
    let isClosed = false

    /** Closes the listeners and sends the GOAWAYs, in one tick. */
    const close = (): void => {
      if (isClosed) return
      isClosed = true
      for (const { address, release } of bound) {
        try {
          release()
        } catch (cause) {
          runFork(Effect.logError(`${name}: ${describe(address)} could not be released`, cause))
        }
      }
      // After the listeners: a client that reconnects at once must not come to one that closes.
      connections.goaway()
    }

    const stopped = (listener: GrpcListener) =>
      new GrpcListenerError({ reason: "ServerStopped", listener, detail: `server ${name} is stopping or has stopped` })

    const listen = (listener: GrpcListener): Effect.Effect<Address, GrpcListenerError> =>
      Effect.uninterruptibleMask((restore) => {
        if (stop.phase() !== "Serving") return Effect.fail(stopped(listener))
        // Waits where credentials come from a stream.
        return Effect.flatMap(restore(makeServer(listener)), (netServer) => {
          if (netServer === undefined || stop.phase() !== "Serving") {
            netServer?.close()
            return Effect.fail(stopped(listener))
          }
          return bindServer(netServer, listener, restore)
        })
      })

    const makeServer = (listener: GrpcListener): Effect.Effect<Net.Server | undefined, GrpcListenerError> =>
      Effect.mapError(
        connections.makeServer(listener.credentials, `${name}, ${describe(listener)}`),
        (cause) => new GrpcListenerError({ reason: "InvalidCredentials", listener, detail: cause.detail, cause })
      )

    const bindServer = (
      netServer: Net.Server,
      listener: GrpcListener,
      restore: Restore
    ): Effect.Effect<Address, GrpcListenerError> => {
      binding++
      bindingOver.closeUnsafe()
      return bind(netServer, listener, restore).pipe(
        Effect.flatMap((result) => {
          if (isClosed) {
            result.release()
            return Effect.fail(stopped(listener))
          }
          bound.push(result)
          // Without a listener for it an error on accept (too many open files) would end the process.
          netServer.on("error", (cause) => {
            runFork(Effect.logError(`${name}: accepting a connection failed`, listenerError(listener, cause)))
          })
          return Effect.as(Effect.logInfo(`${name} listens on ${describe(result.address)}`), result.address)
        }),
        Effect.onError(() => Effect.sync(() => void netServer.close())),
        Effect.ensuring(Effect.sync(() => {
          if (--binding === 0) bindingOver.openUnsafe()
        }))
      )
    }

    // The stop

    const drain = Effect.gen(function*() {
      yield* Effect.raceFirst(bindingOver.await, Effect.sleep(Duration.millis(bindMillis)))
      yield* connections.acceptWaiting
      // After a turn of the event loop no read is half-way: every stream that came before the GOAWAY has been admitted.
      close()
      inFlight.close()
      told.openUnsafe()
      // The kernel waits for what is in flight as well.
      yield* connections.awaitClosed
    })

    const interrupt = Effect.fnUntraced(function*(forceMillis: number) {
      close()
      told.openUnsafe()
      inFlight.interruptAll()
      const flush = Math.min(flushMillis, forceMillis / 2)
      yield* Effect.raceFirst(
        Effect.forEach(cuts, (cut) => cut.awaitHandler, { discard: true }),
        Effect.sleep(Duration.millis(forceMillis - flush))
      )
      for (const cut of cuts) cut.answer()
      yield* Effect.raceFirst(
        Effect.andThen(inFlight.awaitEmpty, connections.awaitClosed),
        Effect.sleep(Duration.millis(flush))
      )
    })

    const stop = yield* GracefulStop.make({
      name,
      inFlight,
      drain,
      interrupt,
      destroy() {
        connections.destroy()
        for (const cut of cuts) cut.destroyed()
      }
    }, options.stop)

    const self: GrpcServer = {
      name,
      addresses: () => bound.map(({ address }) => address),
      listen,
      phase: stop.phase,
      isAdmitting: () => inFlight.isOpen(),
      inFlight: () => inFlight.running(),
      connections: connections.size,
      stop: stop.stop,
      escalate: stop.escalate
    }
    yield* Effect.onError(
      Effect.forEach(options.listen, listen, { discard: true }),
      // Announced ahead, it waits for no drain delay: nobody has been told to come here.
      () => Effect.andThen(stop.announce, stop.stop)
    )
    return self
  })

/**
 * A server as a layer that needs the implementations of its services.
 *
 * **Details**
 *
 * It provides nothing, so that several servers can live in one program; `Layer.provide` between them says who stops first:
 * in `Api.pipe(Layer.provide(Admin))` the api has drained before the admin server begins to. `onListening` hears where it is
 * bound; to have the server as a service, use {@link make} with `Layer.effect`.
 *
 * **Example** (Two servers, stopped in order)
 *
 * ```ts
 * import * as GrpcListener from "@lastcall/grpc/GrpcListener"
 * import * as GrpcServer from "@lastcall/grpc/GrpcServer"
 * import * as GrpcService from "@lastcall/grpc/GrpcService"
 * import * as Layer from "effect/Layer"
 * import { definition, implementation } from "./legacy.ts"
 *
 * const services = [GrpcService.native(definition, implementation)]
 * const Api = GrpcServer.layer("api", { services, listen: [GrpcListener.tcp({ port: 50051 })] })
 * const Admin = GrpcServer.layer("admin", { services, listen: [GrpcListener.unix("/run/app/admin.sock")] })
 *
 * export const App = Api.pipe(Layer.provide(Admin))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const S extends Services, E = never, R = never, const M extends Middleware = []>(
  name: string,
  options: Options<S, M> & { readonly onListening?: ((server: GrpcServer) => Effect.Effect<unknown, E, R>) | undefined }
): Layer.Layer<never, GrpcListenerError | E, Identifiers<S> | Required<M> | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.flatMap(
      make(name, options),
      (server) => options.onListening === undefined ? Effect.void : options.onListening(server)
    )
  )

/** Health checks are no load: they neither hold a drain delay nor are they refused for too many RPCs in flight. */
const isHealth = (path: string): boolean => path.startsWith("/grpc.health.v1.")

const isNative = (service: Services[number]): service is Native => (service as Partial<Native>)._tag === "Native"

/** The service as grpc-js is told of it: messages are bytes, and its own handlers are never called. */
const bytesOnly = (
  implementation: Implementation
): [ServiceDefinition, Record<string, () => void>] => {
  const bytes = (value: Buffer) => value
  const definition: Record<string, ServiceDefinition[string]> = {}
  const handlers: Record<string, () => void> = {}
  for (const { key, path, requestStream, responseStream } of implementation.methods) {
    definition[key] = {
      path,
      requestStream,
      responseStream,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes
    }
    handlers[key] = () => {}
  }
  return [definition, handlers]
}
