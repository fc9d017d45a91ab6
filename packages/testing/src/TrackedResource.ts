/**
 * A resource that knows who uses it when: what a test asks whether dependencies outlive their dependents.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * A resource such as a database, with sessions.
 *
 * @category models
 * @since 0.1.0
 */
export interface TrackedResource {
  /** Uses it once. After the release that is counted, not failed: the release was too early, which is for a test to say. */
  readonly use: Effect.Effect<void>
  /** A session: open until its scope closes, which uses the resource once more. */
  readonly session: Effect.Effect<void, never, Scope.Scope>
  readonly isReleased: () => boolean
  /** How often it was used, before and after its release. */
  readonly uses: () => { readonly before: number; readonly after: number }
  /** How many sessions were open when it was released, or are open now. */
  readonly openSessions: () => number
}

/**
 * Makes one that is released when the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<TrackedResource, never, Scope.Scope> = Effect.suspend(() => {
  const uses = { before: 0, after: 0 }
  let released = false
  let open = 0
  let openAtRelease = 0
  const use = Effect.sync(() => {
    uses[released ? "after" : "before"]++
  })
  const self: TrackedResource = {
    use,
    session: Effect.asVoid(Effect.acquireRelease(
      Effect.andThen(use, Effect.sync(() => void open++)),
      () => Effect.andThen(use, Effect.sync(() => void open--))
    )),
    isReleased: () => released,
    uses: () => ({ ...uses }),
    openSessions: () => released ? openAtRelease : open
  }
  return Effect.acquireRelease(
    Effect.succeed(self),
    () =>
      Effect.sync(() => {
        openAtRelease = open
        released = true
      })
  )
})
