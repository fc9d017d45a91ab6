/**
 * The program around a library that only has servers: on a signal it stops them in their order with the usual recipe, the
 * graceful stop raced against a timer and then the hard one, and then releases the database. It does not call
 * `process.exit`: whether something is left is what a test asks.
 *
 * `node recipe.ts <library> <plan>`
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Address, ServerPlan } from "../Plan.ts"
import * as Control from "./Control.ts"
import * as Database from "./Database.ts"
import * as Handlers from "./Handlers.ts"
import type { Serve, Served } from "./Library.ts"

const { plan, tell } = Control
const { serve } = await import(`./${process.argv[2]!}.ts`) as { readonly serve: Serve }
const pem = (name: string) => readFileSync(join(plan.folder, name))
const credentials = { key: pem("key.pem"), cert: pem("cert.pem"), ca: pem("ca.pem") }
const database = Database.make()
const handlers = Handlers.make(database)

const stopServer = async ({ graceMillis, name }: ServerPlan, served: Served): Promise<void> => {
  const grace = graceMillis ?? plan.graceMillis
  let timer: NodeJS.Timeout | undefined
  const drained = served.stop().then(() => true)
  const isGraceful = grace === "forever" ? await drained : await Promise.race([
    drained,
    new Promise<false>((resolve) => {
      timer = setTimeout(resolve, grace, false)
    })
  ])
  clearTimeout(timer)
  if (!isGraceful) served.force()
  tell({ _tag: "ServerStopped", name })
}

/** A program has more to do than to serve, until it is to stop. */
const work = setInterval(() => {}, 60_000)

const stopAll = async (): Promise<void> => {
  clearInterval(work)
  if (plan.parallel === true) await Promise.all(servers.map(({ plan, served }) => stopServer(plan, served)))
  else {
    for (const [i, { plan: server, served }] of servers.entries()) {
      await stopServer(server, served)
      if (i === 0 && plan.brokenCache === true) throw new Error("the cache is half released")
    }
  }
  database.release()
}

process.once("SIGTERM", stopAll)
process.once("SIGINT", stopAll)

const servers: Array<{ readonly plan: ServerPlan; readonly served: Served }> = []
for (const server of plan.servers.toReversed()) {
  servers.unshift({ plan: server, served: await serve(server, handlers, credentials) })
}
const { served: first } = servers[0]!

Control.listen({
  Stop({ times }) {
    for (let i = 0; i < times; i++) first.stop().then(() => tell({ _tag: "StopReturned" }))
  },
  Force() {
    first.force()
    tell({ _tag: "ForceReturned" })
  },
  StopAll: stopAll,
  async Listen() {
    try {
      tell({ _tag: "ListenSucceeded", at: await first.listen() })
    } catch (error) {
      const { message, name } = error as Error
      tell({ _tag: "ListenFailed", type: name, message })
    }
  },
  async Die() {
    throw new Error("a loop of the program failed")
  }
})

if (plan.stopDuringBind === true) {
  const listening = first.listen()
  await first.stop()
  const at: Address | undefined = await listening.catch(() => undefined)
  tell({ _tag: "BindOver", at })
}
tell({
  _tag: "Listening",
  at: Object.fromEntries(servers.flatMap(({ plan, served }) => served.at === undefined ? [] : [[plan.name, served.at]]))
})
