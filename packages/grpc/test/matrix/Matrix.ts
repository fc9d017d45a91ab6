/** Servers by transports: a server of ours and a bare grpc-js one, over TCP, TLS, mTLS and a Unix socket. */
import { assert, it, type Vitest } from "@effect/vitest"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as path from "node:path"
import { EchoService } from "../gen/lastcall/test/v1/echo_pb.ts"
import * as Sockets from "../Sockets.ts"
import * as GrpcJsServer from "./GrpcJsServer.ts"
import * as Kinds from "./Kinds.ts"
import * as LastcallServer from "./LastcallServer.ts"
import * as Script from "./Script.ts"
import * as Transport from "./Transport.ts"

export interface Combination {
  readonly server: "Lastcall" | "grpc-js"
  readonly transport: Transport.Transport
}

export const combinations: ReadonlyArray<Combination> = (["Lastcall", "grpc-js"] as const).flatMap((server) =>
  Transport.all.map((transport) => ({ server, transport }))
)

export const nameOf = ({ server, transport }: Combination): string => `${server} over ${transport.name}`

/** Starts a server. */
export const serve = (
  { server, transport }: Combination,
  place: Transport.Place
): Effect.Effect<LastcallServer.Server, never, Scope.Scope> =>
  server === "Lastcall"
    ? LastcallServer.make(transport.listener(place))
    : GrpcJsServer.make(
      transport.name === "Unix" ? `unix:${place.file}` : `127.0.0.1:${place.port}`,
      transport.credentials()
    )

/** The server of a block of tests, and a channel to it for those that need none of their own. */
export class Backend extends Context.Service<
  Backend,
  LastcallServer.Server & {
    readonly channel: GrpcChannel.GrpcChannel["Service"]
    readonly echo: Kinds.Echo
  }
>()("matrix/Backend") {}

export const client = (
  channel: GrpcChannel.GrpcChannel["Service"],
  options?: GrpcClient.CallOptions
): Effect.Effect<Kinds.Echo> =>
  Effect.provideService(GrpcClient.make(EchoService, options), GrpcChannel.GrpcChannel, channel)

/** A channel of the test's own, that stops at once if the test failed half-way. */
export const open = (
  options: GrpcChannel.Options
): Effect.Effect<
  {
    readonly channel: GrpcChannel.GrpcChannel["Service"]
    readonly echo: Kinds.Echo
    readonly close: Effect.Effect<void>
  },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const channel = yield* Effect.orDie(Scope.provide(GrpcChannel.make(options), scope))
    const close = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => Effect.andThen(channel.escalate, close))
    return { channel, echo: yield* client(channel), close }
  })

const backend = (combination: Combination): Layer.Layer<Backend> =>
  Layer.effect(
    Backend,
    Effect.gen(function*() {
      const server = yield* serve(combination, { file: path.join(yield* Sockets.directory, "api.sock"), port: 0 })
      const { channel, echo } = yield* open({ address: server.target, credentials: combination.transport.client })
      return { ...server, channel, echo }
    })
  )

/** The same tests for each combination, or for some; its server runs as long as they do. */
export const each = (
  tests: (it: Vitest.MethodsNonLive<Backend>, combination: Combination) => void,
  isWanted: (combination: Combination) => boolean = () => true
): void => {
  for (const combination of combinations.filter(isWanted)) {
    it.layer(backend(combination), { excludeTestServices: true })(nameOf(combination), (it) => tests(it, combination))
  }
}

/** Each kind in each combination. */
export const eachKind = (
  test: string,
  body: (kind: Kinds.Kind, combination: Combination) => Effect.Effect<void, unknown, Backend | Scope.Scope>
) =>
(it: Vitest.MethodsNonLive<Backend>, combination: Combination): void => {
  for (const kind of Kinds.all) it.effect(`${kind.name}: ${test}`, () => body(kind, combination))
}

let lastId = 0

/** What the script is to do in an RPC, and the name that the witness knows it by. */
export const act = (
  act: Script.Act,
  more: { readonly [key: string]: GrpcMetadata.Value | ReadonlyArray<GrpcMetadata.Value> } = {}
): { readonly id: string; readonly metadata: GrpcMetadata.GrpcMetadata } => {
  const id = String(++lastId)
  return { id, metadata: GrpcMetadata.make({ [Script.actKey]: act, [Script.idKey]: id, ...more }) }
}

/** All four kinds, one after the other. */
export const expectServed = (echo: Kinds.Echo, options?: GrpcClient.CallOptions): Effect.Effect<void, unknown> =>
  Effect.forEach(
    Kinds.all,
    (kind) => Effect.map(kind.run(echo, options), (answer) => assert.deepStrictEqual(answer, kind.answer)),
    { discard: true }
  )
