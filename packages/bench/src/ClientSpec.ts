/** What a client of the benchmark is told, as one JSON argument of its process. */
import type { ProfiledFunction } from "./Profile.ts"

export interface ClientSpec {
  readonly library: "lastcall" | "grpc-js"
  readonly method: "Unary" | "ServerStream"
  /** Whether each call sends the trace context of a span. */
  readonly traceparent: boolean
  /** Messages of a response stream. */
  readonly streamSize: number
  /** Of the server, on the loopback. */
  readonly port: number
}

/** What a client process says, and what it is asked, over IPC. */
export type Answer =
  | { readonly _tag: "Ready" }
  | Loaded
  | { readonly _tag: "Profiling" }
  | { readonly _tag: "Profile"; readonly functions: ReadonlyArray<ProfiledFunction> }

export type Question =
  | { readonly _tag: "Load"; readonly millis: number }
  | { readonly _tag: "Profile" }
  | { readonly _tag: "EndProfile" }

/** How many calls, or messages, there were, in which time, and what the process used of CPU for them. */
export interface Loaded {
  readonly _tag: "Loaded"
  readonly count: number
  readonly millis: number
  readonly cpuMicros: number
}

/** Makes calls for about so long, and checks each answer; says how many calls, or messages, there were. */
export type Calls = (millis: number) => Promise<number>

export type Connect = (spec: ClientSpec) => Promise<Calls>
