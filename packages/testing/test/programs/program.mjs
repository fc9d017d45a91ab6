// What `ServerProgram.test.ts` starts: says it is ready, repeats what it hears, and ends on SIGTERM as it is told.
// A "parent" leaves a child behind that has its standard output and error, for 8 seconds.
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"

const [how] = process.argv.slice(2)
process.on("SIGTERM", () => {
  if (how === "deaf") return
  console.log("stopped")
  process.exit(3)
})
createInterface(process.stdin).on("line", (line) => console.log(`heard ${line}`))
console.error(`${process.env.GREETING ?? "nothing"} on stderr`)
if (how === "parent") {
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 8_000)"], { stdio: "inherit" })
  console.log(`child ${child.pid}`)
}
console.log("ready")
if (how === "dies") {
  console.log("last words")
  process.exit(4)
}
