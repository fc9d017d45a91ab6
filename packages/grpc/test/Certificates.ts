/** Certificates for tests: elliptic curve keys, valid for a day. Just enough DER to need no library and no binary. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto"

const tlv = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(parts)
  // The shortest form of the length: Node takes any, Go and BoringSSL do not.
  const length = body.length < 0x80
    ? [body.length]
    : body.length < 0x100
    ? [0x81, body.length]
    : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>): Buffer => tlv(0x30, ...parts)
const octets = (body: Uint8Array): Buffer => tlv(0x04, body)
const bits = (body: Uint8Array): Buffer => tlv(0x03, Buffer.from([0]), body)
const yes = tlv(0x01, Buffer.from([0xff]))

const oid = (text: string): Buffer => {
  const [first, second, ...rest] = text.split(".").map(Number)
  const bytes = [first! * 40 + second!]
  for (const part of rest) {
    const septets = [part & 0x7f]
    for (let n = part >> 7; n > 0; n >>= 7) septets.unshift((n & 0x7f) | 0x80)
    bytes.push(...septets)
  }
  return tlv(0x06, Buffer.from(bytes))
}

const time = (millis: number): Buffer =>
  tlv(0x18, Buffer.from(new Date(millis).toISOString().replace(/[-:T]|\.\d+/g, "")))

const name = (commonName: string): Buffer =>
  sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, Buffer.from(commonName)))))

const algorithm = sequence(oid("1.2.840.10045.4.3.2")) // ecdsa-with-SHA256

const isAuthority = sequence(oid("2.5.29.19"), yes, octets(sequence(yes)))
const authorityExtensions = sequence(isAuthority)

/** What a certificate says besides its common name. */
export interface Statement {
  readonly uris?: ReadonlyArray<string>
  readonly dnsNames?: ReadonlyArray<string>
  readonly isAuthority?: boolean
}

/** The alternative names, with those of this machine, as clients of a test may call it. */
const extensions = (statement: Statement): Buffer =>
  sequence(
    sequence(
      oid("2.5.29.17"),
      octets(sequence(
        ...(statement.uris ?? []).map((uri) => tlv(0x86, Buffer.from(uri))),
        ...(statement.dnsNames ?? []).map((name) => tlv(0x82, Buffer.from(name))),
        tlv(0x82, Buffer.from("localhost")),
        tlv(0x87, Buffer.from([127, 0, 0, 1])),
        tlv(0x87, Buffer.from([...Array<number>(15).fill(0), 1]))
      ))
    ),
    ...(statement.isAuthority === true ? [isAuthority] : [])
  )

interface Issuer {
  readonly commonName: string
  readonly key: KeyObject
}

const pem = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${
    Buffer.from(der).toString("base64").replace(/(.{64})(?!$)/g, "$1\n")
  }\n-----END ${label}-----\n`

const certify = (subject: string, extensions: Buffer, issuer?: Issuer) => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const by = issuer ?? { commonName: subject, key: privateKey }
  const now = Date.now()
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))), // X.509 version 3
    tlv(0x02, Buffer.from([1, ...randomBytes(8)])),
    algorithm,
    name(by.commonName),
    sequence(time(now - 3_600_000), time(now + 86_400_000)),
    name(subject),
    publicKey.export({ type: "spki", format: "der" }),
    tlv(0xa3, extensions)
  )
  return {
    privateKey,
    cert: pem("CERTIFICATE", sequence(body, algorithm, bits(sign("sha256", body, by.key)))),
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string
  }
}

/** A key and its certificate, both as PEM. */
export interface Identity {
  readonly key: string
  readonly cert: string
}

export interface Authority {
  readonly cert: string
  /** A new key, and a certificate for it that is good for this machine. */
  readonly issue: (commonName: string, statement?: Statement) => Identity
}

/** A new authority. */
export const authority = (commonName: string): Authority => {
  const { cert, privateKey } = certify(commonName, authorityExtensions)
  return {
    cert,
    issue: (subject, statement = {}) => {
      const identity = certify(subject, extensions(statement), { commonName, key: privateKey })
      return { key: identity.key, cert: identity.cert }
    }
  }
}
