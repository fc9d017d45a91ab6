/** Both sides' accounts of the RPCs: what the client sent, and what the replicas admitted. */
import { FeedService } from "./gen/lastcall/rolling/v1/feed_pb.ts"
import type { Result } from "./Rollout.ts"
import * as Tally from "./Tally.ts"

/** How many RPCs of a method all processes admitted, as Lastcall's reports say. */
export const admitted = ({ allStops }: Result, method: Tally.Method): number =>
  allStops.reduce((total, { report }) => {
    const kinds = report?.resources.map(({ kinds }) => kinds[`${FeedService.typeName}/${method}`]?.admitted ?? 0) ?? []
    return kinds.reduce((sum, n) => sum + n, total)
  }, 0)

/**
 * Whether Lastcall kept its word: no RPC was lost, each one ended, each was admitted by exactly one process, and each process
 * stopped gracefully.
 */
export const isKept = (result: Result): boolean =>
  Tally.lost(result.tally) === 0 &&
  Tally.outstanding(result.tally) === 0 &&
  Tally.methods.every((method) => admitted(result, method) === result.tally[method].sent) &&
  result.allStops.every(({ exit, report }) => exit === "0" && report?.outcome === "graceful")
