/**
 * How a listener proves who it is, and whom it lets in; and where keys and certificates come from, those of channels too.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Stream from "effect/Stream"
import { X509Certificate } from "node:crypto"
import { readFile } from "node:fs/promises"
import type { SecureContextOptions } from "node:tls"
import type { GrpcPeer } from "./GrpcPeer.ts"
import * as CheckedDuration from "./internal/checkedDuration.ts"

/**
 * PEM text, or its bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Pem = string | Uint8Array

/**
 * What a server proves with who it is. `cert` may hold a chain, the server's own certificate first.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyPair {
  readonly key: Pem
  readonly cert: Pem
}

/**
 * A {@link KeyPair}, and the authorities whose clients are let in.
 *
 * @category models
 * @since 0.1.0
 */
export interface MutualKeyPair extends KeyPair {
  readonly clientCa: Pem
}

/**
 * Where keys and certificates come from: memory, or a stream of updates.
 *
 * **Details**
 *
 * A listener is bound when the stream has given its first element; if that cannot work, or does not come, the bind fails.
 * Each further element takes the place of the one before without dropping a connection: handshakes that begin from then on
 * use the new one, connections that exist go on. One that cannot work is logged, and the old one stays in use; so it does
 * when the stream ends or fails. The stream is interrupted when its listener is closed and the last connection has gone, at
 * the latest when the server's scope closes. With a channel it is the same: it is made when the first element is there, its
 * connections take the place of handshakes, and the stream is interrupted when the channel has stopped.
 *
 * @category models
 * @since 0.1.0
 */
export type Source<A> = A | Stream.Stream<A, unknown>

/**
 * The credentials of a listener.
 *
 * @category models
 * @since 0.1.0
 */
export type GrpcCredentials = Insecure | Tls

/**
 * Plaintext HTTP/2.
 *
 * @category models
 * @since 0.1.0
 */
export interface Insecure {
  readonly _tag: "Insecure"
}

/**
 * TLS 1.2 or newer with ALPN `h2`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tls {
  readonly _tag: "Tls"
  readonly client: AnyClient | KnownClient
  readonly handshakeTimeout: Duration.Duration
}

/**
 * Any client is let in, and none is asked who it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnyClient {
  readonly _tag: "AnyClient"
  readonly source: Source<KeyPair>
}

/**
 * mTLS: a client without a certificate of an authority in `clientCa`, or which `allow` does not let in, is refused.
 *
 * @category models
 * @since 0.1.0
 */
export interface KnownClient {
  readonly _tag: "KnownClient"
  readonly source: Source<MutualKeyPair>
  readonly allow: ((peer: GrpcPeer) => boolean) | undefined
}

/**
 * Options of every kind of TLS.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long a handshake may take, from the accepted connection on; default 10 seconds. It is measured by a timer of Node's
   * and not by the `Clock`: a `TestClock` does not move it. What is no duration, or not longer than 0, is thrown as a
   * `GrpcCredentialsError` where the credentials are made.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
}

/**
 * Keys or certificates that are not there, or cannot work. It is thrown for an option that makes no sense, which is a mistake in
 * the program.
 *
 * @category errors
 * @since 0.1.0
 */
export class GrpcCredentialsError extends Data.TaggedError("GrpcCredentialsError")<{
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return this.detail
  }
}

/**
 * No encryption and no authentication.
 *
 * @category constructors
 * @since 0.1.0
 */
export const insecure: GrpcCredentials = { _tag: "Insecure" }

const duration = (option: "handshakeTimeout" | "every", value: Duration.Input): Duration.Duration =>
  CheckedDuration.positive(value, (reason) => {
    throw new GrpcCredentialsError({ detail: `${option} is ${Formatter.format(value)}: ${reason}` })
  })

const handshakeTimeout = (options: Options | undefined): Duration.Duration =>
  duration("handshakeTimeout", options?.handshakeTimeout ?? "10 seconds")

/**
 * The server proves who it is.
 *
 * **Example** (From memory, and from files that are replaced)
 *
 * ```ts
 * import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
 *
 * export const fixed = (key: string, cert: string) => GrpcCredentials.tls({ key, cert })
 *
 * export const rotated = GrpcCredentials.tls(
 *   GrpcCredentials.files({ key: "/etc/app/tls.key", cert: "/etc/app/tls.crt" })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const tls = (source: Source<KeyPair>, options?: Options): GrpcCredentials => ({
  _tag: "Tls",
  client: { _tag: "AnyClient", source },
  handshakeTimeout: handshakeTimeout(options)
})

/**
 * Both sides prove who they are: a client needs a certificate of one of the authorities in `clientCa`, and `allow`, if given,
 * must let it in.
 *
 * **Details**
 *
 * `allow` is asked once for each connection, when its handshake has ended and before a byte of HTTP/2 is read. A client that
 * it does not let in, or for which it throws, is disconnected and logged, and sees `UNAVAILABLE`: no method, not even an
 * unknown one, can be reached past it. A connection that was let in stays so. What is to be decided for each RPC, or answered
 * with `PERMISSION_DENIED`, belongs in middleware, which finds the peer in `GrpcCall`.
 *
 * **Example** (Only these SPIFFE IDs)
 *
 * ```ts
 * import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
 * import * as GrpcPeer from "@lastcall/grpc/GrpcPeer"
 *
 * export const credentials = GrpcCredentials.mtls(
 *   GrpcCredentials.files({ key: "/svid/key.pem", cert: "/svid/svid.pem", clientCa: "/svid/bundle.pem" }),
 *   { allow: GrpcPeer.hasSpiffeId("spiffe://example.org/web", "spiffe://example.org/worker") }
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const mtls = (
  source: Source<MutualKeyPair>,
  options?: Options & { readonly allow?: ((peer: GrpcPeer) => boolean) | undefined }
): GrpcCredentials => ({
  _tag: "Tls",
  client: { _tag: "KnownClient", source, allow: options?.allow },
  handshakeTimeout: handshakeTimeout(options)
})

/**
 * Keys and certificates from files: read when the listener is bound or the channel made, and again at each interval (default:
 * a minute). A change of any of them is an update. A listener takes `clientCa`, a channel `ca`.
 *
 * **Details**
 *
 * Fails if they cannot be read at first; later that is logged and tried again. Files that are replaced one after the other
 * may be read when they do not belong together yet: a listener logs that, stays with what it has, and takes what the next
 * reading finds. The interval passes on the `Clock`. `"Infinity"` reads them once. Throws `GrpcCredentialsError` for an interval
 * that is no duration, or not longer than 0.
 *
 * @category sources
 * @since 0.1.0
 */
