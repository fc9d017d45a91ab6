/**
 * A Node HTTP server under the stop protocol: health and metrics pages, a small API.
 *
 * It needs nothing of the server but its public methods, so it works for any framework on `node:http` and for Effect's
 * `NodeHttpServer`, whose own shutdown then finds nothing left to do (give it `disablePreemptiveShutdown`).
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import * as GracefulStop from "./GracefulStop.ts"
import * as InFlight from "./InFlight.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import type * as StopPolicy from "./StopPolicy.ts"

/**
 * The options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The name in logs and in the report. */
  readonly name: string
  /** How long the steps of its stop may take. */
  readonly stop?: StopPolicy.Options | undefined
}

/** How long a connection may take to send a request, from its begin or the drain's. */
const lateMillis = 1_000

/**
 * Stops a server gracefully when the scope closes.
 *
 * **Details**
 *
 * The drain closes the listener and what is idle, and serves what is in flight; each response then says
 * `Connection: close`. A request that comes meanwhile on a connection that is kept alive is served too. In a force, what has
 * no response yet gets 503 with `Connection: close`, and what is half sent is reset. Requests are counted by their method.
 *
 * Node takes a connection that has sent nothing yet for one in use, and gives a request that never becomes whole no end once
 * the server closes. The drain does not wait long for them. A spare connection that has been silent for a second is closed at
 * once, a newer one a second after the drain has begun. So is one whose request is not whole by then or whose TLS handshake
 * is not over, as soon as nothing is in flight.
 *
 * Call it before the server listens, or before it gets requests: those that it did not see are not counted, and the drain
 * waits for them no longer than for those that are not whole. A server that listens for `checkContinue` or
 * `checkExpectation` may have such requests at any time, so the drain waits for all its connections that are not silent.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  server: Server,
  options: Options
): Effect.Effect<GracefulStop.GracefulStop, never, Scope.Scope> =>
  Effect.gen(function*() {
    const inFlight = yield* InFlight.make
    const clock = yield* Clock.Clock
    const now = () => monotonicMillis(clock)
    const isTls = "setSecureContext" in server
    const open = new Set<ServerResponse>()
    /**
     * When each came, in milliseconds. Also those that were upgraded, which the server forgets. Under TLS the secured socket
     * lies on top of one that was accepted, and is here too.
     */
    const sockets = new Map<Socket, number>()
    let isDraining = false
    let isLate = false

    const closeAfter = (response: ServerResponse): void => {
      if (!response.headersSent) response.setHeader("Connection", "close")
    }

    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      const entry = inFlight.kind(request.method!).admit()
      if (isDraining) closeAfter(response)
      if (entry === undefined) return unavailable(response)
      open.add(response)
      response.once("close", () => {
        open.delete(response)
        entry.end(response.writableFinished ? "succeeded" : entry.isInterrupted ? "interrupted" : "failed")
        // A response whose headers had gone out before the drain leaves a connection that is kept alive.
        if (isDraining) afterReading(closeRest)
      })
      entry.onInterrupt(() => {
        if (response.headersSent) response.destroy()
        else {
          entry.end("interrupted")
          unavailable(response)
        }
      })
    }

    const onConnection = (socket: Socket): void => {
      sockets.set(socket, now())
      socket.once("close", () => sockets.delete(socket))
    }
    server.on("connection", onConnection).on("secureConnection", onConnection)

    // First, so that a request is admitted before anything answers it.
    server.prependListener("request", onRequest)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() =>
        server.off("request", onRequest).off("connection", onConnection).off("secureConnection", onConnection)
      )
    )

    /** Closes what has been silent for too long: the spare connection of a browser or a load balancer. */
    const closeSilent = (): void => {
      for (const [socket, since] of sockets) {
        if (socket.bytesRead === 0 && (isLate || now() - since >= lateMillis)) socket.destroy()
      }
    }

    const mayHaveUnseen = (): boolean =>
      server.listenerCount("checkContinue") + server.listenerCount("checkExpectation") > 0

    /** Closes what has no request, and in the end also what has no whole one. */
    const closeRest = (): void => {
      if (!isLate || open.size > 0 || mayHaveUnseen()) return server.closeIdleConnections()
      // Those that were upgraded stay: they are no connections of the server any more.
      server.closeAllConnections()
      if (isTls && Array.from(sockets.keys()).every((socket) => socket.destroyed || !("encrypted" in socket))) {
        for (const socket of sockets.keys()) socket.destroy()
      }
    }

    return yield* GracefulStop.make({
      name: options.name,
      inFlight,
      drain: Effect.raceFirst(
        Effect.callback<void>((resume) => {
          isDraining = true
          // It closes what is idle. The error of a server that does not listen: then there is nothing to wait for.
          server.close(() => resume(Effect.void))
          for (const response of open) closeAfter(response)
          afterReading(closeSilent)
        }),
        Effect.flatMap(Effect.sleep(Duration.millis(lateMillis)), () => {
          afterReading(() => {
            isLate = true
            closeSilent()
            closeRest()
          })
          return Effect.never
        })
      ),
      destroy() {
        for (const socket of sockets.keys()) socket.destroy()
      }
    }, options.stop)
  })

/**
 * Calls when what the clients had sent by now has been read: after a blocked turn it is still in the kernel. Two turns of
 * the event loop, because the first may have been half over when it began.
 */
const afterReading = (f: () => void): void => void setImmediate(() => setImmediate(f))

const unavailable = (response: ServerResponse): void => {
  if (response.headersSent) return
  response.writeHead(503, { "Connection": "close", "Content-Type": "text/plain" })
  response.end("the server is shutting down\n")
  // The handler does not know, and must not throw for it: what it says from now on goes nowhere.
  const deaf = () => response
  Object.assign(response, {
    appendHeader: deaf,
    end: deaf,
    flushHeaders: deaf,
    removeHeader: deaf,
    setHeader: deaf,
    write: () => true,
    writeHead: deaf
  })
}
