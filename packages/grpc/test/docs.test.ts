import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"

const root = join(import.meta.dirname, "../../..")
const bin = join(root, "node_modules/.bin")
/** Beside `gen`, so that `./gen/...` of the examples is one folder up. */
const folder = join(import.meta.dirname, ".docs")

const run = (command: string, args: ReadonlyArray<string>) =>
  promisify(execFile)(command, args, { cwd: folder, env: { ...process.env, PATH: `${bin}:${process.env.PATH}` } })

interface Block {
  readonly name: string
  readonly code: string
}

/** The ```ts blocks of a guide, or of the doc comments of a source. */
const blocks = (file: string): ReadonlyArray<Block> => {
  const text = readFileSync(join(root, file), "utf8")
  const plain = file.endsWith(".md") ? text : text.replace(/^ *\* ?/gm, "")
  return Array.from(plain.matchAll(/^```ts\n(.*?)^```/gms), ([, code], i) => ({
    name: `${file.replaceAll(/[^A-Za-z]+/g, "-")}-${i + 1}.ts`,
    code: code!
  }))
}

const files = globSync([
  "README.md",
  "docs/*.md",
  "packages/*/README.md",
  "examples/*/README.md",
  "packages/*/src/*.ts"
], {
  cwd: root
})
const all = files.flatMap(blocks)

const legacy = `
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js"
export const definition: ServiceDefinition = {}
export const implementation: UntypedServiceImplementation = {}
`

describe("the code in the guides, READMEs and doc comments", () => {
  beforeAll(() => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder)
    writeFileSync(join(folder, "legacy.ts"), legacy)
    for (const { code, name } of all) writeFileSync(join(folder, name), code.replaceAll("./gen/", "../gen/"))
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../../../../tsconfig.tests.json",
        include: ["*.ts"],
        compilerOptions: { noUnusedLocals: false, rootDir: "../../../.." }
      })
    )
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("is there to be checked", () => {
    assert.includeMembers(all.map(({ name }) => name), ["README-md-1.ts", "docs-stopping-md-1.ts"])
  })

  it("compiles", { timeout: 60_000 }, async () => {
    await run("tsc", ["-p", "tsconfig.json"]).catch((error: { readonly stdout: string }) => assert.fail(error.stdout))
  })

  it.each(all.filter(({ code }) => code.includes("await Effect.runPromise(")))("runs: $name", async ({ name }) => {
    await run("node", [name])
  })
})

describe("the README of a package", () => {
  for (const name of ["core", "grpc", "testing"]) {
    it(`of ${name} names every module of it`, () => {
      const folder = join(root, "packages", name)
      const modules = globSync("[A-Z]*.ts", { cwd: join(folder, "src") }).map((file) => file.slice(0, -3))
      const named = Array.from(
        readFileSync(join(folder, "README.md"), "utf8").matchAll(/^\| `(\w+)` /gm),
        ([, module]) => module!
      )
      assert.isAbove(modules.length, 10)
      assert.deepStrictEqual(named.toSorted(), modules.toSorted())
    })
  }
})
