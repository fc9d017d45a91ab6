import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { existsSync } from "node:fs"
import * as path from "node:path"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import type { Config } from "./HandoverServer.ts"
import * as ServerProcess from "./ServerProcess.ts"
import * as Sockets from "./Sockets.ts"

const clients = 4
/** Each client sends an RPC as often as this, whether or not the ones before are answered. */
const everyMillis = 10
const handovers = 5
const restarts = 4
/** How many RPCs a server answers before the next one comes. */
const answersEach = 100

interface Load {
  readonly sent: () => number
  /** The process ids of the servers that have answered, in the order of their first answers. */
  readonly servers: () => ReadonlyArray<number>
  /** How many RPCs the server with this process id has answered. */
  readonly answeredBy: (pid: number) => number
  readonly failures: ReadonlyArray<string>
  /** Sends no more, and waits for all answers. */
  readonly end: Effect.Effect<void>
}

/** Default grpc-js clients (pick_first, no retry policy), with a connection each. */
const makeLoad = (target: string): Effect.Effect<Load, never, Scope.Scope> =>
  Effect.gen(function*() {
    const failures: Array<string> = []
    const answers = new Map<number, number>()
    const senders: Array<NodeJS.Timeout> = []
    let sent = 0
    let open = 0
    for (let i = 0; i < clients; i++) {
      const client = yield* EchoClient.make(target)
      const send = () => {
        sent++
        open++
        client.say({ text: "" }, { deadline: Date.now() + 10_000 }, (error, response) => {
          open--
          if (error !== null) failures.push(error.message)
          else answers.set(Number(response!.text), (answers.get(Number(response!.text)) ?? 0) + 1)
        })
      }
      const sending = setInterval(send, everyMillis)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(sending)))
      senders.push(sending)
    }
    return {
      sent: () => sent,
      servers: () => [...answers.keys()],
      answeredBy: (pid) => answers.get(pid) ?? 0,
      failures,
      end: Effect.suspend(() => {
        for (const sending of senders) clearInterval(sending)
        return EchoServer.until("every RPC is answered", () => open === 0)
      })
    }
  })

const answers = (load: Load, pid: number) => {
  const enough = load.answeredBy(pid) + answersEach
  return EchoServer.until(`${pid} answers ${answersEach} RPCs`, () => load.answeredBy(pid) >= enough)
}

const stop = (server: ServerProcess.ServerProcess) =>
  Effect.gen(function*() {
    yield* server.terminate
    const line = yield* server.line
    assert.strictEqual(yield* server.exit, 0)
    return line
  })

describe("a handover under load, the successor ready before the predecessor stops", () => {
  const cases: ReadonlyArray<
    readonly [string, Effect.Effect<{ readonly target: string; readonly config: Config }, never, Scope.Scope>]
  > = [
    [
      "over a port that they share (reusePort)",
      Effect.map(Sockets.freePort, (port) => ({
        target: `127.0.0.1:${port}`,
        config: { tcp: { port, host: "127.0.0.1", reusePort: true } }
      }))
    ],
    [
      "over a Unix socket that is renamed (takeover)",
      Effect.map(Sockets.directory, (directory) => {
        const file = path.join(directory, "api.sock")
        return { target: `unix:${file}`, config: { unix: [file, { takeover: true }] } }
      })
    ]
  ]
  for (const [what, place] of cases) {
    it.live(`${what} loses no RPC`, () =>
      Effect.gen(function*() {
        const { config, target } = yield* place
        let predecessor = yield* ServerProcess.make(config)
        const load = yield* makeLoad(target)
        yield* answers(load, predecessor.pid)
        for (let i = 0; i < handovers; i++) {
          const successor = yield* ServerProcess.make(config)
          const line = yield* stop(predecessor)
          assert.deepInclude(line, { outcome: "graceful" })
          assert.isTrue("admitted" in line && line.admitted === line.succeeded)
          yield* answers(load, successor.pid)
          predecessor = successor
        }
        yield* load.end
        console.log(`${what}: ${load.failures.length} of ${load.sent()} RPCs lost in ${handovers} handovers`)
        assert.deepStrictEqual(load.failures, [])
        assert.isAbove(load.sent(), handovers * answersEach)
      }), 60_000)
  }
})

describe("a restart under load, with a gap, on a socket that systemd holds", () => {
  it.live.skipIf(!ServerProcess.hasSocketActivate)(
    "loses no RPC: connections wait for the next process",
    () =>
      Effect.gen(function*() {
        const directory = yield* Sockets.directory
        const file = path.join(directory, "api.sock")
        const command = ServerProcess.command({ systemd: {} }).map((part) => `'${part}'`).join(" ")
        // A supervisor that holds the socket, and starts the next server when one has ended.
        const restart = `while sh -c 'export LISTEN_PID=$$; exec "$@"' - ${command}; do :; done`
        const supervised = yield* ServerProcess.activate({ listen: [file] }, ["sh", "-c", restart])
        const load = yield* makeLoad(`unix:${file}`)
        for (let i = 0; i < restarts; i++) {
          assert.deepStrictEqual(yield* supervised.line, { listening: [`unix:${file}`] })
          yield* EchoServer.until("a server answers", () => load.servers().length === i + 1)
          const pid = load.servers()[i]!
          yield* answers(load, pid)
          process.kill(pid, "SIGTERM")
          const line = yield* supervised.line
          assert.deepInclude(line, { outcome: "graceful" })
          assert.isTrue(existsSync(file))
        }
        yield* load.end
        console.log(`socket activation: ${load.failures.length} of ${load.sent()} RPCs lost in ${restarts} restarts`)
        assert.deepStrictEqual(load.failures, [])
      }),
    60_000
  )
})
