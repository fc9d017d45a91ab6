/** A mutant is active in the processes that a test starts too. */
import { beforeAll } from "vitest"

beforeAll(() => {
  const { activeMutant } = (globalThis as { __stryker__?: { activeMutant?: string } }).__stryker__ ?? {}
  if (activeMutant === undefined) delete process.env["__STRYKER_ACTIVE_MUTANT__"]
  else process.env["__STRYKER_ACTIVE_MUTANT__"] = activeMutant
})
