/** A client that watches the trust bundle for ever: when its watch ends, it opens the next. */
import { type ClientReadableStream, status, type StatusObject } from "@grpc/grpc-js"
import type { PublicClient } from "./Client.ts"
import type { WatchBundleResponse } from "./gen/lastcall/demo/v1/identity_pb.ts"

const pauseAfterErrorMillis = 100

/**
 * `count` hears of each watch; `onLast` of each that its server ended with a last message. A watch that ends with OK has
 * lost nothing, and neither has one that we close.
 */
export const open = (
  client: PublicClient,
  count: () => (status: string) => void,
  onLast: () => void
): { readonly close: () => void } => {
  let call: ClientReadableStream<WatchBundleResponse>
  let closed = false
  let timer: NodeJS.Timeout | undefined

  const next = (): void => {
    const settle = count()
    call = client.watch()
    call
      .on("data", ({ last }: WatchBundleResponse) => last && onLast())
      .on("error", () => {})
      .on("status", ({ code }: StatusObject) => {
        settle(closed ? "OK" : status[code] ?? String(code))
        if (!closed) timer = setTimeout(next, code === status.OK ? 0 : pauseAfterErrorMillis)
      })
  }
  next()

  return {
    close() {
      closed = true
      clearTimeout(timer)
      call.cancel()
    }
  }
}
