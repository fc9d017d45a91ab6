/** The server program with Lastcall: resources, and who needs whom. There is no shutdown code. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as LiveLine from "@lastcall/core/LiveLine"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { stripVTControlCharacters } from "node:util"
import * as Database from "./Database.ts"
import { AdminService, IdentityService } from "./gen/lastcall/demo/v1/identity_pb.ts"
import * as Identity from "./Identity.ts"
import { awaitStart, config, tell } from "./ServerEvent.ts"

const { graceMillis, instance, port, socketPath } = config()

// The database

class Sessions extends Context.Service<Sessions, {
  /** A session for one RPC: closed when its handler ends. */
  readonly open: Effect.Effect<Database.Session, never, Scope.Scope>
}>()("restart-at-noon/Sessions") {}

const DatabaseLive = Layer.effect(
  Sessions,
  Effect.gen(function*() {
    const database = Database.make()
    process.on("exit", () =>
      tell({
        event: "ended",
        openAtRelease: database.openAtRelease(),
        usesAfterRelease: database.usesAfterRelease()
      }))
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        Effect.promise(() => database.release()),
        Effect.sync(() => tell({ event: "released", what: "database", forced: false }))
      )
    )
    return {
      open: Effect.acquireRelease(Effect.sync(() => database.open()), (session) => Effect.sync(() => session.close()))
    }
  })
)

const query = <A>(promise: () => Promise<A>): Effect.Effect<A, GrpcError.GrpcError> =>
  Effect.tryPromise({ try: promise, catch: (cause) => GrpcError.internal("the database failed", cause) })

// The services

class Identities extends GrpcService.Service<Identities>()(IdentityService) {}
class Admin extends GrpcService.Service<Admin>()(AdminService) {}

const IdentitiesLive = Identities.toLayer(Effect.gen(function*() {
  const sessions = yield* Sessions
  return Identities.of({
    issue: Effect.fnUntraced(function*({ subject, workMillis }) {
      const session = yield* sessions.open
      yield* Effect.sleep(Duration.millis(workMillis))
      const serial = yield* query(() => session.insert(subject))
      return { identity: Identity.name(subject, serial), instance }
    }),
    listIdentities: ({ count, pauseMillis }) =>
      Stream.unwrap(Effect.map(sessions.open, (session) =>
        Stream.range(1, count).pipe(
          Stream.mapEffect((serial) =>
            Effect.sleep(Duration.millis(pauseMillis)).pipe(
              Effect.andThen(query(() => session.count())),
              Effect.as({ identity: Identity.name("listed", serial) })
            )
          )
        ))),
    enroll: Effect.fnUntraced(function*(requests) {
      const session = yield* sessions.open
      const enrolled = yield* Stream.runFold(
        Stream.mapEffect(requests, ({ subject }) => query(() => session.insert(subject))),
        () => 0,
        (total) => total + 1
      )
      return { enrolled }
    }),
    watchBundle: () =>
      Stream.unwrap(Effect.map(sessions.open, (session) =>
        Stream.tick(Duration.millis(Identity.watchMillis)).pipe(
          Stream.mapEffect(() => query(() => session.revision())),
          Stream.map((revision) => ({ revision, last: false })),
          GrpcDrain.endWith(() => ({ revision: 0, last: true }))
        )))
  })
}))

const AdminLive = Admin.toLayer(Effect.gen(function*() {
  const sessions = yield* Sessions
  return Admin.of({
    countIdentities: Effect.fnUntraced(function*() {
      const session = yield* sessions.open
      return { identities: yield* query(() => session.count()), instance }
    })
  })
}))

// The servers: the public one drains, then the admin one, then the database is released.

const AdminServer = GrpcServer.layer("admin", {
  services: [Admin],
  listen: [GrpcListener.unix(socketPath)]
})

const PublicServer = GrpcServer.layer("public", {
  services: [Identities],
  listen: [GrpcListener.tcp({ host: "127.0.0.1", port })],
  onListening: () => Effect.sync(() => tell({ event: "listening" }))
})

/** The parent is the terminal: it shows the line among its own. */
const LiveLineTold = Layer.effectDiscard(LiveLine.make({
  isTTY: true,
  columns: Number.POSITIVE_INFINITY,
  write: (text) => tell({ event: "live", line: stripVTControlCharacters(text).trim() })
}))

const App = PublicServer.pipe(
  Layer.provide(AdminServer),
  Layer.provide([IdentitiesLive, AdminLive]),
  Layer.provide(DatabaseLive),
  Layer.provide([NodeSignals.layer(), LiveLineTold])
)

await awaitStart()
App.pipe(
  Lifecycle.launch({
    // less than the ten seconds after which the parent kills
    budget: "9 seconds",
    grace: Duration.millis(graceMillis),
    forceTimeout: "1 second",
    onEvent: (what) => Effect.sync(() => tell({ event: "stopping", what })),
    onReport: (report) => Effect.sync(() => tell({ event: "stopped", report }))
  }),
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
  // the parent hears the rest as events
  Effect.provideService(References.MinimumLogLevel, "Error"),
  NodeRuntime.runMain({ teardown: Lifecycle.teardown })
)
