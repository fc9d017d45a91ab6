/**
 * grpc-js's channel, and what it lacks: of the options of a method it does not heed `waitForReady` and the limits of messages,
 * and call credentials are neither interruptible nor possible on a plaintext connection that the program trusts.
 */
import * as grpc from "@grpc/grpc-js"
import type { MethodOptions, Options } from "../GrpcChannel.ts"
import * as CallCredentials from "./clientCallCredentials.ts"
import { type Call, override } from "./clientGrpcCall.ts"
import * as Check from "./clientOption.ts"
import { optionsOf } from "./clientServiceConfig.ts"

/** What is done to the RPCs of a method; `undefined` is nothing. */
interface Policy {
  readonly waitForReady: boolean | undefined
  readonly maxSendBytes: number
  readonly maxReceiveBytes: number
}

/** Throws `GrpcChannelOptionError`. */
export const make = (
  address: string,
  credentials: grpc.ChannelCredentials,
  grpcOptions: grpc.ChannelOptions,
  options: Options,
  authenticate: CallCredentials.Authenticate | undefined
): grpc.ChannelInterface => {
  const policies = new Map<MethodOptions, Policy>(
    Object.entries(options.methods ?? {}).flatMap(([name, method]) => {
      const policy = policyOf(name, method)
      return policy === undefined ? [] : [[method, policy]]
    })
  )
  const channel = new grpc.Channel(address, credentials, grpcOptions)
  if (policies.size === 0 && authenticate === undefined) return channel
  const createCall: grpc.ChannelInterface["createCall"] = (path, ...rest) => {
    const call = channel.createCall(path, ...rest)
    const method = policies.size === 0 ? undefined : optionsOf(options.methods, path)
    const policy = method === undefined ? undefined : policies.get(method)
    const limited = policy === undefined ? call : limit(call, policy)
    return authenticate === undefined ? limited : CallCredentials.attach(limited, path, authenticate)
  }
  return {
    close: () => channel.close(),
    getTarget: () => channel.getTarget(),
    getConnectivityState: (tryToConnect) => channel.getConnectivityState(tryToConnect),
    watchConnectivityState: (current, deadline, callback) =>
      channel.watchConnectivityState(current, deadline, callback),
    getChannelzRef: () => channel.getChannelzRef(),
    createCall
  }
}

const policyOf = (name: string, method: MethodOptions): Policy | undefined => {
  const { maxReceiveBytes, maxSendBytes, waitForReady } = method
  if (waitForReady === undefined && maxSendBytes === undefined && maxReceiveBytes === undefined) return undefined
  const bytes = (option: "maxSendBytes" | "maxReceiveBytes") => {
    const value = method[option]
    if (value === undefined) return Number.POSITIVE_INFINITY
    const limit = Check.bytes(`methods[${JSON.stringify(name)}].${option}`, value)
    return limit === -1 ? Number.POSITIVE_INFINITY : limit
  }
  return { waitForReady, maxSendBytes: bytes("maxSendBytes"), maxReceiveBytes: bytes("maxReceiveBytes") }
}

const limit = (call: Call, { maxReceiveBytes, maxSendBytes, waitForReady }: Policy): Call => {
  const exceeded = (what: string, size: number, most: number) =>
    call.cancelWithStatus(grpc.status.RESOURCE_EXHAUSTED, `the ${what} has ${size} bytes, of at most ${most}`)
  return override(call, {
    start(metadata, listener) {
      if (waitForReady !== undefined && metadata.getOptions().waitForReady === undefined) {
        metadata.setOptions({ ...metadata.getOptions(), waitForReady })
      }
      call.start(metadata, {
        onReceiveMetadata: (headers) => listener.onReceiveMetadata(headers),
        onReceiveMessage(message: Buffer) {
          if (message !== null && message.length > maxReceiveBytes) {
            return exceeded("response", message.length, maxReceiveBytes)
          }
          listener.onReceiveMessage(message)
        },
        onReceiveStatus: (status) => listener.onReceiveStatus(status)
      })
    },
    sendMessageWithContext(context, message) {
      if (message.length > maxSendBytes) return exceeded("request", message.length, maxSendBytes)
      call.sendMessageWithContext(context, message)
    }
  })
}
