/** Other versions of node, as npm has them. */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Failed } from "./Scenario.ts"

const cache = join(import.meta.dirname, "../node_modules/.cache/node")

/** The path of the newest node of a major version; it is installed first where it is not there. */
export const install = (major: number): Effect.Effect<string, Failed> => {
  const folder = join(cache, `${major}`)
  const path = join(folder, "node_modules/node/bin/node")
  if (existsSync(path)) return Effect.succeed(path)
  return Effect.callback((resume) => {
    const child = execFile(
      "npm",
      ["install", "--prefix", folder, "--no-audit", "--no-fund", "--no-save", `node@${major}`],
      { timeout: 120_000 },
      () =>
        resume(
          existsSync(path)
            ? Effect.succeed(path)
            : Effect.fail(new Failed({ how: `npm cannot install node ${major} here` }))
        )
    )
    return Effect.sync(() => void child.kill())
  })
}
