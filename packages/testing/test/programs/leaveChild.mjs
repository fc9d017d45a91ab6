// Preloaded by `LeftChild.ts`: the program has a child, with its output, that runs on for a minute.
import { spawn } from "node:child_process"
import { appendFileSync } from "node:fs"
import { isMainThread } from "node:worker_threads"

if (isMainThread) {
  const child = spawn("sleep", ["60"], { stdio: ["ignore", "inherit", "inherit"] })
  child.unref()
  appendFileSync(process.env.LEFT_CHILDREN, `${child.pid}\n`)
}
