/** The scripted server on Lastcall. */
import { GrpcCall } from "@lastcall/grpc/GrpcCall"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import type { GrpcListener } from "@lastcall/grpc/GrpcListener"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EchoServer from "../EchoServer.ts"
import * as Script from "./Script.ts"
import * as Witness from "./Witness.ts"

type Failing = Effect.Effect<never, GrpcError.GrpcError>

const failure: Failing = Effect.fail(
  GrpcError.invalidArgument(Script.failure.message).pipe(
    GrpcError.withDetails([
      GrpcError.detail(GrpcErrorDetails.ErrorInfoSchema, {
        reason: Script.failure.reason,
        domain: Script.failure.domain
      })
    ]),
    GrpcError.withTrailers(GrpcMetadata.make(Script.failure.trailers))
  )
)

const status = (code: number): Failing => {
  const [, name] = Script.codes.find(([known]) => known === code)!
  return Effect.fail(new GrpcError.GrpcError({ code: name as GrpcError.Code, message: Script.statusMessage }))
}

const startsWith = (prefix: string, { entries }: GrpcMetadata.GrpcMetadata): GrpcMetadata.GrpcMetadata => ({
  entries: entries.filter(([key]) => key.startsWith(prefix))
})

/** What the script says to do in this attempt. */
const begin = (witness: Witness.Witness): Effect.Effect<Script.Act | Failing, never, GrpcCall | Scope.Scope> =>
  Effect.gen(function*() {
    const call = yield* GrpcCall
    const { metadata } = call
    const text = (key: string) => GrpcMetadata.get(metadata, key)
    const { end, number } = witness.begin(text(Script.idKey), {
      deadline: call.deadline,
      commonName: call.peerCertificate?.subject.CN as string | undefined,
      userAgent: text("user-agent"),
      authority: call.authority
    })
    yield* Effect.addFinalizer((exit) => Effect.sync(() => end(Exit.hasInterrupts(exit))))
    const headers = startsWith(Script.headerPrefix, metadata)
    // Headers that were added go out before an error, and a client does not try again then.
    if (headers.entries.length > 0) call.addHeaders(headers)
    call.addTrailers(startsWith(Script.trailerPrefix, metadata))
    const act = (text(Script.actKey) ?? "answer") as Script.Act
    if (act === "fail") return failure
    if (act === "status") return status(Number(text(Script.codeKey)))
    if (act !== "flaky" && act !== "stall") return act
    if (number > Number(text(Script.timesKey))) return "answer"
    return act === "flaky" ? status(14) : Effect.never
  })

const handlers = (witness: Witness.Witness): EchoServer.Handlers => {
  const one = <A>(
    answer: Effect.Effect<A, GrpcError.GrpcError>,
    early: A
  ): Effect.Effect<A, GrpcError.GrpcError, GrpcCall | Scope.Scope> =>
    Effect.flatMap(begin(witness), (act) => {
      if (typeof act !== "string") return act
      if (act === "hang") return Effect.never
      if (act === "fail late") return failure
      return act === "early" ? Effect.succeed(early) : answer
    })

  const many = <A>(
    answer: Stream.Stream<A, GrpcError.GrpcError>,
    early: A
  ): Stream.Stream<A, GrpcError.GrpcError, GrpcCall | Scope.Scope> =>
    Stream.unwrap(Effect.map(begin(witness), (act): Stream.Stream<A, GrpcError.GrpcError> => {
      if (typeof act !== "string") return Stream.fromEffect(act)
      const enough = Stream.make(early)
      if (act === "hang") return Stream.concat(enough, Stream.never)
      if (act === "fail late") return Stream.concat(Stream.make(early, early), Stream.fromEffect(failure))
      return act === "early" ? enough : answer
    }))

  const { chat, count, say, sum } = EchoServer.defaults
  return {
    say: (request) => one(say(request) as Effect.Effect<{ text: string }>, { text: Script.early.text }),
    count: (request) =>
      many(count(request) as Stream.Stream<{ n: number; padding: Uint8Array<ArrayBuffer> }>, {
        n: 0,
        padding: new Uint8Array()
      }),
    sum: (requests) =>
      one(sum(requests) as Effect.Effect<{ total: number }, GrpcError.GrpcError>, { total: Script.early.total }),
    chat: (requests) =>
      many(chat(requests) as Stream.Stream<{ text: string }, GrpcError.GrpcError>, { text: Script.early.text })
  }
}

export interface Server {
  readonly target: string
  readonly witness: Witness.Witness
}

export const make = (listen: GrpcListener): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const witness = Witness.make()
    const { target } = yield* Effect.orDie(EchoServer.make(handlers(witness), { listen }))
    return { target, witness }
  })
