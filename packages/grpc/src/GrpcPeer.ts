/**
 * Who is at the other end of a connection, as its certificate says.
 *
 * @since 0.1.0
 */
import { X509Certificate } from "node:crypto"
import { alternativeNames } from "./internal/alternativeNames.ts"
import { isTrustDomain, trustDomainOf } from "./internal/spiffeId.ts"

/**
 * The identity of a peer. Its certificate has been verified, its key proven: it means what the authorities of the listener
 * say.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrpcPeer {
  /**
   * Its SPIFFE ID, if the certificate is an X.509-SVID: exactly one URI among its alternative names, which is a valid SPIFFE
   * ID, and it is not the certificate of an authority.
   */
  readonly spiffeId: string | undefined
  /** The distinguished name, an attribute a line: `O=Example\nCN=web`. */
  readonly subject: string
  /** SHA-256 of the certificate, in upper case hexadecimal digits with colons, as openssl prints it. */
  readonly fingerprint: string
  /** The DNS names among its alternative names. */
  readonly dnsNames: ReadonlyArray<string>
  /** The URIs among its alternative names. */
  readonly uris: ReadonlyArray<string>
  /** The certificate itself. */
  readonly certificate: X509Certificate
}

/**
 * The identity that a certificate states; `raw` is its DER or PEM. It does not verify the certificate: give it one that a
 * handshake has verified.
 *
 * **Details**
 *
 * A certificate whose alternative names cannot be read without doubt has none of them, and no SPIFFE ID.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromCertificate = (raw: X509Certificate | Uint8Array | string): GrpcPeer => {
  const certificate = raw instanceof X509Certificate ? raw : new X509Certificate(raw)
  const names = alternativeNames(certificate.subjectAltName ?? "")
  const of = (type: string) => names.flatMap((name) => name.type === type ? [name.value] : [])
  const uris = of("URI")
  const [uri] = uris
  const isSvid = uris.length === 1 && !certificate.ca && trustDomainOf(uri!) !== undefined
  return {
    spiffeId: isSvid ? uri : undefined,
    subject: certificate.subject ?? "",
    fingerprint: certificate.fingerprint256,
    dnsNames: of("DNS"),
    uris,
    certificate
  }
}

/**
 * Lets in the peers that have one of these SPIFFE IDs. Throws if one of them is none: it could never be met.
 *
 * @category policies
 * @since 0.1.0
 */
export const hasSpiffeId = (...ids: readonly [string, ...ReadonlyArray<string>]): (peer: GrpcPeer) => boolean => {
  for (const id of ids) if (trustDomainOf(id) === undefined) throw new TypeError(`${id} is not a SPIFFE ID`)
  const allowed = new Set<string | undefined>(ids)
  return ({ spiffeId }) => allowed.has(spiffeId)
}

/**
 * Lets in the peers whose SPIFFE ID is of one of these trust domains, given by name (`example.org`). Throws if one of them is
 * none.
 *
 * @category policies
 * @since 0.1.0
 */
export const inTrustDomain = (...names: readonly [string, ...ReadonlyArray<string>]): (peer: GrpcPeer) => boolean => {
  for (const name of names) if (!isTrustDomain(name)) throw new TypeError(`${name} is not a trust domain`)
  const allowed = new Set<string | undefined>(names)
  return (peer) => allowed.has(trustDomain(peer))
}

/**
 * The trust domain of its SPIFFE ID: `example.org` of `spiffe://example.org/web`.
 *
 * @category getters
 * @since 0.1.0
 */
export const trustDomain = (peer: GrpcPeer): string | undefined =>
  peer.spiffeId === undefined ? undefined : trustDomainOf(peer.spiffeId)

/**
 * The peer in words, as logs name it: its SPIFFE ID, or else its subject in one line.
 *
 * @category rendering
 * @since 0.1.0
 */
export const describe = (peer: GrpcPeer): string => peer.spiffeId ?? peer.subject.replaceAll("\n", ", ")
