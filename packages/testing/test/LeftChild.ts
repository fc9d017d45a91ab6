/** Programs that leave a child behind, which has their standard output and error. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

/** Whether a process has this id. */
export const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/**
 * Each program that node starts until the scope closes leaves one behind. Returns how many of them are still alive; they are
 * killed in the end.
 */
export const ofEachProgram: Effect.Effect<() => number, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const directory = mkdtempSync(join(tmpdir(), "lastcall-"))
      const file = join(directory, "pids")
      const { LEFT_CHILDREN, NODE_OPTIONS } = process.env
      const preload = pathToFileURL(join(import.meta.dirname, "programs/leaveChild.mjs"))
      process.env.LEFT_CHILDREN = file
      process.env.NODE_OPTIONS = `${NODE_OPTIONS ?? ""} --import=${preload}`
      writeFileSync(file, "")
      const alive = () => Array.from(readFileSync(file, "utf8").matchAll(/\d+/g), ([pid]) => Number(pid)).filter(exists)
      return { alive, directory, before: { LEFT_CHILDREN, NODE_OPTIONS } }
    }),
    ({ alive, before, directory }) =>
      Effect.sync(() => {
        for (const [name, value] of Object.entries(before)) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
        for (const pid of alive()) process.kill(pid, "SIGKILL")
        rmSync(directory, { recursive: true })
      })
  ),
  ({ alive }) => () => alive().length
)
