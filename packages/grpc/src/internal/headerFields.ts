/**
 * Which headers and trailers Node's http2 sends. It throws for others when they go out: for trailers in an event of its own,
 * where nothing can catch it, and for a request so that grpc-js gives up the connection.
 */
import type { Metadata } from "@grpc/grpc-js"

/** What HTTP/2 forbids or gRPC says by itself: of one hop, and never passed on to another. */
export const reserved: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-message",
  "grpc-previous-rpc-attempts",
  "grpc-status",
  "grpc-timeout",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "user-agent"
])

/** What has one value in HTTP, as Node's http2 has it; a test asks Node. */
export const onlyOnce: ReadonlySet<string> = new Set([
  "access-control-allow-credentials",
  "access-control-max-age",
  "access-control-request-method",
  "age",
  "authorization",
  "content-encoding",
  "content-language",
  "content-location",
  "content-md5",
  "content-range",
  "date",
  "dnt",
  "etag",
  "expires",
  "from",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "proxy-authorization",
  "range",
  "referer",
  "retry-after",
  "tk",
  "upgrade-insecure-requests",
  "x-content-type-options"
])

/** What a header may be named. grpc-js takes a colon as well, for which Node throws. */
export const legalName = /^[0-9a-z_.-]+$/

/** Whether a key, in lower case, can go out. */
export const isSendable = (name: string): boolean => legalName.test(name) && !reserved.has(name)

/** The metadata as it can be sent: without what is reserved, and of what there is only once the last. */
export const sendable = (metadata: Metadata): Metadata => {
  let fit: Metadata | undefined
  for (const [key, value] of Object.entries(metadata.toHttp2Headers())) {
    if (!isSendable(key)) {
      fit ??= metadata.clone()
      fit.remove(key)
    } else if (Array.isArray(value) && onlyOnce.has(key)) {
      fit ??= metadata.clone()
      fit.set(key, value.at(-1)!)
    }
  }
  return fit ?? metadata
}
