/** The ways to restart, and what is measured of each. */
import type { ProcessReport } from "@lastcall/core/StopReport"
import type { LoadConfig } from "./LoadEvent.ts"
import type { ServerConfig } from "./ServerEvent.ts"
import type { Tally } from "./Tally.ts"

export interface Way {
  readonly name: string
  /** What it does on SIGTERM, in a few words. */
  readonly what: string
  readonly stop: ServerConfig["stop"]
  readonly load: LoadConfig["load"]
  readonly restarts: number
}

/** One stop of one server process. */
export interface Stop {
  readonly instance: string
  /** From SIGTERM to the end of the process. */
  readonly millis: number
  /** The exit code, or the signal that ended it. */
  readonly exit: string
  /** What was released, in that order. */
  readonly released: ReadonlyArray<{ readonly what: string; readonly forced: boolean }>
  /** Handlers that had the database open when it was released. */
  readonly openAtRelease: number
  /** Uses of the database after its release. */
  readonly usesAfterRelease: number
  /** What Lastcall says of it. */
  readonly report: ProcessReport | undefined
}

export interface Result {
  readonly way: Way
  readonly graceMillis: number
  readonly tally: Tally
  /** Watches that their server ended with a last message. */
  readonly watchesEnded: number
  readonly stops: ReadonlyArray<Stop>
}

/** In turn. */
export const all = (restarts: number): ReadonlyArray<Way> => [
  { name: "hard stop", what: "forceShutdown, then exit", stop: "hard", load: "everyday", restarts },
  {
    name: "recipe, easy case",
    what: "tryShutdown or timer, then forceShutdown; no watch, no silent peer, no long RPC",
    stop: "recipe",
    load: "easy",
    restarts: 2
  },
  { name: "recipe", what: "the same with all of them", stop: "recipe", load: "everyday", restarts },
  {
    name: "Lastcall",
    what: "the lifecycle stops the layers: public server, admin server, database",
    stop: "Lastcall",
    load: "everyday",
    restarts
  }
]
