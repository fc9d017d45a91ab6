/** grpc-js, in this process. */
import * as grpc from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { type Endpoint, host } from "./Endpoint.ts"
import { interopCases } from "./InteropCases.ts"
import { CaseFailed, type InteropClient } from "./InteropClient.ts"
import * as NodeClient from "./NodeClient.ts"

const credentials = ({ ca, cert, key, transport }: Endpoint): grpc.ChannelCredentials => {
  switch (transport) {
    case "plaintext":
      return grpc.credentials.createInsecure()
    case "TLS":
      return grpc.credentials.createSsl(readFileSync(ca))
    case "mTLS":
      return grpc.credentials.createSsl(readFileSync(ca), readFileSync(key), readFileSync(cert))
  }
}

export const grpcJs: InteropClient = {
  name: "grpc-js",
  prepare: () =>
    Effect.succeed({
      run: (name, server) =>
        NodeClient.make(`${host}:${server.port}`, credentials(server)).pipe(
          Effect.flatMap((client) => interopCases[name](client)),
          Effect.scoped,
          Effect.timeout("30 seconds"),
          Effect.catchCause((cause) => Effect.fail(new CaseFailed({ message: Cause.pretty(cause) })))
        )
    })
}
