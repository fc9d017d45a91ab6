/** What a server of the benchmark is told, as one JSON argument of its process. */
import type { ProfiledFunction } from "./Profile.ts"

export type Library =
  | "lastcall"
  | "grpc-js"
  | "http2"
  | "nice-grpc"
  | "nestjs"
  | "connect-node"
  | "protobuf-ts"

/** Messages as they are on the wire, or protobuf-es. */
export type Codec = "identity" | "protobuf-es"

/** Answers at once, in the next turn of the event loop, or never. */
export type Handler = "sync" | "async" | "never"

export type Transport = "tcp" | "tls" | "unix"

export type Middleware = "tracing" | "metrics"

export interface ServerSpec {
  readonly library: Library
  readonly codec: Codec
  readonly handler: Handler
  readonly transport: Transport
  /** Of Lastcall. */
  readonly middleware: ReadonlyArray<Middleware>
  /** Of bare grpc-js; all others have it off. */
  readonly channelz: boolean
  /** Of bare grpc-js: Lastcall's modules and Effect's are in the process too, and do nothing. */
  readonly loadsLastcall: boolean
  /** A folder for socket files, and for `key.pem` and `cert.pem`. */
  readonly folder: string
}

/** What a server process says and is asked, over IPC. */
export type Answer =
  | { readonly _tag: "Listening"; readonly at: Address; readonly millis: number; readonly cpuMicros: number }
  | { readonly _tag: "Sample"; readonly cpuMicros: number }
  | { readonly _tag: "Heap"; readonly bytes: number }
  | { readonly _tag: "Stopped"; readonly millis: number }
  | { readonly _tag: "Profiling" }
  | { readonly _tag: "Profile"; readonly functions: ReadonlyArray<ProfiledFunction> }

export type Question = "sample" | "heap" | "stop" | "interrupt" | "profile" | "endProfile"

export type Address =
  | { readonly _tag: "Tcp"; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

/** A server that listens, in its own process. */
export interface Served {
  readonly at: Address
  /** Gracefully, or by interrupting what is in flight. */
  readonly stop: (interrupt: boolean) => Promise<unknown>
}

export type Serve = (spec: ServerSpec) => Promise<Served>
