// What `ServerProgram.test.ts` starts: says it is ready, repeats what it hears, and ends on SIGTERM as it is told.
import { createInterface } from "node:readline"

const [how] = process.argv.slice(2)
process.on("SIGTERM", () => {
  if (how === "deaf") return
  console.log("stopped")
  process.exit(3)
})
createInterface(process.stdin).on("line", (line) => console.log(`heard ${line}`))
console.error(`${process.env.GREETING ?? "nothing"} on stderr`)
console.log("ready")
if (how === "dies") {
  console.log("last words")
  process.exit(4)
}
