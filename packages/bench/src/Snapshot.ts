/**
 * A copy of what is measured, as JavaScript, in a temporary folder.
 *
 * Servers start as published ones do, without types to strip, and a change of the sources during a run is not measured
 * half. A copy can be made of another checkout too, to measure a change against the state before it.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Library } from "./ServerSpec.ts"

export interface Snapshot {
  /** The entry of a server process. */
  readonly server: string
  /** The entry of a server process of this library in one file with all that it imports, as a bundler makes it. */
  readonly bundled: (library: Library) => Promise<string>
  /** The entry of a client process. */
  readonly client: string
  /** Where servers may put their socket files and find their certificate. */
  readonly folder: string
  readonly remove: () => void
}

const bench = dirname(dirname(fileURLToPath(import.meta.url)))
export const workspace = dirname(dirname(bench))

/** With the sources of Lastcall from this checkout. */
export const make = (checkout: string = workspace): Snapshot => {
  const folder = mkdtempSync(join(tmpdir(), "lastcall-bench-"))
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
  const modules = join(folder, "node_modules")
  link(join(bench, "node_modules"), modules)
  for (const name of ["core", "grpc"]) {
    const from = join(checkout, "packages", name)
    const to = join(modules, "@lastcall", name)
    strip(join(from, "src"), join(to, "src"))
    writeFileSync(
      join(to, "package.json"),
      readFileSync(join(from, "package.json"), "utf8").replaceAll(/(\.\/src\/[^"]*)\.ts"/g, "$1.js\"")
    )
  }
  strip(join(bench, "src"), join(folder, "src"))
  const bundles = new Map<Library, Promise<string>>()
  return {
    server: join(folder, "src/servers/main.js"),
    bundled(library) {
      const bundled = bundles.get(library) ?? bundle(folder, library)
      bundles.set(library, bundled)
      return bundled
    },
    client: join(folder, "src/clients/main.js"),
    folder,
    remove: () => rmSync(folder, { recursive: true, force: true })
  }
}

const bundle = async (folder: string, library: Library): Promise<string> => {
  const input = join(folder, `src/servers/bundled-${library}.js`)
  const file = join(folder, `${library}.js`)
  writeFileSync(input, `import { serve } from "./${library}.js"\nimport { run } from "./run.js"\nawait run(serve)\n`)
  const { build } = await import("rolldown")
  await build({
    input,
    platform: "node",
    logLevel: "warn",
    output: { file, format: "esm", minify: true, codeSplitting: false }
  })
  return file
}

/** Links to the dependencies, so that each keeps its own. */
const link = (from: string, to: string): void => {
  mkdirSync(to)
  for (const name of readdirSync(from)) {
    if (name.startsWith(".") || name === "@lastcall") continue
    if (name.startsWith("@")) link(join(from, name), join(to, name))
    else symlinkSync(join(from, name), join(to, name))
  }
}

const strip = (from: string, to: string): void => {
  mkdirSync(to, { recursive: true })
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const path = join(from, entry.name)
    if (entry.isDirectory()) strip(path, join(to, entry.name))
    else if (entry.name.endsWith(".ts")) {
      writeFileSync(
        join(to, entry.name.replace(/\.ts$/, ".js")),
        stripTypeScriptTypes(readFileSync(path, "utf8")).replaceAll(/(["`]\.[^"`\n]*)\.ts(["`])/g, "$1.js$2")
      )
    } else cpSync(path, join(to, entry.name))
  }
}
