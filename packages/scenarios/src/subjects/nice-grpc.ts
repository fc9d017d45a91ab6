/** nice-grpc. */
import { createServer } from "nice-grpc"
import type { Address } from "../Plan.ts"
import { definition } from "./Definition.ts"
import { credentialsOf } from "./grpc-js.ts"
import type { Request } from "./Handlers.ts"
import type { Serve } from "./Library.ts"

export const serve: Serve = async (plan, handlers, credentials) => {
  const server = createServer(
    plan.maxConnectionAgeMillis === undefined ? {} : { "grpc.max_connection_age_ms": plan.maxConnectionAgeMillis }
  )
  server.add(definition, {
    unary: (request: Request, { signal }) => handlers.unary(request, signal),
    serverStream: (request: Request, { signal }) => handlers.serverStream(request, signal),
    clientStream: (requests: AsyncIterable<Request>, { signal }) => handlers.clientStream(requests, signal),
    bidi: (requests: AsyncIterable<Request>, { signal }) => handlers.bidi(requests, signal)
  })
  const listen = async (at: Address): Promise<Address> => {
    const target = "path" in at ? `unix:${at.path}` : `127.0.0.1:${at.port}`
    const port = await server.listen(target, credentialsOf(plan.transport ?? "plaintext", credentials))
    return "path" in at ? at : { port }
  }
  return {
    at: plan.listen === undefined ? undefined : await listen(plan.listen),
    stop: () => server.shutdown(),
    force: () => server.forceShutdown(),
    listen: () => listen({ port: 0 })
  }
}
