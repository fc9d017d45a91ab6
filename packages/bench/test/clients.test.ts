/** Both clients, of a server that sees what they send. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { trace } from "../src/clients/Messages.ts"
import * as Noise from "../src/Noise.ts"
import { type Run, startClient, tiny } from "../src/Run.ts"
import * as Snapshot from "../src/Snapshot.ts"

describe("clients", () => {
  let run: Run
  let port: number
  let requests: Array<http2.IncomingHttpHeaders> = []
  const server = http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()

  server.on("session", (session) => sessions.add(session))
  server.on("stream", (stream, headers) => {
    requests.push(headers)
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true })
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
    stream.pipe(stream)
  })

  beforeAll(async () => {
    run = { ...tiny, snapshot: Snapshot.make(), candidate: undefined, noise: Noise.make(), log: () => {} }
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    port = (server.address() as AddressInfo).port
  })

  afterAll(async () => {
    run.snapshot.remove()
    for (const session of sessions) session.destroy()
    await new Promise((resolve) => server.close(resolve))
  })

  // A process takes its time to start on a machine that is busy.
  const timeout = 60_000

  for (const library of ["grpc-js", "lastcall"] as const) {
    for (const traceparent of [false, true]) {
      const how = traceparent ? "with a trace context" : "without a trace context"
      it(`${library} says how many calls it made ${how}, and what they cost`, { timeout }, async () => {
        requests = []
        sessions.clear()
        const client = await startClient(run, { library, traceparent }, [], "Unary", port)
        try {
          const { count, cpuMicros, millis } = await client.load(20)
          assert.strictEqual(count, requests.length)
          assert.isAtLeast(count, 32)
          assert.isAbove(cpuMicros, 0)
          assert.isAbove(millis, 0)
          assert.strictEqual(sessions.size, 1)
          assert.deepStrictEqual(
            [...new Set(requests.map((headers) => headers["traceparent"]))],
            [traceparent ? `00-${trace.traceId}-${trace.spanId}-01` : undefined]
          )
        } finally {
          await client.kill()
        }
      })
    }
  }
})
