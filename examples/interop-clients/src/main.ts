/**
 * `pnpm interop`: the interoperability cases with the clients and the servers of other languages, where these are installed.
 */
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
import { grpcGoServer } from "./GrpcGoServer.ts"
import { grpcio } from "./Grpcio.ts"
import { grpcJs } from "./GrpcJs.ts"
import { grpcJsServer } from "./GrpcJsServer.ts"
import * as Interop from "./Interop.ts"
import { lastcall } from "./Lastcall.ts"
import { endpoint, type Files } from "./PeerServer.ts"
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

/** The directories of a TLS server, of an mTLS server and of clients, each with what it needs. */
const issue = (directory: string) => {
  const authority = Certificates.authority("interop")
  const server = authority.issue("server")
  const client = authority.issue("client")
  const own = { "key.pem": server.key, "cert.pem": server.cert }
  return {
    tls: subdirectory(directory, "tls", own),
    mtls: subdirectory(directory, "mtls", { ...own, "ca.pem": authority.cert }),
    client: subdirectory(directory, "client", {
      "ca.pem": authority.cert,
      "key.pem": client.key,
      "cert.pem": client.cert
    })
  }
}

type Directories = ReturnType<typeof issue>

const pair = (directory: string) => ({ key: join(directory, "key.pem"), cert: join(directory, "cert.pem") })

const filesOf = ({ client, tls }: Directories): Files => ({
  ca: join(client, "ca.pem"),
  server: pair(tls),
  client: pair(client)
})

/** A server of ours for each transport. */
const startServers = (
  directories: Directories
): Effect.Effect<ReadonlyArray<Server>, ServerProcess.EndedEarly, Scope.Scope> => {
  const args: Record<Transport, ReadonlyArray<string>> = {
    plaintext: [],
    TLS: ["--tls", directories.tls],
    mTLS: ["--tls", directories.mtls]
  }
  return Effect.forEach(
    transports,
    (transport) =>
      Effect.map(ServerProcess.start("--port", "0", ...args[transport]), (process) => ({
        process,
        ...endpoint(transport, Number(process.listening), filesOf(directories))
      }))
  )
}

const clients = [grpcJs, lastcall, grpcGo, grpcio]
const peerServers = [grpcJsServer, grpcGoServer]

const program = Effect.gen(function*() {
  const directory = yield* temporary
  const directories = issue(directory)
  const servers = yield* startServers(directories)
  process.stderr.write("Getting the clients and servers of others ready takes some minutes at first.\n\n")
  const trials = yield* Effect.all({
    clients: Effect.forEach(
      clients,
      (client, index) => Interop.run(client, { directory: subdirectory(directory, `client-${index}`), servers }),
      { concurrency: "unbounded" }
    ),
    servers: Effect.forEach(
      peerServers,
      (server, index) =>
        Interop.runAgainst(server, lastcall, {
          directory: subdirectory(directory, `server-${index}`),
          files: filesOf(directories)
        }),
      { concurrency: "unbounded" }
    )
  }, { concurrency: "unbounded" })
  process.stdout.write(`Clients of Lastcall's server\n\n${Table.render(trials.clients.flat())}\n\n`)
  process.stdout.write(`Servers of Lastcall's client\n\n${Table.render(trials.servers.flat())}\n`)
  const all = [...trials.clients, ...trials.servers].flat()
  if (all.some(({ outcome }) => outcome === "failed")) process.exitCode = 1
  for (const server of servers) {
    const { exit, stderr } = yield* server.process.terminate()
    if (exit === 0) continue
    process.stdout.write(`\nThe ${server.transport} server did not stop gracefully (${exit}):\n${stderr}`)
    process.exitCode = 1
  }
})

NodeRuntime.runMain(Effect.scoped(program))
