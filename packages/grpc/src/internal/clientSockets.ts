/**
 * The sockets of a channel.
 *
 * grpc-js closes a connection by ending its half of it, and then waits for the peer: one that is frozen holds the socket for
 * ever. A connection that it is about to make when its channel is closed, now or after a backoff, it makes all the same and
 * keeps. Node tells of each socket that is made (`diagnostics_channel`), and the async context says for which channel: grpc-js
 * is only ever entered in the context of its channel, and left for the program's code.
 */
import * as Effect from "effect/Effect"
import { AsyncLocalStorage } from "node:async_hooks"
import { subscribe } from "node:diagnostics_channel"
import type { Socket } from "node:net"

export interface ClientSockets {
  /** Calls into grpc-js: sockets that it makes from now on, whenever, are of this channel. */
  enter<A>(f: () => A): A
  /** Waits until no socket is open. */
  readonly awaitClosed: Effect.Effect<void>
  /** Destroys what is open, and what is made from now on. */
  destroy(): void
}

const owner = new AsyncLocalStorage<((socket: Socket) => void) | undefined>()

const adopt = (message: unknown): void => owner.getStore()?.((message as { readonly socket: Socket }).socket)

let isSubscribed = false

/** Once and for good: a channel that is closed may make a socket minutes later. */
const subscribeOnce = (): void => {
  if (isSubscribed) return
  isSubscribed = true
  subscribe("net.client.socket", adopt)
}

/** Calls the program's code from a callback of grpc-js: what it connects to is its own. */
export const leave = (f: () => void): void => owner.getStore() === undefined ? f() : owner.run(undefined, f)

export const make = (): ClientSockets => {
  const sockets = new Set<Socket>()
  let waiters: Array<() => void> = []
  let isDestroyed = false
  subscribeOnce()

  const add = (socket: Socket): void => {
    // Node tells before it connects, and a socket that is destroyed by then connects all the same.
    if (isDestroyed) return process.nextTick(() => socket.destroy())
    sockets.add(socket)
    socket.once("close", () => {
      sockets.delete(socket)
      if (sockets.size > 0) return
      const wake = waiters
      waiters = []
      leave(() => wake.forEach((resume) => resume()))
    })
  }

  return {
    enter: (f) => owner.run(add, f),
    awaitClosed: Effect.callback<void>((resume) => {
      if (sockets.size === 0) return resume(Effect.void)
      const wake = () => resume(Effect.void)
      waiters.push(wake)
      return Effect.sync(() => {
        waiters = waiters.filter((waiter) => waiter !== wake)
      })
    }),
    destroy() {
      isDestroyed = true
      for (const socket of sockets) socket.destroy()
    }
  }
}
