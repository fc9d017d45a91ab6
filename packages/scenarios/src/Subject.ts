/** The servers under test: each a program of its own. */
import { readFileSync } from "node:fs"
import { join } from "node:path"

/** What not every library has. */
export type Feature =
  | "report"
  | "health"
  | "drain delay"
  | "drain told to handlers"
  | "connection age"
  | "rotation"
  | "telemetry"

export interface Subject {
  readonly id: string
  readonly title: string
  /** The program, and its arguments before the plan. */
  readonly command: readonly [file: string, ...args: ReadonlyArray<string>]
  /** Its libraries. */
  readonly packages: ReadonlyArray<string>
  readonly has: ReadonlyArray<Feature>
  /** The node that runs it. Default: the one of this process. */
  readonly node?: string | undefined
}

const program = (name: string): string => join(import.meta.dirname, "subjects", name)

const peer = (
  id: string,
  title: string,
  packages: ReadonlyArray<string>,
  has: ReadonlyArray<Feature> = []
): Subject => ({ id, title, command: [program("recipe.ts"), id], packages, has })

export const lastcall: Subject = {
  id: "lastcall",
  title: "Lastcall",
  command: [program("lastcall.ts")],
  packages: ["@lastcall/grpc", "effect", "@grpc/grpc-js"],
  has: [
    "report",
    "health",
    "drain delay",
    "drain told to handlers",
    "connection age",
    "rotation",
    "telemetry"
  ]
}

export const subjects: ReadonlyArray<Subject> = [
  lastcall,
  peer("grpc-js", "grpc-js, the recipe", ["@grpc/grpc-js"], ["connection age"]),
  peer("nice-grpc", "nice-grpc", ["nice-grpc"], ["connection age"]),
  peer("connect-node", "connect-node", ["@connectrpc/connect", "@connectrpc/connect-node"]),
  peer("nestjs", "NestJS", ["@nestjs/core", "@nestjs/microservices"], ["connection age"])
]

/** Of a package as this one finds it; it may not export its `package.json`. */
export const versionOf = (name: string): string => {
  const path = join(import.meta.dirname, "../node_modules", name, "package.json")
  return (JSON.parse(readFileSync(path, "utf8")) as { readonly version: string }).version
}
