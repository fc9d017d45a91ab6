// What `Worker.test.ts` starts: repeats what it hears, and exits as it was told when its input ends.
import { createInterface } from "node:readline"

const { code } = JSON.parse(process.argv[2])
const tell = (event) => console.log(JSON.stringify(event))
createInterface(process.stdin)
  .on("line", tell)
  .on("close", () => {
    tell("last words")
    console.error("bye")
    process.exitCode = code
  })
