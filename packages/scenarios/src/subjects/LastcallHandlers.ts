/** The service as a Lastcall program writes it: Effects and Streams. */
import type { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcDrain from "@lastcall/grpc/GrpcDrain"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ScenarioService } from "../gen/lastcall/scenarios/v1/scenarios_pb.ts"
import { gate, tell } from "./Control.ts"
import * as Db from "./Database.ts"
import type { Request, Response } from "./Handlers.ts"

export class Scenarios extends GrpcService.Service<Scenarios>()(ScenarioService) {}

export class Database extends Context.Service<Database, Db.Database>()("scenarios/Database") {
  static readonly layer = Layer.effect(
    Database,
    Effect.acquireRelease(Effect.sync(Db.make), (database) => Effect.sync(database.release))
  )
}

const pass = (name: string) => Effect.promise(() => gate(name))

/** Ignores interruption, and goes on to use the database. It does not keep the process alive. */
const deaf = (session: Db.Session): Effect.Effect<never> =>
  Effect.uninterruptible(Effect.andThen(
    Effect.sync(() => {
      setInterval(session.use, 20).unref()
    }),
    Effect.never
  ))

const stepOf = (exit: Exit.Exit<unknown, unknown>): "ended" | "interrupted" | "failed" => {
  if (Exit.isSuccess(exit)) return "ended"
  return Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"
}

export const ScenariosLive: Layer.Layer<Scenarios, never, Database> = Scenarios.toLayer(Effect.gen(function*() {
  const database = yield* Database

  /** A session from the beginning of the RPC to its end. */
  const session = (id: string): Effect.Effect<Db.Session, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => {
        tell({ _tag: "Handler", id, step: "started" })
        return database.open()
      }),
      (session, exit) =>
        Effect.sync(() => {
          session.close()
          tell({ _tag: "Handler", id, step: stepOf(exit) })
        })
    )

  const unary = Effect.fnUntraced(function*(
    { behaviour, count, id, size }: Request
  ): Effect.fn.Return<Response, never, Scope.Scope | GrpcCall> {
    const { use } = yield* session(id)
    switch (behaviour) {
      case "gate":
        yield* pass(id)
        break
      case "sleep":
        yield* Effect.sleep(count)
        break
      case "never":
        yield* Effect.never
        break
      case "cleans up":
        yield* Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep(count), Effect.sync(use)))
        break
      case "deaf":
        yield* deaf({ use, close: use })
        break
      case "dies":
        yield* pass(id)
        return yield* Effect.die(new Error("a handler died"))
    }
    return { text: id, padding: new Uint8Array(size) }
  })

  const serverStream = ({ behaviour, count, id, size }: Request): Stream.Stream<Response, never, Scope.Scope> => {
    const padding = new Uint8Array(size)
    switch (behaviour) {
      case "gate":
        return Stream.concat(
          Stream.succeed({ count: 1, padding }),
          Stream.unwrap(Effect.as(pass(id), Stream.map(Stream.range(2, count), (count) => ({ count, padding }))))
        )
      case "flood":
        return Stream.map(Stream.iterate(1, (n) => n + 1), (count) => ({ count, padding }))
      case "watch":
        return Stream.concat(Stream.succeed({ count: 1 }), Stream.never).pipe(
          GrpcDrain.endWith(() => {
            tell({ _tag: "Handler", id, step: "told" })
            return { count: -1 }
          })
        )
      case "deaf":
        return Stream.concat(
          Stream.succeed({ count: 1 }),
          Stream.fromEffect(Effect.flatMap(session(`${id}, deaf`), deaf))
        )
      default:
        return Stream.empty
    }
  }

  return Scenarios.of({
    unary,
    serverStream: (request) => Stream.unwrap(Effect.as(session(request.id), serverStream(request))),
    clientStream: (requests) =>
      Effect.gen(function*() {
        let count = 0
        yield* Stream.runForEachWhile(requests, ({ behaviour, id }) =>
          Effect.gen(function*() {
            if (count++ === 0) yield* session(id)
            return behaviour !== "early"
          }))
        return { count }
      }),
    bidi: (requests) => {
      let seen = 0
      return Stream.mapEffect(requests, ({ id }) => Effect.as(seen++ === 0 ? session(id) : Effect.void, { text: id }))
    }
  })
}))
