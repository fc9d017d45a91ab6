/** Leaks on purpose, one per round: the soak has to find them. */
import * as Effect from "effect/Effect"
import { type AddressInfo, connect, createServer } from "node:net"
import * as Sample from "./Sample.ts"

export const kinds = ["socket", "timer", "memory", "fiber", "listener"] as const

export type Kind = typeof kinds[number]

const kept: Array<unknown> = []

const leakedBytes = 2_000_000

export const leak: { readonly [K in Kind]: () => Promise<void> } = {
  socket: () =>
    new Promise((resolve) => {
      const server = createServer((socket) => {
        kept.push(socket)
        server.close()
        resolve()
      }).listen(0, "127.0.0.1", () => kept.push(connect((server.address() as AddressInfo).port, "127.0.0.1")))
    }),
  timer: async () => void setTimeout(() => {}, 3_600_000),
  memory: async () => void kept.push(Array.from({ length: leakedBytes / 8 }, (_, i) => i + 0.5)),
  fiber: () => Effect.runPromise(Sample.watched(Effect.asVoid(Effect.forkDetach(Effect.callback<never>(() => {}))))),
  listener: async () => void process.on("SIGUSR2", () => {})
}
