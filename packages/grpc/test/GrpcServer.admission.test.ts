/** What comes to a server at the last moment, and what it does not take. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import type * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as MemorySocket from "@lastcall/testing/MemorySocket"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as http2 from "node:http2"
import { vi } from "vitest"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import * as Logs from "./Logs.ts"

/** The status of an RPC, once there is one. */
const open = (session: http2.ClientHttp2Session, method: string): () => string | undefined => {
  let status: string | undefined
  const stream = session.request({
    ":method": "POST",
    ":path": `/lastcall.test.v1.EchoService/${method}`,
    "content-type": "application/grpc",
    te: "trailers"
  })
  const listen = (headers: { readonly [header: string]: unknown }) => {
    status ??= headers["grpc-status"] as string | undefined
  }
  stream.on("response", listen).on("trailers", listen).on("error", () => {}).resume()
  stream.end(EchoClient.emptyMessage)
  return () => status
}

const prefaceBytes = 24

/**
 * Keeps what is written, to write it in one piece. From memory all of it is read before the first handler runs; from TCP the
 * handler of a request would run before the next one is read.
 */
const hold = (socket: MemorySocket.MemorySocket) => {
  const chunks: Array<Buffer> = []
  const write = vi.spyOn(socket, "write").mockImplementation(
    ((chunk: Buffer, written: () => void) => {
      chunks.push(Buffer.from(chunk))
      written()
      return true
    }) as never
  )
  return {
    /** How many requests are whole. */
    ends: () =>
      Http2Frame.parse(Buffer.concat(chunks).subarray(prefaceBytes))
        .filter(({ flags, type }) => type === Http2Frame.types.data && flags === Http2Frame.flags.endStream).length,
    release() {
      write.mockRestore()
      socket.write(Buffer.concat(chunks))
    }
  }
}

describe("an RPC", () => {
  it.live("that comes together with the one whose handler forces the stop is refused, so that it may be retried", () =>
    Effect.gen(function*() {
      let inject: ((connection: GrpcListener.Connection) => void) | undefined
      const listen = GrpcListener.injected("memory", {
        start(to) {
          inject = to
          return () => {}
        }
      })
      let server: GrpcServer.GrpcServer | undefined
      const echo = yield* EchoServer.make({
        chat: () => Stream.fromEffect(Effect.andThen(server!.stop, Effect.never))
      }, { listen, stop: { grace: 0 } })
      server = echo.server
      const [end, socket] = MemorySocket.pair()
      inject!(end)
      const held = hold(socket)
      const session = yield* Effect.acquireRelease(
        Effect.sync(() => http2.connect("http://memory", { createConnection: () => socket })),
        (session) => Effect.sync(() => session.destroy())
      )
      const chat = open(session, "Chat")
      const say = open(session, "Say")
      yield* EchoServer.until("both are written", () => held.ends() === 2)
      held.release()
      yield* EchoServer.until("both are answered", () => chat() !== undefined && say() !== undefined)
      assert.strictEqual(chat(), String(grpc.status.UNAVAILABLE))
      assert.strictEqual(say(), String(grpc.status.UNAVAILABLE))
      assert.deepInclude((yield* echo.close).counts, { admitted: 1, interrupted: 1, refused: 1 })
    }))

  it.live("whose handler dies is logged, with its method", () =>
    Effect.gen(function*() {
      const logs = Logs.make()
      const { target } = yield* Effect.provide(
        EchoServer.make({ say: () => Effect.die("a defect") }),
        logs.layer
      )
      const client = yield* EchoClient.make(target)
      assert.strictEqual((yield* Effect.flip(EchoClient.say(client, "hello"))).code, grpc.status.INTERNAL)
      yield* logs.awaitLine("ERROR api: the handler of /lastcall.test.v1.EchoService/Say died")
    }))
})
