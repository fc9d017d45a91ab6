/**
 * How a listener proves who it is, and whom it lets in.
 *
 * @since 0.1.0
 */
import { X509Certificate } from "node:crypto"
import type { SecureContextOptions, TlsOptions } from "node:tls"

/**
 * PEM text, or its bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Pem = string | Uint8Array

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
 * TLS 1.2 or newer with ALPN `h2`. With `clientCa` it is mTLS: a client without a certificate of that authority fails its
 * handshake.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tls {
  readonly _tag: "Tls"
  readonly key: Pem
  readonly cert: Pem
  readonly clientCa: Pem | undefined
}

/**
 * No encryption and no authentication.
 *
 * @category constructors
 * @since 0.1.0
 */
export const insecure: GrpcCredentials = { _tag: "Insecure" }

/**
 * The server proves who it is. `cert` may hold a chain, the server's own certificate first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tls = (options: { readonly key: Pem; readonly cert: Pem }): GrpcCredentials => ({
  _tag: "Tls",
  key: options.key,
  cert: options.cert,
  clientCa: undefined
})

/**
 * Both sides prove who they are: a client needs a certificate of one of the authorities in `clientCa`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const mtls = (
  options: { readonly key: Pem; readonly cert: Pem; readonly clientCa: Pem }
): GrpcCredentials => ({ _tag: "Tls", key: options.key, cert: options.cert, clientCa: options.clientCa })

const text = (pem: Pem): string => typeof pem === "string" ? pem : Buffer.from(pem).toString("utf8")

const blocks = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]*-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g

/**
 * The certificates of a PEM text. Node leaves out what it cannot read, and takes an empty text for "not given": a server
 * that nobody can reach or, with an empty `clientCa`, one that trusts every public authority.
 */
const certificates = (option: string, pem: Pem): Array<string> => {
  const found = text(pem).match(blocks)
  if (found === null) throw new TypeError(`${option} holds no PEM certificate`)
  for (const one of found) {
    try {
      void new X509Certificate(one)
    } catch (cause) {
      throw new TypeError(`${option} holds a certificate that cannot be read`, { cause })
    }
  }
  return found
}

/**
 * Throws where the credentials cannot work.
 *
 * @internal
 */
export const toTlsOptions = (credentials: Tls): TlsOptions & SecureContextOptions => {
  if (text(credentials.key).trim() === "") throw new TypeError("key is empty")
  return {
    key: text(credentials.key),
    cert: certificates("cert", credentials.cert).join("\n"),
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.2",
    ...(credentials.clientCa === undefined
      ? {}
      : { ca: certificates("clientCa", credentials.clientCa), requestCert: true, rejectUnauthorized: true })
  }
}
