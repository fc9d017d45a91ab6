/** A grpc-js channel whose connections are in memory. */
import * as grpc from "@grpc/grpc-js"
import * as http2 from "node:http2"
import type { MemorySocket } from "../MemorySocket.ts"
import { MemoryCall } from "./memoryCall.ts"

/** Where it connects to. */
export interface Peer {
  readonly name: string
  /** The client's end of a new connection; `undefined` while nobody listens. */
  readonly connect: () => MemorySocket | undefined
  /** Calls back once when somebody listens. */
  readonly onListening: (callback: () => void) => void
}

export interface MemoryChannel extends grpc.ChannelInterface {
  /** Destroys its connections. */
  readonly destroy: () => void
}

const { CONNECTING, IDLE, READY, SHUTDOWN } = grpc.connectivityState

export const make = (peer: Peer): MemoryChannel => {
  const sessions = new Set<http2.ClientHttp2Session>()
  /** The one for new RPCs: without a GOAWAY. */
  let current: http2.ClientHttp2Session | undefined
  let isClosed = false
  let calls = 0
  let watchers: Array<() => void> = []

  const changed = (): void => {
    const wake = watchers
    watchers = []
    for (const watcher of wake) watcher()
  }

  const open = (): http2.ClientHttp2Session | undefined => {
    if (current !== undefined) return current
    const socket = peer.connect()
    if (socket === undefined) return undefined
    const session = http2.connect("http://memory", { createConnection: () => socket })
    sessions.add(session)
    current = session
    const leave = () => {
      if (current === session) current = undefined
      changed()
    }
    session.on("connect", changed)
    session.on("goaway", leave)
    session.on("error", () => {})
    session.on("close", () => {
      sessions.delete(session)
      leave()
    })
    changed()
    return session
  }

  const connect = (
    waitForReady: boolean,
    callback: (session: http2.ClientHttp2Session | string) => void
  ): void => {
    if (isClosed) return callback("the channel is closed")
    const session = open()
    if (session !== undefined) return callback(session)
    if (!waitForReady) return callback(`nobody listens at ${peer.name}`)
    peer.onListening(() => connect(waitForReady, callback))
  }

  return {
    close() {
      if (isClosed) return
      isClosed = true
      for (const session of sessions) session.close()
      current = undefined
      changed()
    },
    destroy() {
      for (const session of sessions) session.destroy()
    },
    getTarget: () => peer.name,
    getConnectivityState(tryToConnect) {
      if (isClosed) return SHUTDOWN
      if (tryToConnect && open() === undefined) peer.onListening(() => void (isClosed || open()))
      if (current === undefined) return IDLE
      return current.connecting ? CONNECTING : READY
    },
    watchConnectivityState(state, _deadline, callback) {
      const look = (): void => {
        if (channelState() === state) watchers.push(look)
        else callback()
      }
      const channelState = () =>
        isClosed ? SHUTDOWN : current === undefined ? IDLE : current.connecting ? CONNECTING : READY
      look()
    },
    getChannelzRef: () => {
      throw new Error("a channel in memory is not seen by channelz")
    },
    createCall: (path, deadline, host) =>
      new MemoryCall({
        path,
        authority: host ?? peer.name,
        deadline: typeof deadline === "number" ? deadline : deadline.getTime(),
        number: ++calls,
        connect
      })
  }
}
