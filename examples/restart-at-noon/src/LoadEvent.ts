/** What the load process is told, and what it tells: one JSON line per report on its standard output. */
import * as Schema from "effect/Schema"
import { Tally } from "./Tally.ts"

/** How long the RPCs take that run longer. */
export const longMillis = 900

export const LoadConfig = Schema.Struct({
  /** The public ports of the replicas. */
  ports: Schema.Array(Schema.Int),
  /** The admin sockets of the replicas. */
  socketPaths: Schema.Array(Schema.String),
  /** How many public clients, each with connections of its own. */
  clients: Schema.Int,
  /** `everyday`: with a watch, silent peers, and RPCs that run longer. `easy`: without. */
  load: Schema.Literals(["everyday", "easy"])
})
export type LoadConfig = typeof LoadConfig.Type

export const LoadEvent = Schema.Struct({
  tally: Tally,
  /** For each server instance, how many clients it has answered. */
  heard: Schema.Record(Schema.String, Schema.Int),
  /** Watches that their server ended with a last message. */
  watchesEnded: Schema.Int
})
export type LoadEvent = typeof LoadEvent.Type
