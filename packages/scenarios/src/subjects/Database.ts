/** What handlers depend on. It knows who uses it when. */
import { tell } from "./Control.ts"

export interface Session {
  readonly use: () => void
  readonly close: () => void
}

export interface Database {
  readonly open: () => Session
  readonly release: () => void
}

export const make = (): Database => {
  let isReleased = false
  let openSessions = 0
  let usesAfter = 0
  const use = (): void => {
    if (isReleased) usesAfter++
  }
  process.on("exit", () => tell({ _tag: "UsedAfterRelease", times: usesAfter }))
  return {
    open() {
      use()
      openSessions++
      return {
        use,
        close() {
          use()
          openSessions--
        }
      }
    },
    release() {
      isReleased = true
      tell({ _tag: "Released", openSessions })
    }
  }
}
