/** How long a stop takes, with connections that are idle and with RPCs that never end. */
import * as http2 from "node:http2"
import { idle } from "../load/Idle.ts"
import { type Contender, type Flags, type Run, start } from "../Run.ts"
import type { Address } from "../ServerSpec.ts"

const port = (at: Address): number => at._tag === "Tcp" ? at.port : 0

/** A graceful stop with idle connections; in milliseconds. */
export const stopIdle = async (run: Run, { flags }: Flags, contender: Contender): Promise<number> => {
  const server = await start(run, contender, flags)
  const connections = await idle(port(server.at), run.idleConnections)
  try {
    return await server.stop()
  } finally {
    connections.close()
    await server.kill()
  }
}

export interface Interrupted {
  readonly millis: number
  /** How many of the calls got UNAVAILABLE. */
  readonly unavailable: number
}

const perSession = 100

/** A stop that interrupts calls that never end. */
export const stopInFlight = async (run: Run, { flags }: Flags, contender: Contender): Promise<Interrupted> => {
  const server = await start(run, { ...contender, handler: "never" }, flags)
  const sessions: Array<http2.ClientHttp2Session> = []
  let unavailable = 0
  const ended: Array<Promise<void>> = []
  const body = Buffer.from([0, 0, 0, 0, 2, 0x12, 0])
  try {
    for (let open = 0; open < run.openCalls; open += perSession) {
      const session = http2.connect(`http://127.0.0.1:${port(server.at)}`).on("error", () => {})
      sessions.push(session)
      for (let i = open; i < Math.min(open + perSession, run.openCalls); i++) {
        const stream = session.request({
          ":method": "POST",
          ":path": "/lastcall.bench.v1.BenchService/Unary",
          "content-type": "application/grpc",
          te: "trailers"
        })
        const heed = (headers: http2.IncomingHttpHeaders): void => {
          if (headers["grpc-status"] === "14") unavailable++
        }
        stream.on("response", heed).on("trailers", heed).on("error", () => {}).resume()
        ended.push(new Promise((resolve) => stream.once("close", resolve)))
        stream.end(body)
      }
      await ping(session)
    }
    // What a ping has overtaken in the server is with its handler after a moment.
    await new Promise((resolve) => setTimeout(resolve, 200))
    const millis = await server.stop("interrupt")
    await Promise.all(ended)
    return { millis, unavailable }
  } finally {
    for (const session of sessions) session.destroy()
    await server.kill()
  }
}

const ping = (session: http2.ClientHttp2Session): Promise<void> =>
  new Promise((resolve, reject) => {
    const send = (): void => void session.ping((error) => error === null ? resolve() : reject(error))
    if (session.connecting) session.once("connect", send)
    else send()
  })
