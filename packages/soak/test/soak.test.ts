import { assert, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Leak from "../src/Leak.ts"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))

const soak = (...args: ReadonlyArray<string>): Promise<{ readonly code: number; readonly output: string }> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, ...args],
      { env: { ...process.env, NODE_OPTIONS: "" } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
    )
  })

/** What is kept of each leak, as the soak names it. */
const grows: { readonly [K in Leak.Kind]: string } = {
  socket: "descriptors",
  timer: "handles",
  memory: "heap",
  fiber: "fibers",
  listener: "listeners"
}

it("leaks are found: a socket, a timer, memory, a fiber, a listener per round", async () => {
  const { code, output } = await soak(
    "--rounds",
    "4",
    "--warm-up",
    "2",
    ...Leak.kinds.flatMap((kind) => ["--leak", kind])
  )
  assert.strictEqual(code, 1, output)
  for (const kind of Leak.kinds) assert.match(output, new RegExp(`GROWS ${grows[kind]}`), kind)
}, 60_000)

it("what makes no sense is refused", async () => {
  const { code, output } = await soak("--rounds", "0")
  assert.strictEqual(code, 2)
  assert.include(output, "--rounds is 0")
}, 60_000)
