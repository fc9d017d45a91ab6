/**
 * The load: an open loop of RPCs over several clients with the default settings of grpc-js. It runs until its standard
 * input ends, waits for what it has sent, and exits.
 */
import * as Schema from "effect/Schema"
import { writeSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { AdminClient, PublicClient } from "./Client.ts"
import { LoadConfig, type LoadEvent, longMillis } from "./LoadEvent.ts"
import * as SilentPeer from "./SilentPeer.ts"
import * as Tally from "./Tally.ts"
import * as Watch from "./Watch.ts"

const config = Schema.decodeUnknownSync(Schema.fromJsonString(LoadConfig))(process.argv[2])

let tally = Tally.empty
let watchesEnded = 0
const heard = new Map<string, Set<unknown>>()

/** Counts an RPC from now; the function that it returns counts its end. */
const count = (method: string): (status: string) => void => {
  tally = Tally.sent(tally)
  return (status) => {
    tally = Tally.settled(tally, method, status)
  }
}

const hear = (client: unknown, instance: string): void => {
  const clients = heard.get(instance) ?? new Set()
  heard.set(instance, clients.add(client))
}

const target = `ipv4:${config.ports.map((port) => `127.0.0.1:${port}`).join(",")}`
const clients = Array.from({ length: config.clients }, () => new PublicClient(target))
const admins = config.socketPaths.map((path) => new AdminClient(`unix:${path}`))

const next = () => clients[Math.floor(Math.random() * clients.length)]!

const issue = (method: string, workMillis: () => number) => () => {
  const client = next()
  client.issue(workMillis(), (instance) => hear(client, instance), count(method))
}

/** What is sent, and how often per second. */
const everyday = config.load === "everyday"
const sources: ReadonlyArray<{ readonly perSecond: number; readonly send: () => void }> = [
  { perSecond: 150, send: issue("Issue", () => Math.random() * 50) },
  { perSecond: 10, send: () => next().enroll(5, 40, count("Enroll")) },
  {
    perSecond: 10,
    send: () => admins.forEach((admin) => admin.count((instance) => hear(admin, instance), count("CountIdentities")))
  },
  ...(everyday
    ? [
      { perSecond: 8, send: issue("long Issue", () => longMillis) },
      { perSecond: 12, send: () => next().list(20, 40, count("ListIdentities")) }
    ]
    : [])
]

/** An overloaded machine must not build up a queue. */
const maxOutstanding = 1_000
const startedAt = performance.now()
const due = sources.map(() => 0)
const ticker = setInterval(() => {
  const seconds = (performance.now() - startedAt) / 1_000
  for (const [i, { perSecond, send }] of sources.entries()) {
    for (; due[i]! < seconds * perSecond; due[i]!++) {
      if (Tally.outstanding(tally) < maxOutstanding) send()
    }
  }
}, 5)

const watch = everyday ? Watch.open(clients[0]!, () => count("WatchBundle"), () => watchesEnded++) : undefined
const peers = everyday ? config.ports.map(SilentPeer.connect) : []

const report = (): void => {
  const event: LoadEvent = {
    tally,
    heard: Object.fromEntries(Array.from(heard, ([instance, clients]) => [instance, clients.size])),
    watchesEnded
  }
  writeSync(1, `${JSON.stringify(event)}\n`)
}
const reporter = setInterval(report, 100)

process.stdin.resume().on("close", async () => {
  clearInterval(ticker)
  watch?.close()
  while (Tally.outstanding(tally) > 0) await sleep(20)
  clearInterval(reporter)
  for (const peer of peers) peer.close()
  for (const client of [...clients, ...admins]) client.close()
  report()
  process.exit(0)
})
