/** What a replica is told, and what it tells: one JSON line per event on its standard output. */
import { ProcessReport } from "@lastcall/core/StopSchema"
import * as Schema from "effect/Schema"
import { writeSync } from "node:fs"

export const ReplicaConfig = Schema.Struct({
  /** Replica and generation, "A2" say. */
  instance: Schema.String,
  port: Schema.Int,
  /** The grace period of Lastcall, the timer of the recipe. */
  graceMillis: Schema.Int
})
export type ReplicaConfig = typeof ReplicaConfig.Type

export const ReplicaEvent = Schema.Union([
  /** The program is loaded and waits for its start. */
  Schema.Struct({ event: Schema.Literal("prepared") }),
  Schema.Struct({ event: Schema.Literal("listening") }),
  /** What happened in a stop with Lastcall. */
  Schema.Struct({ event: Schema.Literal("stopped"), report: ProcessReport })
])
export type ReplicaEvent = typeof ReplicaEvent.Type

/** Reads the configuration that the parent gave. */
export const config = (): ReplicaConfig =>
  Schema.decodeUnknownSync(Schema.fromJsonString(ReplicaConfig))(process.argv[2])

const encode = Schema.encodeSync(Schema.fromJsonString(ReplicaEvent))

/** Tells the parent, before this returns. */
export const tell = (event: ReplicaEvent): void => void writeSync(1, `${encode(event)}\n`)

/** Waits until the parent says so. From now on this process ends when its parent has gone. */
export const awaitStart = (): Promise<void> => {
  process.stdin.on("close", () => process.exit(3))
  tell({ event: "prepared" })
  return new Promise((resolve) => process.stdin.once("data", () => resolve()))
}
