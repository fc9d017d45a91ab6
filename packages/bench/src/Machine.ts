/** What a run was made on. */
import { readFileSync } from "node:fs"
import * as os from "node:os"
import { join } from "node:path"
import { cores } from "./Child.ts"

export interface Machine {
  readonly processor: string
  readonly processors: number
  readonly memoryGiB: number
  readonly system: string
  /** Where the processes were bound. */
  readonly cores: string
}

export const read = (): Machine => ({
  processor: os.cpus()[0]?.model ?? "unknown",
  processors: os.cpus().length,
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  system: `${os.type()} ${os.release()} ${os.arch()}`,
  cores: cores === undefined
    ? "not bound (no taskset)"
    : `what is measured on core ${cores.measured}, the other side on core ${cores.peer}`
})

const measured = [
  "@grpc/grpc-js",
  "effect",
  "@bufbuild/protobuf",
  "nice-grpc",
  "@nestjs/microservices",
  "@nestjs/core",
  "@connectrpc/connect-node",
  "@protobuf-ts/grpc-backend"
]

export const versions = (): { readonly [name: string]: string } => ({
  node: process.versions.node,
  v8: process.versions.v8,
  ...Object.fromEntries(measured.map((name) => [name, versionOf(name)]))
})

/** Of the package as this one finds it; it may not export its `package.json`. */
const versionOf = (name: string): string => {
  const path = join(import.meta.dirname, "../node_modules", name, "package.json")
  return (JSON.parse(readFileSync(path, "utf8")) as { readonly version: string }).version
}
