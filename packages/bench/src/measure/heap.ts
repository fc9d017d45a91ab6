/** What an open connection and an open RPC cost in heap. */
import * as Client from "../load/Client.ts"
import { framed } from "../load/Connection.ts"
import { idle } from "../load/Idle.ts"
import * as Load from "../load/Load.ts"
import { type Contender, type Run, start } from "../Run.ts"

export interface Heap {
  readonly bytesPerConnection: number
  readonly bytesPerCall: number
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300))

export const heap = async (run: Run, contender: Contender): Promise<Heap> => {
  const server = await start(run, { ...contender, handler: "never" }, ["--expose-gc"])
  const closes: Array<() => void> = []
  try {
    const port = server.at._tag === "Tcp" ? server.at.port : 0
    // The first of anything is dearer than those that follow.
    const first = await idle(port, 5)
    closes.push(first.close)
    const client = await Client.connect(server.at, "tcp", Load.unary)
    closes.push(client.close)
    const listener = { onData: () => {}, onEnd: () => {} }
    const body = framed(Buffer.from([0x12, 0]))
    for (const connection of client.connections) connection.open(listener, body)
    await settle()
    const empty = await server.heap()
    const connections = await idle(port, run.openCalls)
    closes.push(connections.close)
    await settle()
    const connected = await server.heap()
    for (let i = 0; i < run.openCalls; i++) client.connections[i % client.connections.length]!.open(listener, body)
    await settle()
    const called = await server.heap()
    return {
      bytesPerConnection: (connected - empty) / run.openCalls,
      bytesPerCall: (called - connected) / run.openCalls
    }
  } finally {
    for (const close of closes) close()
    await server.kill()
  }
}
