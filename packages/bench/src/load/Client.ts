/** The connections of a load to one server. */
import * as net from "node:net"
import type { Duplex } from "node:stream"
import * as tls from "node:tls"
import type { Address, Transport } from "../ServerSpec.ts"
import { Connection } from "./Connection.ts"
import type { Workload } from "./Load.ts"

export interface Client {
  readonly connections: ReadonlyArray<Connection>
  /** Rejects when a connection fails. */
  readonly failure: Promise<never>
  readonly close: () => void
}

const socketTo = (at: Address, transport: Transport): Promise<Duplex> =>
  new Promise((resolve, reject) => {
    const socket = at._tag === "Unix"
      ? net.connect({ path: at.path }, () => resolve(socket))
      : transport === "tls"
      // The certificate was made a moment ago, for this run.
      ? tls.connect({ host: "127.0.0.1", port: at.port, ALPNProtocols: ["h2"], rejectUnauthorized: false }, () =>
        resolve(socket))
      : net.connect({ host: "127.0.0.1", port: at.port, noDelay: true }, () =>
        resolve(socket))
    socket.once("error", reject)
  })

export const connect = async (at: Address, transport: Transport, workload: Workload): Promise<Client> => {
  let reject: (cause: Error) => void = () => {}
  const failure = new Promise<never>((_, onFailure) => {
    reject = onFailure
  })
  // Nobody may be waiting when a connection fails.
  failure.catch(() => {})
  const connections: Array<Connection> = []
  for (let i = 0; i < workload.connections; i++) {
    connections.push(
      new Connection(await socketTo(at, transport), `/lastcall.bench.v1.BenchService/${workload.method}`, reject)
    )
  }
  return {
    connections,
    failure,
    close: () => {
      for (const connection of connections) connection.close()
    }
  }
}
