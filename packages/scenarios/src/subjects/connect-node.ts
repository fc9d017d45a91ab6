/** connect-node on `node:http2`: its stop is that of the HTTP/2 server, and its shutdown signal for handlers. */
import { connectNodeAdapter } from "@connectrpc/connect-node"
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { ScenarioService } from "../gen/lastcall/scenarios/v1/scenarios_pb.ts"
import type { Address } from "../Plan.ts"
import type { Request } from "./Handlers.ts"
import type { Serve } from "./Library.ts"

export const serve: Serve = async (plan, handlers, { ca, cert, key }) => {
  const shutdown = new AbortController()
  const adapter = connectNodeAdapter({
    shutdownSignal: shutdown.signal,
    routes: (router) =>
      void router.service(ScenarioService, {
        unary: (request, { signal }) => handlers.unary(request, signal),
        serverStream: (request, { signal }) => handlers.serverStream(request, signal),
        clientStream: (requests, { signal }) => handlers.clientStream(requests as AsyncIterable<Request>, signal),
        bidi: (requests, { signal }) => handlers.bidi(requests as AsyncIterable<Request>, signal)
      })
  })
  const transport = plan.transport ?? "plaintext"
  const server = transport === "plaintext"
    ? http2.createServer(adapter)
    : http2.createSecureServer(
      { key, cert, ...(transport === "mtls" ? { ca, requestCert: true, rejectUnauthorized: true } : {}) },
      adapter
    )
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on("session", (session) => {
    sessions.add(session)
    session.once("close", () => sessions.delete(session))
  })
  const listen = (at: Address): Promise<Address> =>
    new Promise((resolve, reject) => {
      server.once("error", reject)
      server.listen("path" in at ? at : { port: at.port, host: "127.0.0.1" }, () => {
        resolve("path" in at ? at : { port: (server.address() as AddressInfo).port })
      })
    })
  return {
    at: plan.listen === undefined ? undefined : await listen(plan.listen),
    stop: () => new Promise((resolve) => server.close(resolve)),
    force() {
      shutdown.abort()
      for (const session of sessions) session.destroy()
    },
    listen: () => listen({ port: 0 })
  }
}
