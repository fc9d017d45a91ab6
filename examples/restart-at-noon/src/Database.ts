/** The dependency of the servers: a pool of sessions that notices who uses it after its release. */
import { setTimeout as sleep } from "node:timers/promises"

export class DatabaseReleased extends Error {
  override readonly name = "DatabaseReleased"
}

/** What a handler holds while it runs. */
export interface Session {
  /** Stores an identity; returns its serial number. */
  readonly insert: (subject: string) => Promise<number>
  readonly count: () => Promise<number>
  readonly revision: () => Promise<number>
  readonly close: () => void
}

export interface Database {
  readonly open: () => Session
  /** From its first moment on the database must not be used. Saying goodbye to the server takes a little longer. */
  readonly release: () => Promise<void>
  /** Handlers that had a session open at the release. */
  readonly openAtRelease: () => number
  readonly usesAfterRelease: () => number
}

const queryMillis = 2
const goodbyeMillis = 30

export const make = (): Database => {
  let open = 0
  let inserted = 0
  let openAtRelease = 0
  let usesAfterRelease = 0
  let released = false

  const query = async <A>(read: () => A): Promise<A> => {
    if (released) {
      usesAfterRelease++
      throw new DatabaseReleased("the database is used after its release")
    }
    await sleep(queryMillis)
    return read()
  }

  return {
    open() {
      open++
      let closed = false
      return {
        insert: () => query(() => ++inserted),
        count: () => query(() => inserted),
        revision: () => query(() => Math.floor(inserted / 100)),
        close() {
          if (closed) return
          closed = true
          open--
        }
      }
    },
    async release() {
      released = true
      openAtRelease = open
      await sleep(goodbyeMillis)
    },
    openAtRelease: () => openAtRelease,
    usesAfterRelease: () => usesAfterRelease
  }
}
