/** Lastcall, as a program uses it: resources and their order; the process is `Lifecycle.launch`'s. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcMiddleware from "@lastcall/grpc/GrpcMiddleware"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Tracer from "effect/Tracer"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Address, ServerPlan } from "../Plan.ts"
import * as Control from "./Control.ts"
import { Database, Scenarios, ScenariosLive } from "./LastcallHandlers.ts"

const { plan, tell } = Control
const pem = (name: string) => readFileSync(join(plan.folder, name))

const credentials = (transport: ServerPlan["transport"]): GrpcCredentials.GrpcCredentials => {
  switch (transport) {
    case "tls":
      return GrpcCredentials.tls({ key: pem("key.pem"), cert: pem("cert.pem") })
    case "mtls":
      return GrpcCredentials.mtls({ key: pem("key.pem"), cert: pem("cert.pem"), clientCa: pem("ca.pem") })
    default:
      return GrpcCredentials.insecure
  }
}

const addressOf = (address: GrpcListener.Address): Address => {
  if (address._tag === "Tcp") return { port: address.port }
  if (address._tag === "Unix") return { path: address.path }
  throw new Error("no listener was inherited")
}

const listener = ({ listen, transport }: ServerPlan): ReadonlyArray<GrpcListener.GrpcListener> => {
  if (listen === undefined) return []
  return "path" in listen
    ? [GrpcListener.unix(listen.path)]
    : [GrpcListener.tcp({ port: listen.port, host: "127.0.0.1", credentials: credentials(transport) })]
}

const listening: Record<string, Address> = {}
let first: GrpcServer.GrpcServer | undefined

const server = (server: ServerPlan) => {
  const grace = server.graceMillis ?? plan.graceMillis
  return GrpcServer.layer(server.name, {
    services: server.health === true ? [Scenarios, GrpcHealth.Health] : [Scenarios],
    listen: listener(server),
    stop: { grace: grace === "forever" ? "Infinity" : grace, forceTimeout: plan.forceMillis },
    limits: { maxConnectionAge: server.maxConnectionAgeMillis },
    middleware: plan.telemetry === true ? [GrpcMiddleware.tracing] : [],
    onListening: (bound) =>
      Effect.sync(() => {
        for (const address of bound.addresses()) listening[server.name] = addressOf(address)
        if (server === plan.servers[0]) first = bound
      })
  })
}

const BrokenCache = Layer.effectDiscard(Effect.addFinalizer(() => Effect.die(new Error("the cache is half released"))))

/** Keeps the spans until it is released. */
const Telemetry = plan.telemetry !== true ? Layer.empty : Layer.unwrap(Effect.gen(function*() {
  const ended: Array<string> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => tell({ _tag: "Exported", spans: ended })))
  return Layer.succeed(
    Tracer.Tracer,
    Tracer.make({
      span(options) {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          ended.push(span.name)
          end(time, exit)
        }
        return span
      }
    })
  )
}))

/** Where it listens now; tells why if it does not. */
const listenAgain = Effect.suspend(() => first!.listen(GrpcListener.tcp({ port: 0, host: "127.0.0.1" }))).pipe(
  Effect.map(addressOf),
  Effect.tap((at) => Effect.sync(() => tell({ _tag: "ListenSucceeded", at }))),
  Effect.catch(({ _tag, message, reason }) =>
    Effect.sync(() => tell({ _tag: "ListenFailed", type: `${_tag} ${reason}`, message }))
  )
)

const Commands = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle.Lifecycle
  const run = Effect.runForkWith(yield* Effect.context<never>())
  Control.listen({
    Stop({ times }) {
      for (let i = 0; i < times; i++) {
        run(Effect.map(first!.stop, (report) => tell({ _tag: "StopReturned", report })))
      }
    },
    Force: () => run(Effect.andThen(first!.escalate, Effect.sync(() => tell({ _tag: "ForceReturned" })))),
    StopAll: () => run(lifecycle.stop),
    Listen: () => run(listenAgain),
    Die: () => run(lifecycle.failCause(Cause.die(new Error("a loop of the program failed"))))
  })
}))

const stopDuringBind = Effect.gen(function*() {
  const binding = yield* Effect.forkChild(listenAgain, { startImmediately: true })
  yield* first!.stop
  tell({ _tag: "BindOver", at: (yield* Fiber.join(binding)) ?? undefined })
})

const [one, ...rest] = plan.servers.map(server)

const Servers = plan.parallel === true
  ? Lifecycle.parallel([one!, ...rest])
  : Lifecycle.sequence(plan.brokenCache === true ? [one!, BrokenCache, ...rest] : [one!, ...rest])

Servers.pipe(
  Layer.provide(ScenariosLive),
  Layer.provide(GrpcHealth.layer()),
  Layer.provide(Database.layer),
  Layer.provide(Telemetry),
  Layer.provide([NodeSignals.layer(), Commands]),
  Lifecycle.launch({
    budget: plan.budgetMillis,
    drainDelay: plan.drainDelayMillis,
    quietPeriod: plan.quietMillis,
    reserve: Math.min(1_000, plan.budgetMillis / 4),
    warmUp: Effect.andThen(
      plan.stopDuringBind === true ? stopDuringBind : Effect.void,
      Effect.sync(() => tell({ _tag: "Listening", at: listening }))
    ),
    onEvent: (event) =>
      Effect.sync(() => {
        tell({ _tag: "StopEvent", event })
        if (event._tag === "Stopped") tell({ _tag: "ServerStopped", name: event.resource })
      }),
    onReport: (report) => Effect.sync(() => tell({ _tag: "Report", report }))
  }),
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
  NodeRuntime.runMain({ teardown: Lifecycle.teardown })
)
