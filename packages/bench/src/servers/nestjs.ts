/** NestJS's gRPC transport. Its decorators are functions, called as such: the benchmark is run without a compiler. */
import "reflect-metadata"
import { Controller, Module } from "@nestjs/common"
import { NestFactory } from "@nestjs/core"
import { GrpcMethod, type GrpcOptions, Transport } from "@nestjs/microservices"
import { type AddressInfo, createServer } from "node:net"
import type { Serve } from "../ServerSpec.ts"
import * as Definition from "./Definition.ts"

/** It does not say which port it got. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

class Bench {
  unary(request: unknown): unknown {
    return request
  }
}
Controller()(Bench)
GrpcMethod("BenchService", "unary")(
  Bench.prototype,
  "unary",
  Object.getOwnPropertyDescriptor(Bench.prototype, "unary")!
)

const App: new() => object = function() {} as unknown as new() => object
Module({ controllers: [Bench] })(App)

export const serve: Serve = async () => {
  const port = await freePort()
  const options: GrpcOptions = {
    transport: Transport.GRPC,
    options: {
      url: `127.0.0.1:${port}`,
      package: "lastcall.bench.v1",
      packageDefinition: { "lastcall.bench.v1.BenchService": Definition.make() },
      channelOptions: { "grpc.enable_channelz": 0 } as NonNullable<GrpcOptions["options"]["channelOptions"]>
    }
  }
  const app = await NestFactory.createMicroservice<GrpcOptions>(App, { ...options, logger: false })
  await app.listen()
  return { at: { _tag: "Tcp", port }, stop: () => app.close() }
}
