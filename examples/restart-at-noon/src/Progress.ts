/** What is seen while the demo runs: a line for each event, and on a terminal one more that is rewritten. */

export interface Progress {
  /** An event. */
  readonly note: (way: string, text: string) => void
  /** How it stands now. */
  readonly live: (way: string, text: string) => void
  /** Clears the line that is rewritten. */
  readonly end: () => void
}

export const silent: Progress = { note: () => {}, live: () => {}, end: () => {} }

/** Where it is written: `process.stdout`. */
export interface Out {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const eraseLine = "\r\u001b[2K"

export const make = (out: Out): Progress => {
  const begin = performance.now()
  const line = (way: string, text: string): string =>
    `${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s  ${way.padEnd(17)}  ${text}`
  const erase = out.isTTY ? eraseLine : ""
  return {
    note: (way, text) => void out.write(`${erase}${line(way, text)}\n`),
    live(way, text) {
      if (out.isTTY) out.write(`${erase}${line(way, text).slice(0, (out.columns || 80) - 1)}`)
    },
    end: () => void out.write(erase)
  }
}
