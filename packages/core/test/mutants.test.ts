import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { properties } from "./laws/properties.ts"
import { cleanUp, load } from "./mutant.ts"
import { mutants } from "./mutants.ts"

const options = { seed: 1, runs: 400, maxShrinks: 0 }

afterAll(cleanUp)

describe("a mutant breaks the promise", () => {
  it.effect.each(mutants)("$name", (mutant) =>
    Effect.gen(function*() {
      const property = properties.find(({ name }) => name === mutant.breaks)
      if (property === undefined) return assert.fail(`there is no property "${mutant.breaks}"`)
      const kernel = yield* load(mutant.name, mutant)
      assert.isDefined(yield* property.check(kernel, mutant.mode, options), `survives "${property.name}"`)
    }))
})

describe("a copy that is not changed keeps the promise", () => {
  it.effect.each(properties)("$name", (property) =>
    Effect.gen(function*() {
      const kernel = yield* load("control")
      for (const mode of ["in order", "shuffled"] as const) {
        assert.isUndefined(yield* property.check(kernel, mode, { ...options, runs: 20 }))
      }
    }))
})
