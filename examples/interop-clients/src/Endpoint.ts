/** Where a server is, as a client on this machine needs to know it. */
export type Transport = "plaintext" | "TLS" | "mTLS"

export const transports: ReadonlyArray<Transport> = ["plaintext", "TLS", "mTLS"]

export interface Endpoint {
  readonly transport: Transport
  readonly port: number
  /** PEM files: of the authority that both sides trust, and what a client proves with who it is. */
  readonly ca: string
  readonly key: string
  readonly cert: string
}

/** The name that the server's certificate is for. */
export const host = "localhost"
