/** The same server in the plain grpc-js style, with two ways to stop: hard, and the two-line recipe. */
import * as grpc from "@grpc/grpc-js"
import { rmSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import * as Database from "./Database.ts"
import * as Definition from "./Definition.ts"
import {
  AdminService,
  type CountIdentitiesRequest,
  type EnrollRequest,
  IdentityService,
  type IssueRequest,
  type ListIdentitiesRequest
} from "./gen/lastcall/demo/v1/identity_pb.ts"
import * as Identity from "./Identity.ts"
import { awaitStart, config, tell } from "./ServerEvent.ts"

const { graceMillis, instance, port, socketPath, stop } = config()

const database = Database.make()
process.on("exit", () =>
  tell({
    event: "ended",
    openAtRelease: database.openAtRelease(),
    usesAfterRelease: database.usesAfterRelease()
  }))

// The services

const failure = (error: unknown): Partial<grpc.StatusObject> => ({
  code: grpc.status.INTERNAL,
  details: error instanceof Error ? error.message : String(error)
})

/** A unary answer from an async function that has a session. */
const answer = <A>(callback: grpc.sendUnaryData<A>, handle: (session: Database.Session) => Promise<A>): void => {
  const session = database.open()
  handle(session)
    .then((response) => callback(null, response), (error: unknown) => callback(failure(error)))
    .finally(() => session.close())
}

const identities = {
  issue(call: grpc.ServerUnaryCall<IssueRequest, object>, callback: grpc.sendUnaryData<object>) {
    answer(callback, async (session) => {
      const { subject, workMillis } = call.request
      await sleep(workMillis)
      return { identity: Identity.name(subject, await session.insert(subject)), instance }
    })
  },

  async listIdentities(call: grpc.ServerWritableStream<ListIdentitiesRequest, object>) {
    const session = database.open()
    try {
      for (let serial = 1; serial <= call.request.count && !call.cancelled; serial++) {
        await sleep(call.request.pauseMillis)
        await session.count()
        call.write({ identity: Identity.name("listed", serial) })
      }
      call.end()
    } catch (error) {
      call.emit("error", failure(error))
    } finally {
      session.close()
    }
  },

  enroll(call: grpc.ServerReadableStream<EnrollRequest, object>, callback: grpc.sendUnaryData<object>) {
    answer(callback, async (session) => {
      let enrolled = 0
      for await (const { subject } of call as AsyncIterable<EnrollRequest>) {
        await session.insert(subject)
        enrolled++
      }
      return { enrolled }
    })
  },

  watchBundle(call: grpc.ServerWritableStream<object, object>) {
    const session = database.open()
    const look = () =>
      session.revision().then(
        (revision) => call.write({ revision, last: false }),
        (error: unknown) => call.emit("error", failure(error))
      )
    const timer = setInterval(look, Identity.watchMillis)
    call.on("cancelled", () => {
      clearInterval(timer)
      session.close()
    })
  }
}

const admin = {
  countIdentities(
    _call: grpc.ServerUnaryCall<CountIdentitiesRequest, object>,
    callback: grpc.sendUnaryData<object>
  ) {
    answer(callback, async (session) => ({ identities: await session.count(), instance }))
  }
}

// The servers

const listen = (server: grpc.Server, address: string): Promise<number> =>
  new Promise((resolve, reject) =>
    server.bindAsync(
      address,
      grpc.ServerCredentials.createInsecure(),
      (error, port) => error === null ? resolve(port) : reject(error)
    )
  )

const publicServer = new grpc.Server()
publicServer.addService(Definition.service(IdentityService), identities)
const adminServer = new grpc.Server()
adminServer.addService(Definition.service(AdminService), admin)

// The stop

const released = (what: string, forced: boolean) => tell({ event: "released", what, forced })

const hard = async (): Promise<void> => {
  publicServer.forceShutdown()
  released("public", true)
  adminServer.forceShutdown()
  released("admin", true)
}

const recipe = async (): Promise<void> => {
  const draining = new Set(["public", "admin"])
  const drained = (server: grpc.Server, what: string): Promise<void> =>
    new Promise((resolve) =>
      server.tryShutdown(() => {
        if (draining.delete(what)) released(what, false)
        resolve()
      })
    )
  await Promise.race([
    Promise.all([drained(publicServer, "public"), drained(adminServer, "admin")]),
    sleep(graceMillis)
  ])
  for (const what of draining) released(what, true)
  draining.clear()
  publicServer.forceShutdown()
  adminServer.forceShutdown()
}

process.once("SIGTERM", async () => {
  await (stop === "hard" ? hard() : recipe())
  await database.release()
  released("database", false)
  process.exit(0)
})

await awaitStart()
rmSync(socketPath, { force: true })
await listen(adminServer, `unix:${socketPath}`)
await listen(publicServer, `127.0.0.1:${port}`)
tell({ event: "listening" })
