/** The command line of the server. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"

export interface Arguments {
  readonly port: number | undefined
  readonly unix: string | undefined
  readonly tls: Tls | undefined
  readonly graceMillis: number
  readonly drainDelayMillis: number
}

/** The files of a TLS listener; with the authority of the clients' certificates it is mTLS. */
export interface Tls {
  readonly key: string
  readonly cert: string
  readonly clientCa: string | undefined
}

/** The command line makes no sense. */
export class ArgumentsError extends Data.TaggedError("ArgumentsError")<{ readonly message: string }> {
  override readonly [Runtime.errorExitCode] = 2
}

export const usage = `usage: node examples/interop-server/src/main.ts (--port PORT | --unix PATH) [options]

  --port PORT        listen on this TCP port of 127.0.0.1; 0 is a free one
  --unix PATH        listen on this Unix socket
  --tls DIR          TLS with DIR/key.pem and DIR/cert.pem; mTLS if there is DIR/ca.pem
  --grace MS         how long a drain may take; default 10000
  --drain-delay MS   how long to serve on after SIGTERM; default 0
`

/** The arguments, without the program's name. */
export const parse = (argv: ReadonlyArray<string>): Effect.Effect<Arguments, ArgumentsError> =>
  Effect.try({
    try() {
      const { values } = parseArgs({
        args: [...argv],
        options: {
          port: { type: "string" },
          unix: { type: "string" },
          tls: { type: "string" },
          grace: { type: "string" },
          "drain-delay": { type: "string" }
        }
      })
      const { grace = "10000", port, tls, unix } = values
      if (port === undefined && unix === undefined) throw new Error("where to listen? --port or --unix says it")
      if (unix === "") throw new Error("--unix is the path of a socket, not empty")
      return {
        port: port === undefined ? undefined : wholeNumber("--port", port, 65_535),
        unix,
        tls: tls === undefined ? undefined : tlsFiles(tls),
        graceMillis: wholeNumber("--grace", grace, maxMillis),
        drainDelayMillis: wholeNumber("--drain-delay", values["drain-delay"] ?? "0", maxMillis)
      }
    },
    catch: (cause) => new ArgumentsError({ message: (cause as Error).message })
  })

/** A day. */
const maxMillis = 86_400_000

const wholeNumber = (option: string, text: string, max: number): number => {
  if (/^\d+$/.test(text) && Number(text) <= max) return Number(text)
  throw new Error(`${option} is a whole number from 0 to ${max}, not ${JSON.stringify(text)}`)
}

const tlsFiles = (directory: string): Tls => {
  const [key, cert, clientCa] = ["key.pem", "cert.pem", "ca.pem"].map((name) => join(directory, name)) as [
    string,
    string,
    string
  ]
  for (const file of [key, cert]) if (!existsSync(file)) throw new Error(`--tls: there is no ${file}`)
  return { key, cert, clientCa: existsSync(clientCa) ? clientCa : undefined }
}
