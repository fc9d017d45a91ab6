/**
 * Deadlines that are longer than a Node timer.
 *
 * grpc-js sets a timer for the deadline of an RPC when its headers arrive, before anything of ours runs; above 2^31 ms (24.8
 * days) the timer fires at once, and the RPC is answered DEADLINE_EXCEEDED. Node tells of each HTTP/2 stream before grpc-js
 * sees it (`diagnostics_channel`; Node 22.23 and 24 have it); there a longer deadline becomes the longest that a timer can wait for.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel"

const channel = "http2.server.stream.created"

const millisOf: { readonly [unit: string]: number } = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001
}

/** The longest whole number of seconds of a timer. */
const longest = "2147483S"

const shorten = (message: unknown): void => {
  const { headers } = message as { readonly headers: Record<string, unknown> }
  const timeout = headers["grpc-timeout"]
  if (typeof timeout !== "string") return
  const match = /^(\d{1,8})([HMSmun])$/.exec(timeout)
  if (match !== null && Number(match[1]) * millisOf[match[2]!]! > 2 ** 31 - 1) headers["grpc-timeout"] = longest
}

let servers = 0

/** Called for each server; the function that is returned, when it is gone. */
export const watch = (): () => void => {
  if (servers++ === 0) subscribe(channel, shorten)
  return () => {
    if (--servers === 0) unsubscribe(channel, shorten)
  }
}
