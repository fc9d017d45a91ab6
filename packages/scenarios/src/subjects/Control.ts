/** A subject's process and its tester: lines of JSON on standard input and output. Nothing here keeps the process alive. */
import { writeSync } from "node:fs"
import { createInterface } from "node:readline"
import type { Command, Plan, Said } from "../Plan.ts"

export const plan = JSON.parse(process.argv.at(-1)!) as Plan

/** Is written at once, also while the process exits. */
export const tell = (said: Said): void => void writeSync(1, `${JSON.stringify(said)}\n`)

const gates = new Map<string, { readonly opened: Promise<void>; readonly open: () => void }>()

const gateOf = (name: string) => {
  const known = gates.get(name)
  if (known !== undefined) return known
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const gate = { opened, open }
  gates.set(name, gate)
  return gate
}

/** Waits until the tester opens this gate. */
export const gate = (name: string): Promise<void> => gateOf(name).opened

type Listener = { readonly [Tag in Command["_tag"]]?: (command: Extract<Command, { readonly _tag: Tag }>) => unknown }

export const listen = (listener: Listener): void => {
  createInterface(process.stdin).on("line", (line) => {
    const command = JSON.parse(line) as Command
    if (command._tag === "Open") gateOf(command.gate).open()
    if (command._tag === "Resources") tell({ _tag: "Resources", names: process.getActiveResourcesInfo() })
    ;(listener[command._tag] as ((command: Command) => unknown) | undefined)?.(command)
  })
  // The tester is gone.
  process.stdin.on("end", () => process.exit(70))
  ;(process.stdin as unknown as { unref(): void }).unref()
}
