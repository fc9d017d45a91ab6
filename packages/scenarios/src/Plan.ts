/** What a subject's process is told, as one JSON argument, and what it says and is asked. */
import type { StopEvent } from "@lastcall/core/StopEvent"
import type { ProcessReport, StopReport } from "@lastcall/core/StopReport"

export type Transport = "plaintext" | "tls" | "mtls"

export interface ServerPlan {
  readonly name: string
  /** Port 0 is any; nothing: it does not listen. */
  readonly listen?: { readonly port: number } | { readonly path: string } | undefined
  readonly transport?: Transport | undefined
  /** Default: that of the plan. */
  readonly graceMillis?: number | undefined
  readonly maxConnectionAgeMillis?: number | undefined
  /** Whether it serves `grpc.health.v1` too. */
  readonly health?: boolean | undefined
}

export interface Plan {
  /** The servers, the first to stop first. */
  readonly servers: ReadonlyArray<ServerPlan>
  /** Whether they stop one after the other (the default) or at the same time. */
  readonly parallel?: boolean | undefined
  readonly graceMillis: number | "forever"
  readonly forceMillis: number
  readonly budgetMillis: number
  readonly drainDelayMillis: number
  readonly quietMillis?: number | undefined
  /** `key.pem`, `cert.pem` and `ca.pem`. */
  readonly folder: string
  /** A cache between the first server and the others, whose release throws. */
  readonly brokenCache?: boolean | undefined
  /** Stops the first server in the moment in which it begins to bind. */
  readonly stopDuringBind?: boolean | undefined
  /** Spans are exported when the exporter is released. */
  readonly telemetry?: boolean | undefined
}

export type Address =
  | { readonly port: number }
  | { readonly path: string }

/** A line that the tester writes. */
export type Command =
  /** Lets handlers through this gate. */
  | { readonly _tag: "Open"; readonly gate: string }
  /** Calls the stop of the first server so often, at the same time. */
  | { readonly _tag: "Stop"; readonly times: number }
  /** Forces the first server. */
  | { readonly _tag: "Force" }
  /** Stops the whole process, as a signal would, without one. */
  | { readonly _tag: "StopAll" }
  /** Has the first server listen at one more port. */
  | { readonly _tag: "Listen" }
  /** A loop of the program fails. */
  | { readonly _tag: "Die" }
  /** Asks for what keeps the process alive. */
  | { readonly _tag: "Resources" }

/** A line that the process says. */
export type Said =
  | { readonly _tag: "Listening"; readonly at: { readonly [server: string]: Address } }
  | {
    readonly _tag: "Handler"
    readonly id: string
    readonly step: "started" | "told" | "ended" | "interrupted" | "failed"
  }
  | { readonly _tag: "ServerStopped"; readonly name: string }
  /** The database was released while so many handlers used it. */
  | { readonly _tag: "Released"; readonly openSessions: number }
  /** Said when the process exits. */
  | { readonly _tag: "UsedAfterRelease"; readonly times: number }
  | { readonly _tag: "StopReturned"; readonly report?: StopReport }
  | { readonly _tag: "ForceReturned" }
  | { readonly _tag: "ListenSucceeded"; readonly at: Address }
  | { readonly _tag: "ListenFailed"; readonly type: string; readonly message: string }
  | { readonly _tag: "BindOver"; readonly at: Address | undefined }
  | { readonly _tag: "Resources"; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "StopEvent"; readonly event: StopEvent }
  | { readonly _tag: "Report"; readonly report: ProcessReport }
  | { readonly _tag: "Exported"; readonly spans: ReadonlyArray<string> }
