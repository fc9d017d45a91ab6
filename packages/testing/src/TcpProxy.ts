/**
 * A TCP proxy that delays, for tests of what happens while bytes are on their way.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as CheckedOption from "./internal/checkedOption.ts"
import { type SocketAddress, toConnectOptions } from "./SocketAddress.ts"

/**
 * A proxy that listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface TcpProxy {
  /** Where clients connect, on 127.0.0.1. */
  readonly port: number
  /** How many connections it has accepted so far. */
  readonly accepted: () => number
  /** How many are open now. */
  readonly open: () => number
  /** How many bytes it has delivered so far: to the server, and to clients. */
  readonly delivered: () => { readonly toServer: number; readonly toClients: number }
}

/**
 * The options of a proxy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The server. It may come and go: each connection looks for it anew, and is reset where nobody listens. */
  readonly target: SocketAddress
  /** How long each byte takes in each direction: half of the round trip. Finite, 0 or longer. Default: 0. */
  readonly delay?: Duration.Input | undefined
}

/**
 * The proxy could not listen.
 *
 * @category errors
 * @since 0.1.0
 */
export class TcpProxyError extends Data.TaggedError("TcpProxyError")<{ readonly cause: Error }> {
  override get message(): string {
    return `the proxy cannot listen: ${this.cause.message}`
  }
}

type Part =
  | { readonly _tag: "Bytes"; readonly due: number; readonly bytes: Buffer }
  | { readonly _tag: "End"; readonly due: number }
  | { readonly _tag: "Close"; readonly due: number }

/**
 * Listens on a free port of 127.0.0.1 until the scope closes, and passes on every connection.
 *
 * **Details**
 *
 * Bytes come out in the order in which they went in, each after the delay, by the `Clock`; so does the end of a half of TCP.
 * It buffers without limit. Where one side is reset the other is destroyed, after the delay too. A delay or a target port that
 * makes no sense is a defect: a `TestOptionError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<TcpProxy, TcpProxyError, Scope.Scope> =>
  Effect.gen(function*() {
    const delay = Duration.toMillis(CheckedOption.duration("TcpProxy.make", "delay", options.delay ?? 0, "finite"))
    const target = toConnectOptions(options.target)
    const clock = yield* Clock.Clock
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const sockets = new Set<net.Socket>()
    const delivered = { toServer: 0, toClients: 0 }
    let accepted = 0
    let open = 0

    /** Passes on what comes from one socket to the other; returns the pump. */
    const pass = (from: net.Socket, to: net.Socket, count: keyof typeof delivered): Effect.Effect<void> => {
      const parts = Effect.runSync(Queue.unbounded<Part>())
      const due = () => clock.currentTimeMillisUnsafe() + delay
      from.on("data", (bytes: Buffer) => void Queue.offerUnsafe(parts, { _tag: "Bytes", due: due(), bytes }))
      from.on("end", () => void Queue.offerUnsafe(parts, { _tag: "End", due: due() }))
      from.on("close", () => void Queue.offerUnsafe(parts, { _tag: "Close", due: due() }))
      const next: Effect.Effect<void> = Effect.flatMap(Queue.take(parts), (part) => {
        const left = part.due - clock.currentTimeMillisUnsafe()
        return Effect.andThen(left > 0 ? Effect.sleep(Duration.millis(left)) : Effect.void, deliver(part))
      })
      const deliver = (part: Part): Effect.Effect<void> =>
        Effect.suspend(() => {
          if (part._tag === "Close") {
            to.destroy()
            return Effect.void
          }
          if (part._tag === "End") to.end()
          if (part._tag === "Bytes" && !to.destroyed) {
            to.write(part.bytes)
            delivered[count] += part.bytes.byteLength
          }
          return next
        })
      return next
    }

    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const upstream = net.connect({ ...target, allowHalfOpen: true, noDelay: true })
      accepted++
      open++
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        // what follows is 'close'
        socket.on("error", () => {})
        socket.once("close", () => sockets.delete(socket))
      }
      client.once("close", () => open--)
      // Nobody listens: there is nothing on its way. An error later comes as 'close', after what was said before.
      const refuse = () => client.resetAndDestroy()
      upstream.once("error", refuse)
      upstream.once("connect", () => upstream.off("error", refuse))
      const pump = Effect.all([pass(client, upstream, "toServer"), pass(upstream, client, "toClients")], {
        concurrency: 2,
        discard: true
      })
      const fiber = run(pump)
      // With both gone there is nothing to pass on.
      client.once("close", () => upstream.destroyed && fiber.interruptUnsafe())
    })

    yield* Effect.acquireRelease(
      Effect.callback<void, TcpProxyError>((resume) => {
        server.once("error", (cause) => resume(Effect.fail(new TcpProxyError({ cause }))))
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )

    return {
      port: (server.address() as net.AddressInfo).port,
      accepted: () => accepted,
      open: () => open,
      delivered: () => ({ ...delivered })
    }
  })
