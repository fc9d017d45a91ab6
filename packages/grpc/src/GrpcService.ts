/**
 * A gRPC service: a descriptor and its handlers, typed from it.
 *
 * There is no code generator of our own. The descriptor is what yours makes: a protobuf-es `GenService`, or a grpc-js
 * `ServiceDefinition` as ts-proto (`outputServices=grpc-js`), grpc-tools and proto-loader make it.
 *
 * @since 0.1.0
 */
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { GrpcCall } from "./GrpcCall.ts"
import type * as GrpcDescriptor from "./GrpcDescriptor.ts"
import * as GrpcDrain from "./GrpcDrain.ts"
import type { DrainPolicy } from "./GrpcDrain.ts"
import type { GrpcError } from "./GrpcError.ts"
import type { GrpcMiddleware } from "./GrpcMiddleware.ts"
import { type Codec, readServed } from "./internal/descriptor.ts"

/**
 * What a service can be made from.
 *
 * @category models
 * @since 0.1.0
 */
export type Descriptor = GrpcDescriptor.Served

type Response<M extends GrpcDescriptor.Method, R> =
  | (true extends M["responseStream"] ? Stream.Stream<M["responseInit"], GrpcError, R> : never)
  | (false extends M["responseStream"] ? Effect.Effect<M["responseInit"], GrpcError, R> : never)

type Request<M extends GrpcDescriptor.Method> = boolean extends M["requestStream"] ? unknown
  : M["requestStream"] extends true ? Stream.Stream<M["request"], GrpcError>
  : M["request"]

/**
 * The handlers of a service: a request or a `Stream` of requests to an `Effect` or a `Stream` of responses.
 *
 * **Details**
 *
 * With protobuf-es a response may be a plain object with the fields of the message. With proto-loader, whose definitions
 * carry no types, requests and responses are untyped.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<D extends Descriptor, R = never> = GrpcDescriptor.Methods<D> extends
  infer S extends Record<string, GrpcDescriptor.Method> ? {
    readonly [K in keyof S]: (request: Request<S[K]>) => Response<S[K], R>
  }
  : never

type Requirements<H> = {
  [K in keyof H]: H[K] extends (...args: never) => Effect.Effect<infer _A, infer _E, infer R> ? R
    : H[K] extends (...args: never) => Stream.Stream<infer _A, infer _E, infer R> ? R
    : never
}[keyof H]

/**
 * Middleware in the order in which it runs, the first outermost.
 *
 * @category models
 * @since 0.1.0
 */
export type Middleware = ReadonlyArray<GrpcMiddleware<unknown, unknown>>

/**
 * What middleware provides to handlers.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Provided<M extends Middleware> = M[number]["~lastcall/GrpcMiddleware"]["provides"]

/**
 * What middleware requires.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Required<M extends Middleware> = M[number]["~lastcall/GrpcMiddleware"]["requires"]

/**
 * A method that is ready to be served.
 *
 * @category models
 * @since 0.1.0
 */
export interface Method extends Codec {
  readonly handler: (
    request: unknown
  ) => Effect.Effect<unknown, unknown, never> | Stream.Stream<unknown, unknown, never>
}

/**
 * A service that is ready to be served: its methods, and the context that their handlers run in.
 *
 * @category models
 * @since 0.1.0
 */
export interface Implementation {
  readonly name: string
  readonly methods: ReadonlyArray<Method>
  readonly context: Context.Context<never>
  readonly middleware: Middleware
}

/**
 * A service as a key of the context: what a server asks for, and what {@link ServiceClass.toLayer} provides.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, D extends Descriptor, Id extends string = string>
  extends Context.Key<Self, Implementation>
{
  /** The descriptor and the id tell the types of two services apart. */
  new(_: never): { readonly "~lastcall/GrpcService": { readonly descriptor: D; readonly id: Id } }
  readonly descriptor: D
  /** Types the handlers where they are written; returns them. */
  of<const H extends Handlers<D, unknown>>(handlers: H): H
  /**
   * Gives the service its handlers, or an effect that makes them (it may acquire what they need; the layer's scope
   * releases it). What handlers require is captured from the layer's context, but `GrpcCall` and `Scope`: the server
   * provides these for each RPC, and closes the scope when the handler ends.
   *
   * `middleware` runs around each handler, the first outermost; what it provides handlers need not find elsewhere.
   */
  toLayer<
    H extends Handlers<D, unknown>,
    E = never,
    R = never,
    const M extends Middleware = []
  >(
    handlers: H | Effect.Effect<H, E, R>,
    options?: { readonly middleware?: M | undefined }
  ): Layer.Layer<
    Self,
    E,
    Exclude<R, Scope.Scope> | Exclude<Requirements<H>, GrpcCall | Scope.Scope | Provided<M>> | Required<M>
  >
}

