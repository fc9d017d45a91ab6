/** What else ran on the machine while something was measured. */
import { readFileSync } from "node:fs"
import { cpus } from "node:os"

/** Of the machine, not only those that this process is bound to. */
const processors = cpus().length

/** Busy time of all processors so far, in milliseconds; `undefined` where the system does not say. */
const busyMillis = (): number | undefined => {
  try {
    const [user, nice, system, , , irq, softirq, steal] = readFileSync("/proc/stat", "utf8")
      .split("\n", 1)[0]!.split(/\s+/).slice(1).map(Number)
    // In hundredths of a second.
    return (user! + nice! + system! + irq! + softirq! + steal!) * 10
  } catch {
    return undefined
  }
}

export interface Noise {
  /** Opens a window; what it returns closes it, told the CPU time that the measurement itself has used. */
  readonly open: () => (ownMillis: number) => void
  /** The share of the machine's processors that others had during all windows; `undefined` if it cannot be known. */
  readonly others: () => number | undefined
}

export const make = (): Noise => {
  let elapsed = 0
  let others = 0
  let isKnown = true
  return {
    open() {
      const busy = busyMillis()
      const cpu = process.cpuUsage()
      const start = performance.now()
      return (ownMillis) => {
        const now = busyMillis()
        if (busy === undefined || now === undefined) {
          isKnown = false
          return
        }
        const { system, user } = process.cpuUsage(cpu)
        elapsed += performance.now() - start
        others += now - busy - ownMillis - (system + user) / 1_000
      }
    },
    others: () => isKnown && elapsed > 0 ? Math.max(0, others / (elapsed * processors)) : undefined
  }
}

/** The share of others above which a run does not conclude. */
export const maxOthers = 0.1
