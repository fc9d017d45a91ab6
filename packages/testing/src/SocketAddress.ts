/**
 * Where a server under test listens.
 *
 * @since 0.1.0
 */
import type * as Net from "node:net"
import * as CheckedOption from "./internal/checkedOption.ts"

/**
 * A port, of 127.0.0.1 if no host is named, or the path of a Unix socket. The addresses of a `GrpcServer` are such.
 *
 * @category models
 * @since 0.1.0
 */
export type SocketAddress =
  | { readonly port: number; readonly host?: string | undefined }
  | { readonly path: string }

/**
 * As Node takes it. Throws `TestOptionError` where the port is none.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toConnectOptions = (address: SocketAddress): Net.NetConnectOpts =>
  "path" in address
    ? { path: address.path }
    : { port: CheckedOption.port("SocketAddress", "port", address.port), host: address.host ?? "127.0.0.1" }
