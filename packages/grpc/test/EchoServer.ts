/** The test service on a server of its own scope, each handler replaceable. */
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import type { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"

export class Echo extends GrpcService.Service<Echo>()(EchoService) {}

export type Handlers = GrpcService.Handlers<typeof EchoService, GrpcCall | Scope.Scope>

export const defaults: Handlers = {
  say: ({ text }) => Effect.succeed({ text }),
  count: ({ padding, to }) => Stream.range(1, to).pipe(Stream.map((n) => ({ n, padding: new Uint8Array(padding) }))),
  sum: (requests) =>
    Stream.runFold(requests, () => 0, (total, { n }) => total + n).pipe(Effect.map((total) => ({ total }))),
  chat: (requests) => Stream.map(requests, ({ text }) => ({ text: `${text}!` }))
}

export const layer = (handlers: Partial<Handlers> = {}): Layer.Layer<Echo> => Echo.toLayer({ ...defaults, ...handlers })

export interface EchoServer {
  readonly server: GrpcServer.GrpcServer
  readonly target: string
  readonly port: number
  /** Closes the server's scope, and with it everything that was acquired for it. */
  readonly close: Effect.Effect<StopReport>
}

export const make = (
  handlers: Partial<Handlers> = {},
  options: {
    readonly stop?: StopPolicy.Options
    readonly listen?: GrpcListener.GrpcListener
    /** What the handlers depend on: acquired before the server, released after it. */
    readonly dependency?: Effect.Effect<unknown, never, Scope.Scope>
  } = {}
): Effect.Effect<EchoServer, GrpcListener.GrpcListenerError, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const listener = options.listen ?? GrpcListener.tcp({ port: 0, host: "127.0.0.1" })
    const server = yield* Effect.andThen(
      options.dependency ?? Effect.void,
      GrpcServer.make("api", { services: [Echo], listen: [listener], stop: options.stop })
    ).pipe(
      Effect.provide(layer(handlers)),
      Scope.provide(scope)
    )
    // A test that failed half-way must not wait for the grace period.
    yield* Effect.addFinalizer(() => Effect.andThen(server.escalate, Scope.close(scope, Exit.void)))
    const address = server.addresses()[0]!
    return {
      server,
      target: GrpcListener.target(address),
      port: address._tag === "Tcp" ? address.port : 0,
      close: Effect.andThen(Scope.close(scope, Exit.void), server.stop)
    }
  })

/** A handler's gate: says when a handler has come to it, and lets it through. */
export interface Gate {
  readonly reached: Effect.Effect<void>
  readonly open: Effect.Effect<unknown>
  readonly pass: Effect.Effect<void>
}

export const makeGate: Effect.Effect<Gate> = Effect.sync(() => {
  const reached = Deferred.makeUnsafe<void>()
  const opened = Deferred.makeUnsafe<void>()
  return {
    reached: Deferred.await(reached),
    open: Deferred.succeed(opened, undefined),
    pass: Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(opened))
  }
})

/** Waits in real time, a turn of the event loop at a time, until the outside world has come to a state. */
export const until = (what: string, condition: () => boolean): Effect.Effect<void> => {
  const started = performance.now()
  const poll: Effect.Effect<void> = Effect.suspend(() => {
    if (condition()) return Effect.void
    if (performance.now() - started > 8_000) return Effect.die(new Error(`waited in vain until ${what}`))
    return Effect.andThen(nextTurn, poll)
  })
  return poll
}

const nextTurn = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 1)
})