export const files: {
  (
    options: {
      readonly key: string
      readonly cert: string
      readonly clientCa: string
      readonly every?: Duration.Input | undefined
    }
  ): Stream.Stream<MutualKeyPair, GrpcCredentialsError>
  (
    options: {
      readonly key: string
      readonly cert: string
      readonly ca: string
      readonly every?: Duration.Input | undefined
    }
  ): Stream.Stream<KeyPair & { readonly ca: Pem }, GrpcCredentialsError>
  (
    options: { readonly key: string; readonly cert: string; readonly every?: Duration.Input | undefined }
  ): Stream.Stream<KeyPair, GrpcCredentialsError>
  (
    options: { readonly ca: string; readonly every?: Duration.Input | undefined }
  ): Stream.Stream<{ readonly ca: Pem }, GrpcCredentialsError>
} = (
  options: {
    readonly key?: string
    readonly cert?: string
    readonly clientCa?: string
    readonly ca?: string
    readonly every?: Duration.Input | undefined
  }
): Stream.Stream<AllPems, GrpcCredentialsError> => {
  const { every: interval, ...paths } = options
  const every = duration("every", interval ?? "1 minute")
  const read: Effect.Effect<AllPems, GrpcCredentialsError> = Effect.all(
    Object.fromEntries(Object.entries(paths).map(([name, file]) => [name, readPem(file)])) as {
      readonly [K in keyof AllPems]: ReturnType<typeof readPem>
    }
  )
  const readChanged = (old: AllPems): Effect.Effect<AllPems> =>
    Effect.sleep(every).pipe(
      Effect.andThen(read),
      Effect.catch((error) => Effect.as(Effect.logWarning("the old credentials stay in use", error), old)),
      Effect.flatMap((now) => isSame(now, old) ? readChanged(old) : Effect.succeed(now))
    )
  return Stream.unfold(
    undefined as AllPems | undefined,
    (old) => Effect.map(old === undefined ? read : readChanged(old), (now) => [now, now] as const)
  )
}

/** What files can hold; the overloads say which of it they do. */
interface AllPems extends MutualKeyPair {
  readonly ca: Pem
}

const isSame = (a: AllPems, b: AllPems): boolean =>
  a.key === b.key && a.cert === b.cert && a.clientCa === b.clientCa && a.ca === b.ca

const readPem = (file: string): Effect.Effect<string, GrpcCredentialsError> =>
  Effect.tryPromise({
    try: (signal) => readFile(file, { encoding: "utf8", signal }),
    catch: (cause) => new GrpcCredentialsError({ detail: `${file} cannot be read: ${(cause as Error).message}`, cause })
  })

const text = (pem: Pem): string => Buffer.from(pem).toString("utf8")

const blocks = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]*-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g

/**
 * The certificates of a PEM text. Node leaves out what it cannot read, and takes an empty text for "not given": a server
 * that nobody can reach or, with an empty `clientCa`, one that trusts every public authority.
 */
const certificates = (option: string, pem: Pem): Array<string> => {
  const found = text(pem).match(blocks)
  if (found === null) throw new GrpcCredentialsError({ detail: `${option} holds no PEM certificate` })
  for (const one of found) {
    try {
      void new X509Certificate(one)
    } catch (cause) {
      throw new GrpcCredentialsError({ detail: `${option} holds a certificate that cannot be read`, cause })
    }
  }
  return found
}

/**
 * Throws where they cannot work.
 *
 * @internal
 */
export const secureContextOptions = (keyPair: KeyPair): SecureContextOptions => {
  if (text(keyPair.key).trim() === "") throw new GrpcCredentialsError({ detail: "key is empty" })
  return {
    key: text(keyPair.key),
    cert: certificates("cert", keyPair.cert).join("\n"),
    minVersion: "TLSv1.2"
  }
}

/**
 * Throws where they cannot work.
 *
 * @internal
 */
export const mutualContextOptions = (keyPair: MutualKeyPair): SecureContextOptions => ({
  ...secureContextOptions(keyPair),
  ca: certificates("clientCa", keyPair.clientCa)
})

/**
 * What a client shows and believes. Throws where it cannot work.
 *
 * @internal
 */
export const clientContextOptions = (
  { ca, cert, key }: Partial<KeyPair> & { readonly ca?: Pem | undefined }
): { readonly key?: string; readonly cert?: string; readonly ca?: string } => {
  if (key !== undefined && text(key).trim() === "") throw new GrpcCredentialsError({ detail: "key is empty" })
  return {
    ...(key === undefined ? {} : { key: text(key) }),
    ...(cert === undefined ? {} : { cert: certificates("cert", cert).join("\n") }),
    ...(ca === undefined ? {} : { ca: certificates("ca", ca).join("\n") })
  }
}
