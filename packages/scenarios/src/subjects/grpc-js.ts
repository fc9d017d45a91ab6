/** Bare grpc-js, with handlers that are async functions. */
import * as grpc from "@grpc/grpc-js"
import type { Address } from "../Plan.ts"
import { definition } from "./Definition.ts"
import type { Request, Response } from "./Handlers.ts"
import type { Serve } from "./Library.ts"

interface Cancellable {
  on(event: "cancelled", listener: () => void): unknown
}

/** `cancelled` is said also after every normal end; then nobody listens any more. */
const signalOf = (call: Cancellable): AbortSignal => {
  const controller = new AbortController()
  call.on("cancelled", () => controller.abort())
  return controller.signal
}

export const credentialsOf = (
  transport: "plaintext" | "tls" | "mtls",
  { ca, cert, key }: { readonly key: Buffer; readonly cert: Buffer; readonly ca: Buffer }
): grpc.ServerCredentials =>
  transport === "plaintext"
    ? grpc.ServerCredentials.createInsecure()
    : grpc.ServerCredentials.createSsl(
      transport === "mtls" ? ca : null,
      [{ private_key: key, cert_chain: cert }],
      transport === "mtls"
    )

/** What a handler does whose RPC is over is nobody's business any more; all else is an error of the program. */
const unlessOver = (signal: AbortSignal) => (error: unknown): void => {
  if (!signal.aborted) throw error
}

export const serve: Serve = async (plan, handlers, credentials) => {
  const server = new grpc.Server(
    plan.maxConnectionAgeMillis === undefined ? {} : { "grpc.max_connection_age_ms": plan.maxConnectionAgeMillis }
  )

  const write = async (
    call: grpc.ServerWritableStream<Request, Response> | grpc.ServerDuplexStream<Request, Response>,
    responses: AsyncGenerator<Response>,
    signal: AbortSignal
  ): Promise<void> => {
    try {
      for await (const response of responses) {
        if (!call.write(response)) {
          await new Promise<void>((resolve) => {
            call.once("drain", resolve)
            signal.addEventListener("abort", () => resolve(), { once: true })
          })
        }
      }
      call.end()
    } catch (error) {
      unlessOver(signal)(error)
    }
  }

  server.addService(definition, {
    async unary(call: grpc.ServerUnaryCall<Request, Response>, answer: grpc.sendUnaryData<Response>) {
      const signal = signalOf(call)
      try {
        answer(null, await handlers.unary(call.request, signal))
      } catch (error) {
        unlessOver(signal)(error)
      }
    },
    serverStream(call: grpc.ServerWritableStream<Request, Response>) {
      const signal = signalOf(call)
      return write(call, handlers.serverStream(call.request, signal), signal)
    },
    async clientStream(call: grpc.ServerReadableStream<Request, Response>, answer: grpc.sendUnaryData<Response>) {
      const signal = signalOf(call)
      try {
        answer(null, await handlers.clientStream(call, signal))
      } catch (error) {
        unlessOver(signal)(error)
      }
    },
    bidi(call: grpc.ServerDuplexStream<Request, Response>) {
      const signal = signalOf(call)
      return write(call, handlers.bidi(call, signal), signal)
    }
  })

  const bind = async (target: string): Promise<number> =>
    new Promise((resolve, reject) =>
      server.bindAsync(
        target,
        credentialsOf(plan.transport ?? "plaintext", credentials),
        (error, port) => error === null ? resolve(port) : reject(error)
      )
    )
  const listen = async (at: Address): Promise<Address> => {
    if ("path" in at) {
      await bind(`unix:${at.path}`)
      return at
    }
    return { port: await bind(`127.0.0.1:${at.port}`) }
  }

  return {
    at: plan.listen === undefined ? undefined : await listen(plan.listen),
    stop: () => new Promise((resolve) => server.tryShutdown(resolve)),
    force: () => server.forceShutdown(),
    listen: () => listen({ port: 0 })
  }
}
