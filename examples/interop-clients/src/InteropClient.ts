/** A client that can run the cases: a program in some language, on some implementation of gRPC. */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Endpoint, Transport } from "./Endpoint.ts"
import type { CaseName } from "./InteropCases.ts"

/** The server did not pass a case, as the client says. */
export class CaseFailed extends Data.TaggedError("CaseFailed")<{ readonly message: string }> {}

/** It cannot run on this machine. */
export class Skipped extends Data.TaggedError("Skipped")<{ readonly message: string }> {}

export interface InteropClient {
  readonly name: string
  /** What it takes to have it, in a directory that is its own. */
  readonly prepare: (directory: string) => Effect.Effect<Prepared, Skipped>
}

export interface Prepared {
  readonly run: (name: CaseName, server: Endpoint) => Effect.Effect<void, CaseFailed>
  /** Why it does not speak a transport. */
  readonly cannot?: { readonly [T in Transport]?: string }
}
