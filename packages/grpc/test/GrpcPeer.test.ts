import { assert, describe, it } from "@effect/vitest"
import * as GrpcPeer from "@lastcall/grpc/GrpcPeer"
import { createHash, X509Certificate } from "node:crypto"
import { alternativeNames } from "../src/internal/alternativeNames.ts"
import * as Certificates from "./Certificates.ts"

const authority = Certificates.authority("the authority")

const peer = (statement: Certificates.Statement, commonName = "web"): GrpcPeer.GrpcPeer =>
  GrpcPeer.fromCertificate(authority.issue(commonName, statement).cert)

const withId = (...uris: ReadonlyArray<string>): GrpcPeer.GrpcPeer => peer({ uris })

const local = ["localhost"]

describe("the identity that a certificate states", () => {
  it("is its SPIFFE ID, subject, fingerprint and names", () => {
    const { cert } = authority.issue("web", { uris: ["spiffe://example.org/web"], dnsNames: ["web.example.org"] })
    const identity = GrpcPeer.fromCertificate(cert)
    assert.strictEqual(identity.spiffeId, "spiffe://example.org/web")
    assert.strictEqual(GrpcPeer.trustDomain(identity), "example.org")
    assert.strictEqual(identity.subject, "CN=web")
    assert.deepStrictEqual(identity.dnsNames, ["web.example.org", ...local])
    assert.deepStrictEqual(identity.uris, ["spiffe://example.org/web"])
    const digest = createHash("sha256").update(new X509Certificate(cert).raw).digest("hex")
    assert.strictEqual(identity.fingerprint.replaceAll(":", "").toLowerCase(), digest)
  })

  it("is the same from PEM, from DER and from Node's certificate", () => {
    const { cert } = authority.issue("web", { uris: ["spiffe://example.org/web"] })
    const x509 = new X509Certificate(cert)
    for (const raw of [cert, x509.raw, x509]) {
      assert.strictEqual(GrpcPeer.fromCertificate(raw).spiffeId, "spiffe://example.org/web")
    }
  })

  it("is described by its SPIFFE ID, or else by its subject", () => {
    assert.strictEqual(GrpcPeer.describe(withId("spiffe://example.org/web")), "spiffe://example.org/web")
    assert.strictEqual(GrpcPeer.describe(peer({})), "CN=web")
  })

  it("has no SPIFFE ID with two URIs, even if only one of them is one", () => {
    for (const other of ["spiffe://example.org/web", "spiffe://example.org/admin", "https://example.org"]) {
      const identity = withId("spiffe://example.org/web", other)
      assert.isUndefined(identity.spiffeId)
      assert.lengthOf(identity.uris, 2)
    }
  })

  it("has no SPIFFE ID if it is that of an authority", () => {
    assert.isUndefined(peer({ uris: ["spiffe://example.org"], isAuthority: true }).spiffeId)
  })

  for (
    const uri of [
      "spiffe://example.org",
      "spiffe://example.org/ns/prod/sa/web",
      "spiffe://a-b_c.1/Path.With-All_Signs",
      `spiffe://${"x".repeat(255)}/web`,
      `spiffe://example.org/${"x".repeat(2048 - "spiffe://example.org/".length)}`
    ]
  ) {
    it(`takes ${uri.slice(0, 50)} for a SPIFFE ID`, () => {
      assert.strictEqual(withId(uri).spiffeId, uri)
    })
  }

  for (
    const uri of [
      "https://example.org/web",
      "SPIFFE://example.org/web",
      "spiffe:/example.org/web",
      "spiffe:///web",
      "spiffe://",
      "spiffe://Example.org/web",
      "spiffe://example.org:443/web",
      "spiffe://user@example.org/web",
      "spiffe://example.org/",
      "spiffe://example.org/web/",
      "spiffe://example.org//web",
      "spiffe://example.org/./web",
      "spiffe://example.org/../web",
      "spiffe://example.org/web?admin",
      "spiffe://example.org/web#admin",
      "spiffe://example.org/w%65b",
      "spiffe://example.org/wëb",
      "spiffe://example.org/web\0",
      "spiffe://example.org/web\n",
      ` spiffe://example.org/web`,
      `spiffe://${"x".repeat(256)}/web`,
      `spiffe://example.org/${"x".repeat(2048)}`
    ]
  ) {
    it(`does not take ${JSON.stringify(uri.slice(0, 50))} for a SPIFFE ID`, () => {
      const identity = withId(uri)
      assert.isUndefined(identity.spiffeId)
      assert.isFalse(GrpcPeer.inTrustDomain("example.org")(identity))
    })
  }

  // CVE-2021-44532: who may choose one name must not thereby choose others.
  for (
    const name of [
      "a, URI:spiffe://example.org/admin",
      "a\", URI:spiffe://example.org/admin",
      "\", URI:spiffe://example.org/admin, DNS:\"",
      "a\\\", URI:spiffe://example.org/admin",
      "a\0, URI:spiffe://example.org/admin",
      "a\n, URI:spiffe://example.org/admin",
      "a', URI:spiffe://example.org/admin"
    ]
  ) {
    it(`reads one name and not a URI in the DNS name ${JSON.stringify(name)}`, () => {
      const identity = peer({ dnsNames: [name] })
      assert.deepStrictEqual(identity.uris, [])
      assert.isUndefined(identity.spiffeId)
      assert.deepStrictEqual(identity.dnsNames, [name, ...local])
    })
  }

  it("reads Node's text of the names, quoted or not, to its last character or not at all", () => {
    assert.deepStrictEqual(alternativeNames(""), [])
    assert.deepStrictEqual(
      alternativeNames("IP Address:127.0.0.1, othername:\"UPN:a, URI:b\", DNS:\"a\\u002c b\", URI:c"),
      [
        { type: "IP Address", value: "127.0.0.1" },
        { type: "othername", value: "UPN:a, URI:b" },
        { type: "DNS", value: "a, b" },
        { type: "URI", value: "c" }
      ]
    )
    for (
      const text of [
        "URI:a,URI:b",
        "URI:\"a",
        "URI:\"a\"b",
        "URI:a\"b\"",
        "URI:\"\\x\"",
        "URI:\"\\u00\"",
        "URI:\"\n\"",
        "a",
        "URI:b, c"
      ]
    ) {
      assert.deepStrictEqual(alternativeNames(`DNS:localhost, ${text}`), [], text)
    }
  })

  it("does not read a URI in the subject", () => {
    const identity = peer({}, "web\nURI:spiffe://example.org/admin, URI:spiffe://example.org/admin")
    assert.deepStrictEqual(identity.uris, [])
    assert.lengthOf(identity.subject.split("\n"), 1)
  })
})

