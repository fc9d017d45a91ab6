/** Raw `node:http2` with gRPC framed by hand: the limit of what can be done on Node's HTTP/2. */
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import type { Serve } from "../ServerSpec.ts"
import * as Counted from "./Counted.ts"

/** Messages of one write. */
const batch = 64

const responseHeaders = { ":status": 200, "content-type": "application/grpc+proto" }

const frame = (message: Buffer): Buffer => {
  const framed = Buffer.allocUnsafe(message.byteLength + 5)
  framed.writeUInt8(0, 0)
  framed.writeUInt32BE(message.byteLength, 1)
  message.copy(framed, 5)
  return framed
}

/** Calls back with each message of a stream. */
const read = (stream: http2.ServerHttp2Stream, onMessage: (message: Buffer) => void): void => {
  let rest: Buffer | undefined
  stream.on("data", (chunk: Buffer) => {
    let bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk])
    while (bytes.byteLength >= 5) {
      const end = 5 + bytes.readUInt32BE(1)
      if (bytes.byteLength < end) break
      onMessage(bytes.subarray(5, end))
      bytes = bytes.subarray(end)
    }
    rest = bytes.byteLength === 0 ? undefined : bytes
  })
}

const respond = (stream: http2.ServerHttp2Stream): void => {
  stream.respond(responseHeaders, { waitForTrailers: true })
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
}

export const serve: Serve = async ({ codec, handler }) => {
  const { make, read: count, tick } = Counted.identity
  if (codec !== "identity") throw new Error("raw http2 has the identity codec only")

  const unary = (stream: http2.ServerHttp2Stream): void => {
    let request: Buffer
    read(stream, (message) => request = message)
    stream.on("end", () => {
      const answer = (): void => {
        respond(stream)
        stream.end(frame(request))
      }
      if (handler === "sync") answer()
      else if (handler === "async") setImmediate(answer)
    })
  }
  const serverStream = (stream: http2.ServerHttp2Stream): void =>
    read(stream, (message) => {
      let left = count(message)
      const write = (): void => {
        while (left > 0) {
          const frames: Array<Buffer> = []
          for (; left > 0 && frames.length < batch; left--) frames.push(frame(tick))
          if (!stream.write(Buffer.concat(frames))) return void stream.once("drain", write)
        }
        stream.end()
      }
      respond(stream)
      write()
    })
  const clientStream = (stream: http2.ServerHttp2Stream): void => {
    let count = 0
    read(stream, () => count++)
    stream.on("end", () => {
      respond(stream)
      stream.end(frame(make(count)))
    })
  }
  const bidi = (stream: http2.ServerHttp2Stream): void => {
    respond(stream)
    read(stream, (message) => void stream.write(frame(message)))
    stream.on("end", () => stream.end())
  }
  const methods: { readonly [path: string]: (stream: http2.ServerHttp2Stream) => void } = {
    "/lastcall.bench.v1.BenchService/Unary": unary,
    "/lastcall.bench.v1.BenchService/ServerStream": serverStream,
    "/lastcall.bench.v1.BenchService/ClientStream": clientStream,
    "/lastcall.bench.v1.BenchService/Bidi": bidi
  }

  const sessions = new Set<http2.ServerHttp2Session>()
  const server = http2.createServer()
  server.on("session", (session) => {
    sessions.add(session)
    session.once("close", () => sessions.delete(session))
  })
  server.on("stream", (stream, headers) => methods[headers[":path"]!]!(stream))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    at: { _tag: "Tcp", port: (server.address() as AddressInfo).port },
    stop: (interrupt) =>
      new Promise((resolve) => {
        server.close(resolve)
        for (const session of sessions) {
          if (interrupt) session.destroy()
          else session.close()
        }
      })
  }
}
