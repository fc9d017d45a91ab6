/** A service of strings, of all four kinds of RPC. */
import * as GrpcService from "@lastcall/grpc/GrpcService"

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString()
}

export const definition = {
  say: { path: "/demo.Echo/Say", requestStream: false, responseStream: false, ...text },
  spell: { path: "/demo.Echo/Spell", requestStream: false, responseStream: true, ...text },
  join: { path: "/demo.Echo/Join", requestStream: true, responseStream: false, ...text },
  chat: { path: "/demo.Echo/Chat", requestStream: true, responseStream: true, ...text }
} as const

export class Echo extends GrpcService.Service<Echo>()(definition) {}
