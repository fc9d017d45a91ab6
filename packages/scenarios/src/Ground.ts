/** Where subjects meet their testers: a folder with certificates, and folders for socket files. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Certificates from "../../grpc/test/Certificates.ts"

const prefix = join(tmpdir(), "lastcall-scenarios-")

let made: string | undefined

/** Removes the certificates. For where a process does not exit by itself, as the workers of tests. */
export const remove = (): void => {
  if (made !== undefined) rmSync(made, { recursive: true, force: true })
  made = undefined
}

/** Certificates of the server and of a client, by one authority; for as long as this process lives. */
export const certificates = (): string => {
  if (made !== undefined) return made
  made = mkdtempSync(prefix)
  const folder = made
  process.once("exit", remove)
  const authority = Certificates.authority("scenarios")
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "ca.pem"), authority.cert)
  for (const [suffix, name] of [["", "localhost"], ["-client", "client"]] as const) {
    const { cert, key } = authority.issue(name)
    writeFileSync(join(folder, `cert${suffix}.pem`), cert)
    writeFileSync(join(folder, `key${suffix}.pem`), key)
  }
  return folder
}

/** An empty folder of one scenario. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(prefix)),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)
