/** What became of one scenario with one subject. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Scenario } from "./Scenario.ts"
import { Failed } from "./Scenario.ts"
import { lastcall, type Subject } from "./Subject.ts"

export type Cell =
  | { readonly _tag: "Passed"; readonly remark?: string | undefined }
  | { readonly _tag: "Failed"; readonly how: string }
  | { readonly _tag: "NotApplicable"; readonly why: string }

const patienceMillis = 120_000

/** Asks a subject. What lies within the process is answered by `inTests`. */
export const ask = (
  { check, needs }: Scenario,
  subject: Subject,
  inTests: Effect.Effect<Cell>
): Effect.Effect<Cell> => {
  const missing = needs?.filter((feature) => !subject.has.includes(feature)) ?? []
  if (missing.length > 0) {
    return Effect.succeed({
      _tag: "NotApplicable",
      why: typeof check === "function" ? `has no ${missing.join(", no ")}` : check.why
    })
  }
  if (typeof check !== "function") {
    return subject === lastcall ? inTests : Effect.succeed({ _tag: "NotApplicable", why: check.why })
  }
  return Effect.scoped(check(subject)).pipe(
    Effect.timeoutOrElse({
      duration: patienceMillis,
      orElse: () => Effect.fail(new Failed({ how: "the scenario took longer than two minutes" }))
    }),
    Effect.matchCause({
      onSuccess: (remark): Cell => ({ _tag: "Passed", remark: remark ?? undefined }),
      onFailure(cause): Cell {
        const error = Cause.squash(cause)
        return { _tag: "Failed", how: error instanceof Failed ? error.how : `the scenario itself: ${String(error)}` }
      }
    })
  )
}
