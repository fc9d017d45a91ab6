/** A copy of the work tree: Stryker changes the sources in place, and nobody else shall see that. */
import { execFileSync } from "node:child_process"
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

export const make = (root: string): string => {
  const copy = mkdtempSync(join(tmpdir(), "lastcall-mutation-"))
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "-z"], { cwd: root, encoding: "utf8" })
  for (const file of listed.split("\0")) {
    if (file === "" || !existsSync(join(root, file))) continue
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    cpSync(join(root, file), join(copy, file))
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"))
  // Links between packages of the workspace are relative: in the copy they lead to the copy.
  for (const folder of globSync("{packages,examples}/*/node_modules", { cwd: root })) {
    cpSync(join(root, folder), join(copy, folder), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !path.endsWith("/.cache")
    })
  }
  return copy
}
