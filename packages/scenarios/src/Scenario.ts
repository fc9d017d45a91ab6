/** What a graceful stop must survive, as something that can be asked of any subject. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Feature, Subject } from "./Subject.ts"

/** How a subject failed, in a few words. */
export class Failed extends Data.TaggedError("Failed")<{ readonly how: string }> {
  override get message(): string {
    return this.how
  }
}

export interface Scenario {
  /** Its number in `docs/scenarios.md`. */
  readonly number: number
  readonly title: string
  /** What a subject must have for the scenario to make sense. */
  readonly needs?: ReadonlyArray<Feature> | undefined
  /** Takes longer than a test of `npm test` may. */
  readonly isSlow?: boolean | undefined
  /**
   * Asks a subject; what it returns is a remark for the table. Without it the scenario lies within the process: Lastcall's
   * tests of that name in this file are asked, and the others are not.
   */
  readonly check: ((subject: Subject) => Effect.Effect<string | void, Failed, Scope.Scope>) | InTests
}

export interface InTests {
  readonly files: ReadonlyArray<string>
  /** Why the others cannot be asked. */
  readonly why: string
}

export interface Group {
  readonly title: string
  readonly scenarios: ReadonlyArray<Scenario>
}

export const expect = (condition: boolean, how: string): Effect.Effect<void, Failed> =>
  condition ? Effect.void : Effect.fail(new Failed({ how }))

/** Fails where something does not come within a bound that is generous: on a machine that is busy, too. */
export const inTime = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  how: string,
  millis = 30_000
): Effect.Effect<A, E | Failed, R> =>
  Effect.timeoutOrElse(effect, { duration: millis, orElse: () => Effect.fail(new Failed({ how })) })

/** Polls. */
export const until = (condition: Effect.Effect<boolean>, how: string, millis = 30_000): Effect.Effect<void, Failed> => {
  const poll: Effect.Effect<void> = Effect.flatMap(
    condition,
    (is) => is ? Effect.void : Effect.andThen(Effect.sleep(10), poll)
  )
  return inTime(poll, how, millis)
}