/**
 * The options of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<D extends Descriptor, Id extends string = string> {
  /** The key in the context. Default: made of the full name of the service. */
  readonly id?: Id | undefined
  /** What becomes of the RPCs of a method when the server drains. Default: `"notify"`, they run on and can know. */
  readonly drain?: DrainPolicies<D> | undefined
}

/**
 * A drain policy for each method that has another than the default; the policies that end a stream are for streams only.
 *
 * @category models
 * @since 0.1.0
 */
export type DrainPolicies<D extends Descriptor> = GrpcDescriptor.Methods<D> extends
  infer S extends Record<string, GrpcDescriptor.Method> ? {
    readonly [K in keyof S]?: S[K]["responseStream"] extends false ? "notify" | "finish" | "cut"
      : DrainPolicy<S[K]["responseInit"]>
  }
  : never

/**
 * Declares a service from its descriptor.
 *
 * **Details**
 *
 * The key in the context is the full name of the service. To serve one service with different handlers on different
 * servers, declare it twice with different ids.
 *
 * **Example** (A service from a protobuf-es descriptor)
 *
 * ```ts
 * import * as GrpcService from "@lastcall/grpc/GrpcService"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 * import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
 *
 * class Echo extends GrpcService.Service<Echo>()(EchoService) {}
 *
 * export const EchoLive = Echo.toLayer({
 *   say: ({ text }) => Effect.succeed({ text }),
 *   count: ({ to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n }))),
 *   sum: (requests) => Stream.runFold(requests, () => 0, (total, { n }) => total + n).pipe(Effect.map((total) => ({ total }))),
 *   chat: (requests) => Stream.map(requests, ({ text }) => ({ text }))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service = <Self>() =>
<const D extends Descriptor, const Id extends string = "">(
  descriptor: D,
  options?: Options<D, Id>
): ServiceClass<Self, D, Id> => {
  const { codecs, name } = readServed(descriptor)
  const Key = Context.Service<Self, Implementation>()(options?.id ?? `@lastcall/grpc/GrpcService/${name}`)
  const implement = (
    handlers: Handlers<D, unknown>,
    context: Context.Context<never>,
    middleware: Middleware
  ): Implementation => ({
    name,
    context,
    middleware,
    methods: codecs.map((codec) => {
      const handler: unknown = (handlers as Record<string, unknown>)[codec.key]
      if (typeof handler !== "function") throw new TypeError(`${name}: no handler for method ${codec.key}`)
      const policy = (options?.drain as Record<string, DrainPolicy<unknown>> | undefined)?.[codec.key] ?? "notify"
      return { ...codec, handler: drained(handler.bind(handlers) as Method["handler"], codec, policy) }
    })
  })
  return Object.assign(Key, {
    descriptor,
    of: (handlers: unknown) => handlers,
    toLayer: (
      handlers: Handlers<D, unknown> | Effect.Effect<Handlers<D, unknown>, unknown, unknown>,
      options?: { readonly middleware?: Middleware | undefined }
    ) =>
      Layer.effect(
        Key,
        Effect.flatMap(
          Effect.isEffect(handlers) ? handlers : Effect.succeed(handlers),
          (handlers) =>
            Effect.map(Effect.context<never>(), (context) => implement(handlers, context, options?.middleware ?? []))
        )
      )
  }) as unknown as ServiceClass<Self, D, Id>
}

const drained = (
  handler: Method["handler"],
  { responseStream }: Codec,
  policy: DrainPolicy<unknown>
): Method["handler"] => {
  if (policy === "notify") return handler
  return responseStream
    ? (request) => GrpcDrain.stream(handler(request) as Stream.Stream<unknown, unknown>, policy)
    : (request) => GrpcDrain.effect(handler(request) as Effect.Effect<unknown, unknown>, policy as DrainPolicy<never>)
}

/**
 * An implementation object as grpc-js's own `addService` takes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Native {
  readonly _tag: "Native"
  readonly definition: ServiceDefinition
  readonly implementation: UntypedServiceImplementation
}

/**
 * Serves an existing grpc-js implementation as it is, under the same stop protocol.
 *
 * **Details**
 *
 * Its RPCs are admitted, counted and, in a force, answered `UNAVAILABLE`; the implementation sees `cancelled`. A handler
 * that returns a promise is waited for, and one whose promise rejects answers its client instead of ending the process. A
 * handler that returns nothing ends, for all that can be known, with its call.
 *
 * @category constructors
 * @since 0.1.0
 */
export const native = (definition: ServiceDefinition, implementation: UntypedServiceImplementation): Native => ({
  _tag: "Native",
  definition,
  implementation
})
