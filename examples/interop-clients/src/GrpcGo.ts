/** grpc-go's own interoperability client, built from its module. */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import * as Command from "./Command.ts"
import { host } from "./Endpoint.ts"
import { CaseFailed, type InteropClient, Skipped } from "./InteropClient.ts"

export const version = "v1.85.0"

export const grpcGo: InteropClient = {
  name: "grpc-go",
  prepare: (directory) =>
    Command.run("go", ["install", `google.golang.org/grpc/interop/client@${version}`], {
      timeout: "10 minutes",
      env: { GOBIN: directory }
    }).pipe(
      Effect.mapError(({ message }) => new Skipped({ message })),
      Effect.as({
        run: (name, { ca, port, transport }) =>
          Command.run(join(directory, "client"), [
            `-server_host=${host}`,
            `-server_port=${port}`,
            `-test_case=${name}`,
            ...(transport === "plaintext" ? [] : ["-use_tls", "-use_test_ca", `-ca_file=${ca}`])
          ], { timeout: "30 seconds" }).pipe(Effect.mapError(({ message }) => new CaseFailed({ message }))),
        cannot: { mTLS: "the client has no certificate of its own to show" }
      })
    )
}
