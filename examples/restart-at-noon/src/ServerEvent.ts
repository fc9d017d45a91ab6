/** What a server process is told, and what it tells: one JSON line per event on its standard output. */
import { ProcessReport, StopEvent } from "@lastcall/core/StopSchema"
import * as Schema from "effect/Schema"
import { writeSync } from "node:fs"

export const ServerConfig = Schema.Struct({
  /** Replica and generation, "A2" say. */
  instance: Schema.String,
  port: Schema.Int,
  socketPath: Schema.String,
  /** How long a stop waits for what is in flight. */
  graceMillis: Schema.Int,
  stop: Schema.Literals(["hard", "recipe", "Lastcall"])
})
export type ServerConfig = typeof ServerConfig.Type

export const ServerEvent = Schema.Union([
  /** The program is loaded and waits for its start. */
  Schema.Struct({ event: Schema.Literal("prepared") }),
  Schema.Struct({ event: Schema.Literal("listening") }),
  /** What happens in a stop with Lastcall. */
  Schema.Struct({ event: Schema.Literal("stopping"), what: StopEvent }),
  /** The live line of a stop with Lastcall, each time that it is rewritten; in the end it is empty. */
  Schema.Struct({ event: Schema.Literal("live"), line: Schema.String }),
  /** What happened in a stop with Lastcall. */
  Schema.Struct({ event: Schema.Literal("stopped"), report: ProcessReport }),
  /** A resource of the server has been released. `forced`: it was not done yet. */
  Schema.Struct({ event: Schema.Literal("released"), what: Schema.String, forced: Schema.Boolean }),
  /** The last word: how many handlers had the database open when it was released, and uses of it after that. */
  Schema.Struct({ event: Schema.Literal("ended"), openAtRelease: Schema.Int, usesAfterRelease: Schema.Int })
])
export type ServerEvent = typeof ServerEvent.Type

/** Reads the configuration that the parent gave. */
export const config = (): ServerConfig => Schema.decodeUnknownSync(Schema.fromJsonString(ServerConfig))(process.argv[2])

const encode = Schema.encodeSync(Schema.fromJsonString(ServerEvent))

/** Tells the parent, before this returns. */
export const tell = (event: ServerEvent): void => void writeSync(1, `${encode(event)}\n`)

/** Waits until the parent says so. From now on this process ends when its parent has gone. */
export const awaitStart = (): Promise<void> => {
  process.stdin.on("close", () => process.exit(3))
  tell({ event: "prepared" })
  return new Promise((resolve) => process.stdin.once("data", () => resolve()))
}
