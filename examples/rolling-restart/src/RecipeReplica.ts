/** The same replica on bare grpc-js, with the usual two lines for its stop. */
import {
  create,
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import { setTimeout as sleep } from "node:timers/promises"
import {
  FeedService,
  type GetRequest,
  type ListRequest,
  type PutRequest,
  type TalkRequest
} from "./gen/lastcall/rolling/v1/feed_pb.ts"
import { awaitStart, config, tell } from "./ReplicaEvent.ts"

const { graceMillis, instance, port } = config()

const serialize = <D extends DescMessage>(desc: D) => (value: MessageInitShape<D>): Buffer =>
  Buffer.from(toBinary(desc, create(desc, value)))

const deserialize = <D extends DescMessage>(desc: D) => (bytes: Buffer): MessageShape<D> => fromBinary(desc, bytes)

const definitionOf = (service: DescService): grpc.ServiceDefinition =>
  Object.fromEntries(service.methods.map((method) => [method.localName, {
    path: `/${service.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: serialize(method.input),
    requestDeserialize: deserialize(method.input),
    responseSerialize: serialize(method.output),
    responseDeserialize: deserialize(method.output)
  }]))

const server = new grpc.Server()
server.addService(definitionOf(FeedService), {
  get(call: grpc.ServerUnaryCall<GetRequest, object>, callback: grpc.sendUnaryData<object>) {
    setTimeout(() => callback(null, { instance }), call.request.workMillis)
  },
  async list(call: grpc.ServerWritableStream<ListRequest, object>) {
    for (let n = 1; n <= call.request.count && !call.cancelled; n++) {
      await sleep(call.request.pauseMillis)
      call.write({ n })
    }
    call.end()
  },
  put(call: grpc.ServerReadableStream<PutRequest, object>, callback: grpc.sendUnaryData<object>) {
    let total = 0
    call.on("data", ({ n }: PutRequest) => total += n)
    call.on("end", () => callback(null, { total }))
  },
  talk(call: grpc.ServerDuplexStream<TalkRequest, object>) {
    call.on("data", ({ n }: TalkRequest) => call.write({ n }))
    call.on("end", () => call.end())
  },
  watch(call: grpc.ServerWritableStream<object, object>) {
    const look = () => void call.write({ instance })
    look()
    const timer = setInterval(look, 200)
    call.on("cancelled", () => clearInterval(timer))
  }
})

process.once("SIGTERM", async () => {
  await Promise.race([new Promise((resolve) => server.tryShutdown(resolve)), sleep(graceMillis)])
  server.forceShutdown()
  process.exit(0)
})

await awaitStart()
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
  tell({ event: "listening" })
})
