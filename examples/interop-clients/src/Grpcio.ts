/**
 * gRPC's C core, through Python's grpcio. Its own interoperability client is not published, so that this is a client of ours
 * for the same cases.
 */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Command from "./Command.ts"
import { type Endpoint, host } from "./Endpoint.ts"
import type { CaseName } from "./InteropCases.ts"
import { CaseFailed, type InteropClient, Skipped } from "./InteropClient.ts"

const version = "1.85.1"

const program = fileURLToPath(new URL("../python/interop_client.py", import.meta.url))

const protos = fileURLToPath(new URL("../../interop-server/proto", import.meta.url))

const flags = ({ ca, cert, key, transport }: Endpoint): ReadonlyArray<string> => {
  switch (transport) {
    case "plaintext":
      return []
    case "TLS":
      return [`--ca_file=${ca}`]
    case "mTLS":
      return [`--ca_file=${ca}`, `--key_file=${key}`, `--cert_file=${cert}`]
  }
}

export const grpcio: InteropClient = {
  name: "grpcio",
  prepare: Effect.fnUntraced(function*(directory) {
    const venv = join(directory, "venv")
    const python = join(venv, "bin", "python")
    yield* Command.run("python3", ["-m", "venv", venv], { timeout: "2 minutes" })
    yield* Command.run(
      python,
      ["-m", "pip", "install", "--quiet", `grpcio==${version}`, `grpcio-tools==${version}`],
      { timeout: "5 minutes" }
    )
    yield* Command.run(
      python,
      [
        "-m",
        "grpc_tools.protoc",
        `-I${protos}`,
        `--python_out=${directory}`,
        `--grpc_python_out=${directory}`,
        ...["empty", "messages", "test"].map((name) => join(protos, "grpc", "testing", `${name}.proto`))
      ],
      { timeout: "1 minute" }
    )
    return {
      run: (name: CaseName, server: Endpoint) =>
        Command.run(
          python,
          [program, `--server_host=${host}`, `--server_port=${server.port}`, `--test_case=${name}`, ...flags(server)],
          { timeout: "30 seconds", env: { PYTHONPATH: directory } }
        ).pipe(Effect.mapError(({ message }) => new CaseFailed({ message })))
    }
  }, Effect.mapError(({ message }) => new Skipped({ message })))
}
