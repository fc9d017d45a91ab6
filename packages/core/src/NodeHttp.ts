/**
 * A Node HTTP server under the stop protocol: health and metrics pages, a small API.
 *
 * It needs nothing of the server but its public methods, so it works for any framework on `node:http` and for Effect's
 * `NodeHttpServer`, whose own shutdown then finds nothing left to do (give it `disablePreemptiveShutdown`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import * as GracefulStop from "./GracefulStop.ts"
import * as InFlight from "./InFlight.ts"
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

/**
 * Stops a server gracefully when the scope closes.
 *
 * **Details**
 *
 * The drain closes the listener and what is idle, and serves what is in flight; each response then says
 * `Connection: close`. A request that comes meanwhile on a connection that is kept alive is served too. In a force, what has
 * no response yet gets 503 with `Connection: close`, and what is half sent is reset. Requests are counted by their method.
 *
 * Call it before the server listens, or before it gets requests: those that it did not see are not counted, but the drain
 * waits for their connections.
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
    const open = new Set<ServerResponse>()
    /** Also those that were upgraded, which the server forgets. */
    const sockets = new Set<Socket>()
    let isDraining = false

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
        if (isDraining) server.closeIdleConnections()
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
      sockets.add(socket)
      socket.once("close", () => sockets.delete(socket))
    }
    server.on("connection", onConnection)

    // First, so that a request is admitted before anything answers it.
    server.prependListener("request", onRequest)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => server.off("request", onRequest).off("connection", onConnection))
    )

    return yield* GracefulStop.make({
      name: options.name,
      inFlight,
      drain: Effect.callback((resume) => {
        isDraining = true
        // It closes what is idle. The error of a server that does not listen: then there is nothing to wait for.
        server.close(() => resume(Effect.void))
        for (const response of open) closeAfter(response)
      }),
      destroy() {
        for (const socket of sockets) socket.destroy()
      }
    }, options.stop)
  })

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