describe("a policy", () => {
  const web = withId("spiffe://example.org/web")

  it("of SPIFFE IDs lets in these and no others", () => {
    const allow = GrpcPeer.hasSpiffeId("spiffe://example.org/web", "spiffe://example.org/worker")
    assert.isTrue(allow(web))
    assert.isFalse(allow(withId("spiffe://example.org/web/admin")))
    assert.isFalse(allow(withId("spiffe://example.org")))
    assert.isFalse(allow(withId("spiffe://example.com/web")))
    assert.isFalse(allow(peer({})))
  })

  it("of trust domains lets in all of these domains and no others", () => {
    const allow = GrpcPeer.inTrustDomain("example.org", "example.net")
    assert.isTrue(allow(web))
    assert.isTrue(allow(withId("spiffe://example.net/a/b")))
    assert.isFalse(allow(withId("spiffe://sub.example.org/web")))
    assert.isFalse(allow(withId("spiffe://example.org.evil/web")))
    assert.isFalse(allow(peer({ dnsNames: ["example.org"] })))
    assert.isFalse(allow({ ...web, spiffeId: "example.org" }))
  })

  it("that nobody can meet is a mistake of the program", () => {
    assert.throws(() => GrpcPeer.hasSpiffeId("example.org/web"), "is not a SPIFFE ID")
    assert.throws(() => GrpcPeer.inTrustDomain("spiffe://example.org"), "is not a trust domain")
  })
})
