/** Processes side by side: all are started, then each is measured in every round, A B C B C A, so that none has a place of its own. */
import type { Run } from "../Run.ts"

/** Closes what a round has opened; called in reverse order, when a generation is over. */
export type Closing = (close: () => unknown) => void

/** One measurement of each contender in each round, by its name and in order. */
export type Measured<Name extends string, A> = { readonly [K in Name]: ReadonlyArray<A> }

/** A generation begins with `open`, once, and then starts and warms each contender. */
export const rounds = async <Name extends string, Side, A>(
  run: Run,
  names: ReadonlyArray<Name>,
  open: (closing: Closing) => Promise<(name: Name) => Promise<Side>>,
  measure: (side: Side, name: Name) => Promise<A>
): Promise<Measured<Name, A>> => {
  const measured = Object.fromEntries(names.map((name) => [name, []])) as unknown as { [K in Name]: Array<A> }
  for (let generation = 0; generation < run.generations; generation++) {
    const closes: Array<() => unknown> = []
    try {
      const start = await open((close) => closes.push(close))
      const sides: Array<readonly [Name, Side]> = []
      for (const name of names) sides.push([name, await start(name)])
      for (let round = 0; round < run.rounds; round++) {
        const first = round % sides.length
        for (const [name, side] of [...sides.slice(first), ...sides.slice(0, first)]) {
          measured[name].push(await measure(side, name))
        }
      }
    } finally {
      for (const close of closes.toReversed()) await close()
    }
  }
  return measured
}
