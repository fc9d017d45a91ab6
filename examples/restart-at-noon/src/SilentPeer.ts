/**
 * A peer that connects and says nothing, a health checker or a frozen client. It does not hang up when the server does:
 * it keeps its connection until it has the next.
 */
import * as net from "node:net"

const pauseMillis = 300

export const connect = (port: number): { readonly close: () => void } => {
  let connected: net.Socket | undefined
  let latest: net.Socket | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false

  const next = (): void => {
    const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
    const again = () => {
      if (closed || socket !== latest) return
      clearTimeout(timer)
      timer = setTimeout(next, pauseMillis)
    }
    latest = socket
    socket
      .on("connect", () => {
        connected?.destroy()
        connected = socket
      })
      .on("error", () => {})
      .on("end", again)
      .on("close", again)
      .resume()
  }
  next()

  return {
    close() {
      closed = true
      clearTimeout(timer)
      connected?.destroy()
      latest?.destroy()
    }
  }
}
