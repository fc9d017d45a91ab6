import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { real } from "./laws/kernel.ts"
import { type Mode, modes, properties } from "./laws/properties.ts"

/** Fixed, so that a run is repeatable; set `LASTCALL_SEED` and `LASTCALL_RUNS` to explore. */
const options = {
  seed: Number(process.env["LASTCALL_SEED"] ?? 1),
  runs: Number(process.env["LASTCALL_RUNS"] ?? 60)
}

describe.each(Object.keys(modes) as Array<Mode>)("%s", (mode) => {
  it.effect.each(properties)("$name", (property) =>
    Effect.map(property.check(real, mode, options), (failure) => {
      if (failure !== undefined) assert.fail(failure)
    }))
})
