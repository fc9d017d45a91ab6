/** A server that Lastcall's client is run against: on some implementation of gRPC. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Endpoint, Transport } from "./Endpoint.ts"
import type { Skipped } from "./InteropClient.ts"

/** PEM files, for both sides. */
export interface Files {
  readonly ca: string
  readonly server: { readonly key: string; readonly cert: string }
  readonly client: { readonly key: string; readonly cert: string }
}

export interface PeerServer {
  readonly name: string
  /** Starts it for each transport that it speaks, with what it takes in a directory that is its own. */
  readonly start: (
    directory: string,
    files: Files
  ) => Effect.Effect<ReadonlyArray<Endpoint>, Skipped, Scope.Scope>
  /** Why it does not speak a transport. */
  readonly cannot?: { readonly [T in Transport]?: string }
}

/** As a client needs to know it. */
export const endpoint = (transport: Transport, port: number, { ca, client }: Files): Endpoint => ({
  transport,
  port,
  ca,
  ...client
})
