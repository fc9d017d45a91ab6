/** SPIFFE IDs as the SPIFFE-ID specification has them: strict, since one that is read in two ways is a way in. */

const maxBytes = 2048
const maxTrustDomainBytes = 255

const domain = /^[a-z0-9._-]+$/
const segment = /^[A-Za-z0-9._-]+$/

export const isTrustDomain = (name: string): boolean => domain.test(name) && name.length <= maxTrustDomainBytes

/** Its trust domain; `undefined`: it is none. There is no user, port, query, fragment, percent encoding, empty or relative segment in one. */
export const trustDomainOf = (text: string): string | undefined => {
  if (!text.startsWith("spiffe://") || text.length > maxBytes) return undefined
  const [trustDomain, ...segments] = text.slice("spiffe://".length).split("/")
  if (!isTrustDomain(trustDomain!)) return undefined
  for (const part of segments) if (!segment.test(part) || part === "." || part === "..") return undefined
  return trustDomain
}
