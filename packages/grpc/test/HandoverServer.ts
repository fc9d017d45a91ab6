/**
 * A server as a process of its own: `node HandoverServer.ts <listener as JSON>`. It says on stdout where it listens, as one
 * line of JSON, or why it does not; stops on SIGTERM, and says how.
 */
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as EchoServer from "./EchoServer.ts"

export type Line =
  | { readonly listening: ReadonlyArray<string> }
  | { readonly refused: string; readonly detail: string }
  | { readonly outcome: string; readonly succeeded: number; readonly admitted: number }

/** The arguments of a listener's constructor. */
export type Config =
  | { readonly tcp: Parameters<typeof GrpcListener.tcp>[0] }
  | { readonly unix: Parameters<typeof GrpcListener.unix> }
  | { readonly fd: number }
  | { readonly systemd: Parameters<typeof GrpcListener.systemd>[0] }

const listener = (config: Config): GrpcListener.GrpcListener => {
  if ("tcp" in config) return GrpcListener.tcp(config.tcp)
  if ("unix" in config) return GrpcListener.unix(...config.unix)
  if ("fd" in config) return GrpcListener.fd(config.fd)
  return GrpcListener.systemd(config.systemd)
}

const say = (line: Line) => Effect.sync(() => process.stdout.write(`${JSON.stringify(line)}\n`))

const told = Deferred.makeUnsafe<void>()
process.once("SIGTERM", () => Deferred.doneUnsafe(told, Effect.void))

const program = Effect.gen(function*() {
  const configs = JSON.parse(process.argv[2]!) as ReadonlyArray<Config>
  const server = yield* GrpcServer.make("api", { services: [EchoServer.Echo], listen: configs.map(listener) })
  yield* say({ listening: server.addresses().map(GrpcListener.target) })
  yield* Deferred.await(told)
  const { counts: { admitted, succeeded }, outcome } = yield* server.stop
  yield* say({ outcome, admitted, succeeded })
}).pipe(
  Effect.catch((error) => say({ refused: error.reason, detail: error.detail })),
  Effect.scoped,
  Effect.provide(Layer.mergeAll(
    // some are in flight at any time
    EchoServer.layer({
      say: () => Effect.as(Effect.sleep(`${Math.random() * 20} millis`), { text: `${process.pid}` })
    }),
    Logger.layer([])
  ))
)

await Effect.runPromise(program)
