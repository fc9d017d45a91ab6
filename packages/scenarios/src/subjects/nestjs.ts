/** NestJS's gRPC transport, with `gracefulShutdown`. Its decorators are functions, called as such. */
import "reflect-metadata"
import { Controller, Module } from "@nestjs/common"
import { NestFactory } from "@nestjs/core"
import { GrpcMethod, type GrpcOptions, GrpcStreamMethod, Transport } from "@nestjs/microservices"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { Observable } from "rxjs"
import { ScenarioService } from "../gen/lastcall/scenarios/v1/scenarios_pb.ts"
import type { Address } from "../Plan.ts"
import { definition } from "./Definition.ts"
import { credentialsOf } from "./grpc-js.ts"
import type { Handlers, Request, Response } from "./Handlers.ts"
import type { Serve } from "./Library.ts"

/** It does not say which port it got. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/** Unsubscribing aborts. */
const observable = (run: (signal: AbortSignal) => AsyncIterable<Response>): Observable<Response> =>
  new Observable((subscriber) => {
    const controller = new AbortController()
    const pump = async () => {
      for await (const response of run(controller.signal)) subscriber.next(response)
      subscriber.complete()
    }
    pump().catch((error: unknown) => subscriber.error(error))
    return () => controller.abort()
  })

/** Hears what comes from now on: it is subscribed to at once. */
const iterable = (source: Observable<Request>): AsyncGenerator<Request> => {
  const queue: Array<Request> = []
  let wake = () => {}
  let over: { readonly error?: unknown } | undefined
  const end = (by: { readonly error?: unknown }) => {
    over = by
    wake()
  }
  const subscription = source.subscribe({
    next(request) {
      queue.push(request)
      wake()
    },
    error: (error: unknown) => end({ error }),
    complete: () => end({})
  })
  return (async function*() {
    try {
      for (;;) {
        while (queue.length > 0) yield queue.shift()!
        if (over !== undefined) {
          if ("error" in over) throw over.error
          return
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      subscription.unsubscribe()
    }
  })()
}

const decorate = (target: object, name: string, decorator: MethodDecorator): void => {
  const descriptor = Object.getOwnPropertyDescriptor(target, name)!
  Object.defineProperty(target, name, decorator(target, name, descriptor) ?? descriptor)
}

const makeModule = (handlers: Handlers): new() => object => {
  class Scenarios {
    unary(request: Request): Observable<Response> {
      return observable(async function*(signal) {
        yield await handlers.unary(request, signal)
      })
    }
    serverStream(request: Request): Observable<Response> {
      return observable((signal) => handlers.serverStream(request, signal))
    }
    clientStream(requests: Observable<Request>): Observable<Response> {
      const all = iterable(requests)
      return observable(async function*(signal) {
        yield await handlers.clientStream(all, signal)
      })
    }
    bidi(requests: Observable<Request>): Observable<Response> {
      const all = iterable(requests)
      return observable((signal) => handlers.bidi(all, signal))
    }
  }
  Controller()(Scenarios)
  decorate(Scenarios.prototype, "unary", GrpcMethod("ScenarioService", "unary"))
  decorate(Scenarios.prototype, "serverStream", GrpcMethod("ScenarioService", "serverStream"))
  decorate(Scenarios.prototype, "clientStream", GrpcStreamMethod("ScenarioService", "clientStream"))
  decorate(Scenarios.prototype, "bidi", GrpcStreamMethod("ScenarioService", "bidi"))
  const App: new() => object = function() {} as unknown as new() => object
  Module({ controllers: [Scenarios] })(App)
  return App
}

export const serve: Serve = async (plan, handlers, credentials) => {
  const make = async (at: Address) => {
    const url = "path" in at ? `unix:${at.path}` : `127.0.0.1:${at.port}`
    const options: GrpcOptions = {
      transport: Transport.GRPC,
      options: {
        url,
        package: "lastcall.scenarios.v1",
        packageDefinition: { [ScenarioService.typeName]: definition },
        credentials: credentialsOf(plan.transport ?? "plaintext", credentials),
        gracefulShutdown: true,
        channelOptions: (plan.maxConnectionAgeMillis === undefined
          ? {}
          : { "grpc.max_connection_age_ms": plan.maxConnectionAgeMillis }) as NonNullable<
            GrpcOptions["options"]["channelOptions"]
          >
      }
    }
    return NestFactory.createMicroservice<GrpcOptions>(makeModule(handlers), {
      ...options,
      logger: false,
      abortOnError: false
    })
  }
  const at = plan.listen !== undefined && "path" in plan.listen
    ? plan.listen
    : { port: plan.listen === undefined || plan.listen.port === 0 ? await freePort() : plan.listen.port }
  const app = await make(at)
  const listen = async (): Promise<Address> => {
    await app.listen()
    return at
  }
  return {
    at: plan.listen === undefined ? undefined : await listen(),
    stop: () => app.close(),
    // It has none.
    force: () => {},
    listen
  }
}
