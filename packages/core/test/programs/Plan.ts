/** What the program does; it takes it as JSON, as its only argument. */
export interface Plan {
  /** The resources and what they do when they stop, the first to stop first. */
  readonly resources: { readonly [name: string]: Behaviour }
  /** The options of `launch`, in milliseconds. */
  readonly options?: {
    readonly budget?: number
    readonly reserve?: number
    readonly drainDelay?: number
    readonly grace?: number
    readonly forceTimeout?: number
  }
  readonly gap?: number
  /** Which signals count; `false`: without `NodeSignals`. Default: its own. */
  readonly signals?: ReadonlyArray<NodeJS.Signals> | false
  /** Whether `runMain` has the teardown of `Lifecycle`. Default: true. */
  readonly teardown?: boolean
  /** What it does when it is ready, besides waiting. */
  readonly whenReady?: "asks for the stop" | "fails" | "fails with code 42"
}

export type Behaviour =
  /** Its drain ends after a moment. */
  | "drains"
  /** Its drain never ends, but when interrupted it does. */
  | "hangs"
  /** Neither its drain nor its interruption ends. */
  | "is deaf"
  /** It has a finalizer that dies. */
  | "has a finalizer that dies"
  /** Building it never ends. */
  | "never ready"
  | "fails to build"
  | "fails to build with code 42"
