/** `pnpm interop`: the interoperability cases with the clients of other languages, where these are installed. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as ServerProcess from "@lastcall/example-interop-server/ServerProcess"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Certificates from "../../../packages/grpc/test/Certificates.ts"
import { type Endpoint, type Transport, transports } from "./Endpoint.ts"
import { grpcGo } from "./GrpcGo.ts"
import { grpcio } from "./Grpcio.ts"
import { grpcJs } from "./GrpcJs.ts"
import * as Interop from "./Interop.ts"
import * as Table from "./Table.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "interop-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const subdirectory = (parent: string, name: string, files: Record<string, string> = {}): string => {
  const directory = join(parent, name)
  mkdirSync(directory)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  return directory
}

interface Server extends Endpoint {
  readonly process: ServerProcess.ServerProcess
}

/** A server for each transport. */
const startServers = (
  directory: string
): Effect.Effect<ReadonlyArray<Server>, ServerProcess.EndedEarly, Scope.Scope> => {
  const authority = Certificates.authority("interop")
  const server = authority.issue("server")
  const client = authority.issue("client")
  const own = { "key.pem": server.key, "cert.pem": server.cert }
  const args: Record<Transport, ReadonlyArray<string>> = {
    plaintext: [],
    TLS: ["--tls", subdirectory(directory, "tls", own)],
    mTLS: ["--tls", subdirectory(directory, "mtls", { ...own, "ca.pem": authority.cert })]
  }
  const files = { "ca.pem": authority.cert, "key.pem": client.key, "cert.pem": client.cert }
  const clients = subdirectory(directory, "client", files)
  return Effect.forEach(
    transports,
    (transport) =>
      Effect.map(ServerProcess.start("--port", "0", ...args[transport]), (process) => ({
        process,
        transport,
        port: Number(process.listening),
        ca: join(clients, "ca.pem"),
        key: join(clients, "key.pem"),
        cert: join(clients, "cert.pem")
      }))
  )
}

const clients = [grpcJs, grpcGo, grpcio]

const program = Effect.gen(function*() {
  const directory = yield* temporary
  const servers = yield* startServers(directory)
  process.stderr.write(
    `${clients.map(({ name }) => name).join(", ")}: getting the clients ready takes some minutes at first\n\n`
  )
  const trials = yield* Effect.forEach(
    clients,
    (client, index) => Interop.run(client, { directory: subdirectory(directory, `client-${index}`), servers }),
    { concurrency: "unbounded" }
  )
  process.stdout.write(`${Table.render(trials.flat())}\n`)
  if (trials.flat().some(({ outcome }) => outcome === "failed")) process.exitCode = 1
  for (const server of servers) {
    const { exit, stderr } = yield* server.process.terminate()
    if (exit === 0) continue
    process.stdout.write(`\nThe ${server.transport} server did not stop gracefully (${exit}):\n${stderr}`)
    process.exitCode = 1
  }
})

NodeRuntime.runMain(Effect.scoped(program))
