/** From the options of a channel to those of grpc-js, checked. */
import type * as grpc from "@grpc/grpc-js"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Options, RetryPolicy } from "../GrpcChannel.ts"

export class GrpcChannelOptionError extends Data.TaggedError("GrpcChannelOptionError")<{
  readonly option: string
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `channel option ${this.option} is ${String(this.value)}: ${this.reason}`
  }
}

const fail = (option: string, value: unknown, reason: string): never => {
  throw new GrpcChannelOptionError({ option, value, reason })
}

export const dns = (host: string, port: number): string => {
  if (host === "") return fail("address", host, "the host is empty")
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return fail("address", port, "not a port")
  return `dns:///${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`
}

const socketOf = { ipv4: /^\d+\.\d+\.\d+\.\d+:\d+$/, ipv6: /^\[[0-9a-fA-F:.]+\]:\d+$/ }

export const ip = (family: "ipv4" | "ipv6", sockets: ReadonlyArray<string>): string => {
  for (const socket of sockets) {
    if (!socketOf[family].test(socket)) return fail("address", socket, `not an ${family} address with a port`)
  }
  return `${family}:${sockets.join(",")}`
}

/** What a Node timer can wait for at most. */
const maxTimerMillis = 2 ** 31 - 1

const millis = (option: string, value: Duration.Input): number => {
  const duration = Number.isNaN(value) ? undefined : Option.getOrUndefined(Duration.fromInput(value))
  if (duration === undefined) return fail(option, value, "not a duration")
  const result = Duration.toMillis(duration)
  return result > 0 ? Math.min(result, maxTimerMillis) : fail(option, value, "must be longer than 0")
}

const bytes = (option: string, value: number): number => {
  if (value === Number.POSITIVE_INFINITY) return -1
  return Number.isInteger(value) && value > 0
    ? value
    : fail(option, value, "must be a whole number above 0, or Infinity")
}

const seconds = (option: string, value: Duration.Input): string => `${(millis(option, value) / 1_000).toFixed(9)}s`

const retryPolicy = (retry: RetryPolicy) => {
  if (!Number.isInteger(retry.maxAttempts) || retry.maxAttempts < 2) {
    return fail("retry.maxAttempts", retry.maxAttempts, "must be a whole number of at least 2")
  }
  if (!(retry.backoffMultiplier > 0 && Number.isFinite(retry.backoffMultiplier))) {
    return fail("retry.backoffMultiplier", retry.backoffMultiplier, "must be above 0")
  }
  if (retry.codes.length === 0) return fail("retry.codes", "[]", "no code would be retried")
  return {
    maxAttempts: retry.maxAttempts,
    initialBackoff: seconds("retry.initialBackoff", retry.initialBackoff),
    maxBackoff: seconds("retry.maxBackoff", retry.maxBackoff),
    backoffMultiplier: retry.backoffMultiplier,
    retryableStatusCodes: retry.codes
  }
}

/** Throws {@link GrpcChannelOptionError}. */
export const make = (options: Options): grpc.ChannelOptions => {
  const { credentials, keepalive, maxReceiveBytes, maxSendBytes, retry } = options
  if (options.address === "") fail("address", "\"\"", "it is empty")
  const result: grpc.ChannelOptions = {
    // A connection in the global pool would outlive the scope.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_channelz": 0,
    // What the program says is not replaced by what a DNS server says.
    "grpc.service_config_disable_resolution": 1,
    "grpc.service_config": JSON.stringify({
      loadBalancingConfig: [{ [options.loadBalancing ?? "pick_first"]: {} }],
      methodConfig: retry === undefined ? [] : [{ name: [{}], retryPolicy: retryPolicy(retry) }]
    })
  }
  // grpc-js makes at most 5 attempts unless it is told otherwise.
  if (retry !== undefined) result["grpc-node.retry_max_attempts_limit"] = retry.maxAttempts
  if (keepalive !== undefined) {
    result["grpc.keepalive_time_ms"] = millis("keepalive.time", keepalive.time)
    result["grpc.keepalive_timeout_ms"] = millis("keepalive.timeout", keepalive.timeout ?? "20 seconds")
    result["grpc.keepalive_permit_without_calls"] = keepalive.withoutCalls === true ? 1 : 0
  }
  if (maxReceiveBytes !== undefined) {
    result["grpc.max_receive_message_length"] = bytes("maxReceiveBytes", maxReceiveBytes)
  }
  if (maxSendBytes !== undefined) result["grpc.max_send_message_length"] = bytes("maxSendBytes", maxSendBytes)
  if (credentials?._tag === "Tls" && credentials.serverName !== undefined) {
    result["grpc.ssl_target_name_override"] = credentials.serverName
  }
  return result
}
