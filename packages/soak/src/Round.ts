/** One round: a process with a server and clients, all under load, is stopped. */
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as HostilePeer from "@lastcall/testing/HostilePeer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as path from "node:path"
import * as Certificates from "../../grpc/test/Certificates.ts"
import * as EchoClient from "../../grpc/test/EchoClient.ts"
import { defaults, Echo } from "../../grpc/test/EchoServer.ts"
import { EchoService } from "../../grpc/test/gen/lastcall/test/v1/echo_pb.ts"
import * as Sockets from "../../grpc/test/Sockets.ts"

/** `force`: the grace period is over with RPCs in flight that would never end. */
export type Ending = "graceful" | "forced"

const authority = Certificates.authority("soak")
const identity = authority.issue("localhost")

const handlers = Echo.toLayer({
  ...defaults,
  say: ({ text }) => text === "stay" ? Effect.never : Effect.succeed({ text })
})

const countPath = "/lastcall.test.v1.EchoService/Count"

type Api = GrpcClient.Client<typeof EchoService>

/** The four kinds. */
const allKinds = (echo: Api) =>
  Effect.gen(function*() {
    yield* echo.say({ text: "hello" })
    yield* Stream.runDrain(echo.count({ to: 20, padding: 1_000 }))
    yield* echo.sum(Stream.range(1, 20).pipe(Stream.map((n) => ({ n }))))
    yield* Stream.runDrain(echo.chat(Stream.range(1, 20).pipe(Stream.map((n) => ({ text: `${n}` })))))
  })

/** Does what it can with one address, and closes its channel. */
const client = (options: GrpcChannel.Options) =>
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* GrpcChannel.make({ stop: { grace: 0 }, ...options })
    const echo = yield* Effect.provideService(GrpcClient.make(EchoService), GrpcChannel.GrpcChannel, channel)
    yield* allKinds(echo)
    // One that is cancelled while the server works on it, one while it streams, and one that is not waited for.
    const staying = yield* Effect.forkChild(echo.say({ text: "stay" }))
    yield* Stream.runDrain(Stream.take(echo.count({ to: 1_000, padding: 100 }), 3))
    yield* Fiber.interrupt(staying)
    yield* Effect.forkChild(Effect.exit(echo.say({ text: "stay" })))
    yield* Effect.yieldNow
  }))

/** Clients that vanish, stall, reset, never read, and some that behave. */
const load = (server: GrpcServer.GrpcServer, unixPath: string, ending: Ending) =>
  Effect.gen(function*() {
    const [plain, secure] = server.addresses().map((address) => address._tag === "Tcp" ? address.port : 0)
    const tcp = { port: plain! }
    yield* Effect.all([
      HostilePeer.silent(tcp),
      HostilePeer.halfPreface({ path: unixPath }),
      HostilePeer.stallingTls({ port: secure! }),
      HostilePeer.tlsWithoutPreface({ port: secure! }),
      HostilePeer.neverClosing(tcp)
    ], { concurrency: "unbounded" })
    const vanishing = yield* HostilePeer.neverReading(tcp, countPath)
    yield* vanishing.leave
    yield* Effect.all([
      client({ address: `127.0.0.1:${plain}` }),
      client({ address: GrpcChannel.unix(unixPath) }),
      client({
        address: GrpcChannel.dns("localhost", secure!),
        credentials: GrpcChannel.tls({ ca: authority.cert })
      }),
      Effect.scoped(Effect.flatMap(
        EchoClient.make(`127.0.0.1:${plain}`),
        (bare) => EchoClient.say(bare, "hello")
      ))
    ], { concurrency: "unbounded" })
    if (ending === "graceful") return
    // What the server has to cut: from a client that waits, and from one that has stopped reading.
    const bare = yield* EchoClient.make(`127.0.0.1:${plain}`)
    yield* Effect.forkChild(Effect.exit(EchoClient.say(bare, "stay")))
    yield* HostilePeer.neverReading(tcp, countPath)
    while (server.inFlight().length === 0) yield* Effect.sleep(1)
  })

export interface Outcome {
  readonly report: ProcessReport
  /** What the server still held when it had stopped, and its clients had not gone yet. */
  readonly connections: number
}

export const run = (ending: Ending): Effect.Effect<Outcome, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const directory = yield* Sockets.directory
    const unixPath = path.join(directory, "api.sock")
    // The clients go away after the server: what they hold must not keep it.
    const clients = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(clients, Exit.void))
    let connections = () => 0
    const api = GrpcServer.layer("api", {
      services: [Echo],
      listen: [
        GrpcListener.tcp({ port: 0, host: "127.0.0.1" }),
        GrpcListener.tcp({ port: 0, host: "localhost", credentials: GrpcCredentials.tls(identity) }),
        GrpcListener.unix(unixPath)
      ],
      stop: ending === "graceful" ? { grace: "20 seconds" } : { grace: 20, forceTimeout: 2_000 },
      onListening: (server) =>
        Effect.gen(function*() {
          connections = server.connections
          yield* Scope.provide(load(server, unixPath, ending), clients)
          yield* (yield* Lifecycle.Lifecycle).stop
        })
    })
    const report = yield* api.pipe(
      Layer.provide(handlers),
      Layer.provide(NodeSignals.layer()),
      Lifecycle.launch({ budget: "25 seconds" })
    )
    // A socket that was destroyed is gone a turn later.
    for (let turn = 0; connections() > 0 && turn < 100; turn++) yield* Effect.sleep(1)
    return { report, connections: connections() }
  }))
