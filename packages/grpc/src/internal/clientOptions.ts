/** From the options of a channel to those of grpc-js, checked. */
import * as grpc from "@grpc/grpc-js"
import type { Options } from "../GrpcChannel.ts"
import * as ClientAddress from "./clientAddress.ts"
import * as Check from "./clientOption.ts"
import * as ServiceConfig from "./clientServiceConfig.ts"

/** grpc-js looks no more often whether a channel is idle. */
const minIdleMillis = 1_000

/** Throws `GrpcChannelOptionError`. */
export const make = (options: Options): grpc.ChannelOptions => {
  const { compression, credentials, keepalive, maxReceiveBytes, maxSendBytes, reconnect, retryBuffer } = options
  const config = ServiceConfig.make(options)
  const result: grpc.ChannelOptions = {
    // A connection in the global pool would outlive the scope.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_channelz": 0,
    // What the program says is not replaced by what a DNS server says.
    "grpc.service_config_disable_resolution": 1,
    "grpc.service_config": config.json
  }
  if (config.maxAttempts !== undefined) result["grpc-node.retry_max_attempts_limit"] = config.maxAttempts
  if (retryBuffer?.perRpcBytes !== undefined) {
    result["grpc.per_rpc_retry_buffer_size"] = Check.integer("retryBuffer.perRpcBytes", retryBuffer.perRpcBytes, 0)
  }
  if (retryBuffer?.totalBytes !== undefined) {
    result["grpc.retry_buffer_size"] = Check.integer("retryBuffer.totalBytes", retryBuffer.totalBytes, 0)
  }
  if (keepalive !== undefined) {
    result["grpc.keepalive_time_ms"] = Check.millis("keepalive.time", keepalive.time)
    result["grpc.keepalive_timeout_ms"] = Check.millis("keepalive.timeout", keepalive.timeout ?? "20 seconds")
    result["grpc.keepalive_permit_without_calls"] = keepalive.withoutCalls === true ? 1 : 0
  }
  if (reconnect !== undefined) {
    const initial = Check.millis("reconnect.initialBackoff", reconnect.initialBackoff ?? "1 second")
    const max = Check.millis("reconnect.maxBackoff", reconnect.maxBackoff ?? "2 minutes")
    if (initial > max) Check.fail("reconnect.initialBackoff", reconnect.initialBackoff, "longer than maxBackoff")
    result["grpc.initial_reconnect_backoff_ms"] = initial
    result["grpc.max_reconnect_backoff_ms"] = max
  }
  if (options.dnsMinInterval !== undefined) {
    result["grpc.dns_min_time_between_resolutions_ms"] = Check.millis("dnsMinInterval", options.dnsMinInterval)
  }
  if (options.idleTimeout !== undefined) {
    result["grpc.client_idle_timeout_ms"] = Check.millis("idleTimeout", options.idleTimeout, minIdleMillis)
  }
  if (maxReceiveBytes !== undefined) {
    result["grpc.max_receive_message_length"] = Check.bytes("maxReceiveBytes", maxReceiveBytes)
  }
  if (maxSendBytes !== undefined) result["grpc.max_send_message_length"] = Check.bytes("maxSendBytes", maxSendBytes)
  if (options.receiveWindowBytes !== undefined) {
    result["grpc-node.flow_control_window"] = Check.integer(
      "receiveWindowBytes",
      options.receiveWindowBytes,
      65_535,
      2 ** 31 - 1
    )
  }
  if (compression !== undefined) {
    if (compression !== "gzip" && compression !== "deflate") Check.fail("compression", compression, "gzip or deflate")
    result["grpc.default_compression_algorithm"] = grpc.compressionAlgorithms[compression]
  }
  if (options.userAgent !== undefined) {
    result["grpc.primary_user_agent"] = Check.headerText("userAgent", options.userAgent)
  }
  if (options.authority !== undefined) {
    result["grpc.default_authority"] = Check.headerText("authority", options.authority)
  }
  if (options.httpProxy === false) result["grpc.enable_http_proxy"] = 0
  if (credentials !== undefined && credentials._tag !== "Insecure" && credentials.serverName !== undefined) {
    result["grpc.ssl_target_name_override"] = credentials.serverName
  }
  ClientAddress.check(options.address, result)
  return result
}
