/** How a run of the benchmark is done: how often, how long, on what. */
import * as ClientProcess from "./ClientProcess.ts"
import type { ClientSpec } from "./ClientSpec.ts"
import type { Noise } from "./Noise.ts"
import * as ServerProcess from "./ServerProcess.ts"
import type { ServerSpec } from "./ServerSpec.ts"
import type { Snapshot } from "./Snapshot.ts"

export interface Run {
  readonly snapshot: Snapshot
  /** Of another checkout of Lastcall, to measure a change of it. */
  readonly candidate: Snapshot | undefined
  readonly noise: Noise
  /** How often servers are started anew, and how many rounds they then serve. */
  readonly generations: number
  readonly rounds: number
  /** Pairs of what takes a process each: stops, cold starts. */
  readonly pairs: number
  /** Before each window: a process that has been idle is slow at first, the more so the more code it runs. */
  readonly runInMillis: number
  readonly windowMillis: number
  readonly warmupMillis: number
  /** Messages of a stream. */
  readonly streamSize: number
  readonly idleConnections: number
  readonly openCalls: number
  /** Whether what is measured and its peer have a core each. */
  readonly isBound: boolean
  readonly log: (line: string) => void
}

export const full = {
  // The heap of a process keeps its state: more processes say more than more rounds of one.
  generations: 8,
  rounds: 2,
  // Some three young collections. With one or none of them the ratio of a pair was theirs, from a fifth to the threefold.
  windowMillis: 400,
  runInMillis: 120,
  // With one second Lastcall seemed slower by up to a fifth: what has more code is warm later.
  warmupMillis: 3_000,
  pairs: 15,
  streamSize: 100_000,
  idleConnections: 5_000,
  openCalls: 1_000,
  isBound: true
} as const

export const quick = {
  ...full,
  generations: 2,
  rounds: 3,
  pairs: 5,
  idleConnections: 1_000
} as const

export const tiny = {
  generations: 1,
  rounds: 1,
  pairs: 1,
  windowMillis: 1,
  runInMillis: 1,
  warmupMillis: 1,
  streamSize: 100,
  idleConnections: 5,
  openCalls: 5,
  isBound: false
} as const

/** How V8 is set: by default its heap flips between two states under `node:http2`, which can hide what is measured. */
export interface Flags {
  readonly name: string
  readonly flags: ReadonlyArray<string>
}

export const defaultFlags: Flags = { name: "default", flags: [] }
export const noPretenuring: Flags = {
  name: "no pretenuring",
  flags: ["--no-allocation-site-pretenuring"]
}

/** A server in a comparison: what it has besides the defaults. */
export type Contender =
  & Partial<Omit<ServerSpec, "folder">>
  & Pick<ServerSpec, "library">
  & { readonly isCandidate?: boolean; readonly isBundled?: boolean }

/** A client in a comparison. */
export type ClientContender =
  & Partial<Pick<ClientSpec, "traceparent">>
  & Pick<ClientSpec, "library">
  & { readonly isCandidate?: boolean }

/** A server that is measured, or one that clients are measured with. */
export const start = async (
  { candidate, isBound, snapshot }: Run,
  { isBundled, isCandidate, ...contender }: Contender,
  flags: ReadonlyArray<string>,
  role: "measured" | "peer" = "measured"
): Promise<ServerProcess.ServerProcess> => {
  const from = isCandidate === true ? candidate! : snapshot
  return ServerProcess.start(
    isBundled === true ? await from.bundled(contender.library) : from.server,
    {
      codec: "identity",
      handler: "sync",
      transport: "tcp",
      middleware: [],
      channelz: false,
      loadsLastcall: false,
      ...contender,
      folder: snapshot.folder
    },
    flags,
    isBound ? role : undefined
  )
}

/** A client of the server on this port. */
export const startClient = (
  { candidate, isBound, snapshot, streamSize }: Run,
  { isCandidate, ...contender }: ClientContender,
  flags: ReadonlyArray<string>,
  method: ClientSpec["method"],
  port: number
): Promise<ClientProcess.ClientProcess> =>
  ClientProcess.start(
    (isCandidate === true ? candidate! : snapshot).client,
    { traceparent: false, ...contender, method, streamSize, port },
    flags,
    isBound ? "measured" : undefined
  )
