/** Clients of the two services: any grpc-js client in the field, with default settings. */
import type { MessageInitShape } from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import * as Definition from "./Definition.ts"
import { AdminService, IdentityService, type WatchBundleResponse } from "./gen/lastcall/demo/v1/identity_pb.ts"

const { enroll, issue, listIdentities, watchBundle } = IdentityService.method
const issueMethod = Definition.method(issue)
const listMethod = Definition.method(listIdentities)
const enrollMethod = Definition.method(enroll)
const watchMethod = Definition.method(watchBundle)
const countMethod = Definition.method(AdminService.method.countIdentities)

/** No RPC of the load takes nearly as long: one that does was dropped without a word. */
const deadlineMillis = 10_000

const options = (): grpc.CallOptions => ({ deadline: Date.now() + deadlineMillis })

/** Processes of their own have connections of their own; so must clients that share a process. */
const channel = { "grpc.use_local_subchannel_pool": 1 }

const roundRobin = JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] })

const statusName = ({ code }: { readonly code: number }): string => grpc.status[code] ?? String(code)

type OnStatus = (status: string) => void
type OnInstance = (instance: string) => void

export class PublicClient {
  readonly #client: grpc.Client

  constructor(target: string) {
    this.#client = new grpc.Client(target, grpc.credentials.createInsecure(), {
      ...channel,
      "grpc.service_config": roundRobin
    })
  }

  issue(workMillis: number, onInstance: OnInstance, onStatus: OnStatus): void {
    this.#client.makeUnaryRequest(
      issueMethod.path,
      issueMethod.requestSerialize,
      issueMethod.responseDeserialize,
      { subject: "workload", workMillis: Math.round(workMillis) },
      options(),
      (error, response) => {
        if (response !== undefined) onInstance(response.instance)
        onStatus(error === null ? "OK" : statusName(error))
      }
    )
  }

  /** A server stream. One that ends with OK but not with all messages is `INCOMPLETE`. */
  list(count: number, pauseMillis: number, onStatus: OnStatus): void {
    let received = 0
    this.#client.makeServerStreamRequest(
      listMethod.path,
      listMethod.requestSerialize,
      listMethod.responseDeserialize,
      { count, pauseMillis },
      options()
    )
      .on("data", () => received++)
      .on("error", () => {})
      .on(
        "status",
        (status: grpc.StatusObject) =>
          onStatus(status.code === grpc.status.OK && received !== count ? "INCOMPLETE" : statusName(status))
      )
  }

  /** A client stream, with a pause before each message. */
  enroll(count: number, pauseMillis: number, onStatus: OnStatus): void {
    const call = this.#client.makeClientStreamRequest(
      enrollMethod.path,
      enrollMethod.requestSerialize,
      enrollMethod.responseDeserialize,
      options(),
      (error, response) => {
        clearInterval(timer)
        if (error !== null) return onStatus(statusName(error))
        onStatus(response?.enrolled === count ? "OK" : "INCOMPLETE")
      }
    )
    let written = 0
    const timer = setInterval(() => {
      if (written++ < count) return void call.write({ subject: "workload" })
      clearInterval(timer)
      call.end()
    }, pauseMillis)
  }

  watch(): grpc.ClientReadableStream<WatchBundleResponse> {
    return this.#client.makeServerStreamRequest<MessageInitShape<typeof watchBundle.input>, WatchBundleResponse>(
      watchMethod.path,
      watchMethod.requestSerialize,
      watchMethod.responseDeserialize,
      {}
    )
  }

  close(): void {
    this.#client.close()
  }
}

/** A client of one replica's Unix socket. It waits while nobody listens there, so only an RPC that is cut is lost. */
export class AdminClient {
  readonly #client: grpc.Client
  readonly #waiting = new grpc.Metadata({ waitForReady: true })

  constructor(target: string) {
    this.#client = new grpc.Client(target, grpc.credentials.createInsecure(), channel)
  }

  count(onInstance: OnInstance, onStatus: OnStatus): void {
    this.#client.makeUnaryRequest(
      countMethod.path,
      countMethod.requestSerialize,
      countMethod.responseDeserialize,
      {},
      this.#waiting,
      options(),
      (error, response) => {
        if (response !== undefined) onInstance(response.instance)
        onStatus(error === null ? "OK" : statusName(error))
      }
    )
  }

  close(): void {
    this.#client.close()
  }
}
