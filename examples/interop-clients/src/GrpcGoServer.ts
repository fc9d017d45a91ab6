/** grpc-go's own interoperability server, built from its module. It listens on all interfaces, on free ports. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import * as Command from "./Command.ts"
import type { Transport } from "./Endpoint.ts"
import * as GrpcGo from "./GrpcGo.ts"
import { Skipped } from "./InteropClient.ts"
import { endpoint, type Files, type PeerServer } from "./PeerServer.ts"

const args = (transport: Transport, { server }: Files): ReadonlyArray<string> =>
  transport === "plaintext" ? [] : ["-use_tls", `-tls_cert_file=${server.cert}`, `-tls_key_file=${server.key}`]

/** Its port, as it says in its log. */
const serve = (file: string, args: ReadonlyArray<string>): Effect.Effect<number, Skipped, Scope.Scope> =>
  Effect.gen(function*() {
    const listening = Deferred.makeUnsafe<number, Skipped>()
    const ended = Deferred.makeUnsafe<void>()
    const child = spawn(file, ["-port=0", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, GRPC_GO_LOG_SEVERITY_LEVEL: "info" }
    })
    let last = ""
    createInterface(child.stderr).on("line", (line) => {
      last = line
      const port = /interop server listening on \S*:(\d+)/.exec(line)?.[1]
      if (port !== undefined) Deferred.doneUnsafe(listening, Effect.succeed(Number(port)))
    })
    child.on("error", ({ message }) => {
      last = message
    })
    child.on("close", () => {
      Deferred.doneUnsafe(listening, Effect.fail(new Skipped({ message: `the server ended: ${last}` })))
      Deferred.doneUnsafe(ended, Effect.void)
    })
    yield* Effect.addFinalizer(() => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Deferred.await(ended)))
    return yield* Deferred.await(listening)
  })

export const grpcGoServer: PeerServer = {
  name: "grpc-go",
  start: Effect.fnUntraced(function*(directory, files) {
    yield* Effect.mapError(
      Command.run("go", ["install", `google.golang.org/grpc/interop/server@${GrpcGo.version}`], {
        timeout: "10 minutes",
        env: { GOBIN: directory }
      }),
      ({ message }) => new Skipped({ message })
    )
    return yield* Effect.forEach(["plaintext", "TLS"] as const, (transport) =>
      Effect.map(
        serve(join(directory, "server"), args(transport, files)),
        (port) => endpoint(transport, port, files)
      ))
  }),
  cannot: { mTLS: "the server asks no client for a certificate" }
}
