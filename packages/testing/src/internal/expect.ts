/** What a law expects. A test runner's own assertions would tie the laws to it. */
import * as Equal from "effect/Equal"
import * as Formatter from "effect/Formatter"

export class Unexpected extends Error {
  override readonly name = "Unexpected"
}

/** A share of a budget may be a fraction of a millisecond. */
const precision = 0.001

export const isTrue = (condition: boolean, what: string): void => {
  if (!condition) throw new Unexpected(what)
}

export const equal = (actual: unknown, expected: unknown, what: string): void =>
  isTrue(
    Equal.equals(actual, expected),
    `${what}: expected ${Formatter.format(expected)}, got ${Formatter.format(actual)}`
  )

export const atMost = (actual: number, maximum: number, what: string): void =>
  isTrue(actual <= maximum + precision, `${what}: expected at most ${maximum}, got ${actual}`)

export const atLeast = (actual: number, minimum: number, what: string): void =>
  isTrue(actual >= minimum - precision, `${what}: expected at least ${minimum}, got ${actual}`)
