/** `node examples/interop-server/src/main.ts --port 0`: a server for the interoperability tests of any gRPC client. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as NodeSignals from "@lastcall/core/NodeSignals"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import type { GrpcServer } from "@lastcall/grpc/GrpcServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Arguments from "./Arguments.ts"
import * as InteropServer from "./InteropServer.ts"

const credentials = (tls: Arguments.Tls | undefined): GrpcCredentials.GrpcCredentials => {
  if (tls === undefined) return GrpcCredentials.insecure
  const { cert, clientCa, key } = tls
  return clientCa === undefined
    ? GrpcCredentials.tls(GrpcCredentials.files({ key, cert }))
    : GrpcCredentials.mtls(GrpcCredentials.files({ key, cert, clientCa }))
}

const listeners = ({ port, tls, unix }: Arguments.Arguments): ReadonlyArray<GrpcListener.GrpcListener> => [
  ...(port === undefined ? [] : [GrpcListener.tcp({ port, host: "127.0.0.1", credentials: credentials(tls) })]),
  ...(unix === undefined ? [] : [GrpcListener.unix(unix, { credentials: credentials(tls) })])
]

/** For whoever started this process: where it listens, its port before its socket. */
const tell = (server: GrpcServer): Effect.Effect<void> =>
  Effect.sync(() => {
    const address = server.addresses()[0]!
    const listening = address._tag === "Tcp" ? address.port : GrpcListener.describe(address)
    process.stdout.write(`${JSON.stringify({ listening, pid: process.pid })}\n`)
  })

const forceMillis = 2_000
const reserveMillis = 1_000

const serve = (args: Arguments.Arguments) =>
  InteropServer.layer({ listen: listeners(args), onListening: tell }).pipe(
    Layer.provide(NodeSignals.layer()),
    Lifecycle.launch({
      drainDelay: Duration.millis(args.drainDelayMillis),
      grace: Duration.millis(args.graceMillis),
      forceTimeout: Duration.millis(forceMillis),
      reserve: Duration.millis(reserveMillis),
      // so much that it never cuts a grace period short: that is as long as the command line says
      budget: Duration.millis(args.drainDelayMillis + args.graceMillis + forceMillis + 2 * reserveMillis)
    })
  )

const complain = ({ message }: Arguments.ArgumentsError): Effect.Effect<void> =>
  Effect.sync(() => void process.stderr.write(`interop-server: ${message}\n\n${Arguments.usage}`))

Arguments.parse(process.argv.slice(2)).pipe(
  Effect.tapError(complain),
  Effect.flatMap((args) => Effect.tapCause(serve(args), (cause) => Effect.logError(cause))),
  // stdout is for the one line of `tell`
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
  NodeRuntime.runMain({ teardown: Lifecycle.teardown, disableErrorReporting: true })
)
