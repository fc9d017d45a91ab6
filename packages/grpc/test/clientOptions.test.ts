/** The options of a channel, as they are checked, and as grpc-js is told. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as Effect from "effect/Effect"
import * as ClientOptions from "../src/internal/clientOptions.ts"
import * as ServiceConfig from "../src/internal/clientServiceConfig.ts"

const address = "127.0.0.1:1"

const retry: GrpcChannel.RetryPolicy = {
  maxAttempts: 3,
  initialBackoff: "100 millis",
  maxBackoff: "1 second",
  backoffMultiplier: 2,
  codes: ["UNAVAILABLE", "ABORTED"]
}
const hedging: GrpcChannel.HedgingPolicy = { maxAttempts: 2, delay: "1 second" }
const say = "/lastcall.test.v1.EchoService/Say"
const pickFirst = { pick_first: { shuffleAddressList: false } }

interface Json {
  readonly loadBalancingConfig: ReadonlyArray<unknown>
  readonly methodConfig: ReadonlyArray<unknown>
  readonly retryThrottling?: unknown
}

const serviceConfig = (options: Partial<GrpcChannel.Options>): Json =>
  JSON.parse(ServiceConfig.make({ address, ...options }).json) as Json

/** Of what is said by default, and of the service config, nothing. */
const told = (options: Partial<GrpcChannel.Options>): Partial<grpc.ChannelOptions> => {
  const {
    "grpc.enable_channelz": _,
    "grpc.service_config": __,
    "grpc.service_config_disable_resolution": ___,
    "grpc.use_local_subchannel_pool": ____,
    ...rest
  } = ClientOptions.make({ address, ...options })
  return rest
}

describe("an option that makes no sense is a defect that says which, and why", () => {
  const outlierDetection: GrpcChannel.OutlierDetection = { failurePercentage: {} }
  const weighted = { policy: "weighted_round_robin" } as const
  const robin = { loadBalancing: "round_robin" } as const
  const wrong: ReadonlyArray<readonly [string, Partial<GrpcChannel.Options>]> = [
    ["maxSendBytes is 0: must be a whole number above 0, or Infinity", { maxSendBytes: 0 }],
    ["maxReceiveBytes is 1.5: must be a whole number above 0, or Infinity", { maxReceiveBytes: 1.5 }],
    ["receiveWindowBytes is 65534: must be from 65535 to 2147483647", { receiveWindowBytes: 65_534 }],
    ["receiveWindowBytes is 2147483648: must be from 65535 to 2147483647", { receiveWindowBytes: 2 ** 31 }],
    ["compression is \"zstd\": gzip or deflate", { compression: "zstd" as "gzip" }],
    ["userAgent is \"\": must be printable ASCII", { userAgent: "" }],
    ["userAgent is \" a\": must be printable ASCII", { userAgent: " a" }],
    ["userAgent is \"a \": must be printable ASCII", { userAgent: "a " }],
    ["userAgent is \"a\\nb\": must be printable ASCII", { userAgent: "a\nb" }],
    ["authority is \"ä\": must be printable ASCII", { authority: "ä" }],
    ["keepalive.time is 0: must be longer than 0", { keepalive: { time: 0 } }],
    ["keepalive.timeout is NaN: not a duration", { keepalive: { time: 1, timeout: Number.NaN } }],
    ["reconnect.initialBackoff is 0: must be longer than 0", { reconnect: { initialBackoff: 0 } }],
    ["reconnect.initialBackoff is \"3 minutes\": longer than maxBackoff", {
      reconnect: { initialBackoff: "3 minutes" }
    }],
    ["reconnect.maxBackoff is -1: must be longer than 0", { reconnect: { maxBackoff: -1 } }],
    ["idleTimeout is \"999 millis\": must be 1000 ms or longer", { idleTimeout: "999 millis" }],
    ["dnsMinInterval is 0: must be longer than 0", { dnsMinInterval: 0 }],
    ["dnsMinInterval is -1: must be longer than 0", { dnsMinInterval: -1 }],
    ["dnsMinInterval is NaN: not a duration", { dnsMinInterval: Number.NaN }],
    ["dnsMinInterval is \"30 secs\": not a duration", { dnsMinInterval: "30 secs" as never }],
    ["retry.maxAttempts is 1: must be a whole number of at least 2", { retry: { ...retry, maxAttempts: 1 } }],
    ["retry.maxAttempts is 2.5: must be a whole number of at least 2", { retry: { ...retry, maxAttempts: 2.5 } }],
    ["retry.backoffMultiplier is 0: must be above 0", { retry: { ...retry, backoffMultiplier: 0 } }],
    ["retry.backoffMultiplier is Infinity: must be above 0", { retry: { ...retry, backoffMultiplier: Infinity } }],
    ["retry.initialBackoff is -1: must be longer than 0", { retry: { ...retry, initialBackoff: -1 } }],
    ["retry.initialBackoff is \"1001 millis\": longer than maxBackoff", {
      retry: { ...retry, initialBackoff: "1001 millis" }
    }],
    ["retry.maxBackoff is 0: must be longer than 0", { retry: { ...retry, maxBackoff: 0 } }],
    ["retry.codes is []: no code would be retried", { retry: { ...retry, codes: [] } }],
    ["retry.codes is \"UNAVAILABEL\": no code of gRPC's", { retry: { ...retry, codes: ["UNAVAILABEL" as "ABORTED"] } }],
    ["retry.codes is \"toString\": no code of gRPC's", { retry: { ...retry, codes: ["toString" as "ABORTED"] } }],
    ["hedging is {\"maxAttempts\":2,\"delay\":\"1 second\"}: an RPC is either retried or hedged", { retry, hedging }],
    ["hedging.maxAttempts is 1: must be a whole number of at least 2", { hedging: { ...hedging, maxAttempts: 1 } }],
    ["hedging.delay is -1: must be longer than 0", { hedging: { ...hedging, delay: -1 } }],
    ["hedging.delay is \"soon\": not a duration", { hedging: { ...hedging, delay: "soon" as never } }],
    ["hedging.nonFatalCodes is \"14\": no code of gRPC's", {
      hedging: { ...hedging, nonFatalCodes: ["14" as "ABORTED"] }
    }],
    [`methods["${say}"].hedging is {"maxAttempts":2,"delay":"1 second"}: an RPC is either retried or hedged`, {
      methods: { [say]: { retry, hedging } }
    }],
    [`methods["${say}"].timeout is 0: must be longer than 0`, { methods: { [say]: { timeout: 0 } } }],
    [`methods["${say}"].maxSendBytes is -1: must be a whole number above 0, or Infinity`, {
      methods: { [say]: { maxSendBytes: -1 } }
    }],
    [`methods["${say}"].maxReceiveBytes is 0.5: must be a whole number above 0, or Infinity`, {
      methods: { [say]: { maxReceiveBytes: 0.5 } }
    }],
    [`methods["${say}"].retry.maxBackoff is 0: must be longer than 0`, {
      methods: { [say]: { retry: { ...retry, maxBackoff: 0 } } }
    }],
    ...["/only.Service", "/a/b/c", "a/b", "", "a b", "/a b/c", "/a/b c", " /a/b"].map((name) =>
      [`methods is ${JSON.stringify(name)}: a name is a path such as /pkg.Service/Method, or a service`, {
        methods: { [name]: {} }
      }] as const
    ),
    ["retryThrottling.maxTokens is 1001: must be from 0.001 to 1000", {
      retryThrottling: { maxTokens: 1_001, tokenRatio: 1 }
    }],
    ["retryThrottling.tokenRatio is 0.0001: must be 0.001 or more", {
      retryThrottling: { maxTokens: 1, tokenRatio: 0.0001 }
    }],
    ["retryBuffer.perRpcBytes is -1: must be a whole number of at least 0", { retryBuffer: { perRpcBytes: -1 } }],
    ["retryBuffer.totalBytes is 1.5: must be a whole number of at least 0", { retryBuffer: { totalBytes: 1.5 } }],
    ["loadBalancing is \"ring_hash\": no policy of gRPC's", { loadBalancing: "ring_hash" as "round_robin" }],
    ["loadBalancing.blackout is -1: must be longer than 0", { loadBalancing: { ...weighted, blackout: -1 } }],
    ["loadBalancing.expiration is 0: must be longer than 0", { loadBalancing: { ...weighted, expiration: 0 } }],
    ["loadBalancing.update is 99: must be 100 ms or longer", { loadBalancing: { ...weighted, update: 99 } }],
    ["loadBalancing.errorPenalty is -1: must be 0 or more", { loadBalancing: { ...weighted, errorPenalty: -1 } }],
    ["loadBalancing.errorPenalty is Infinity: must be 0 or more", {
      loadBalancing: { ...weighted, errorPenalty: Infinity }
    }],
    ["outlierDetection is {\"failurePercentage\":{}}: pick_first has only one server: use round_robin", {
      outlierDetection
    }],
    ["outlierDetection is {}: without failurePercentage or successRate there are no outliers", {
      ...robin,
      outlierDetection: {}
    }],
    ["outlierDetection.interval is 0: must be longer than 0", {
      ...robin,
      outlierDetection: { ...outlierDetection, interval: 0 }
    }],
    ["outlierDetection.maxEjectionPercent is 101: must be from 0 to 100", {
      ...robin,
      outlierDetection: { ...outlierDetection, maxEjectionPercent: 101 }
    }],
    ["outlierDetection.failurePercentage.threshold is -1: must be from 0 to 100", {
      ...robin,
      outlierDetection: { failurePercentage: { threshold: -1 } }
    }],
    ["outlierDetection.failurePercentage.enforcement is 101: must be from 0 to 100", {
      ...robin,
      outlierDetection: { failurePercentage: { enforcement: 101 } }
    }],
    ["outlierDetection.successRate.stdevFactor is 0: must be 0.001 or more", {
      ...robin,
      outlierDetection: { successRate: { stdevFactor: 0 } }
    }],
    ["outlierDetection.successRate.minimumHosts is 0: must be a whole number of at least 1", {
      ...robin,
      outlierDetection: { successRate: { minimumHosts: 0 } }
    }],
    ["outlierDetection.successRate.requestVolume is 0: must be a whole number of at least 1", {
      ...robin,
      outlierDetection: { successRate: { requestVolume: 0 } }
    }]
  ]
  for (const [message, options] of wrong) {
    it.effect(message, () =>
      Effect.gen(function*() {
        const defect = yield* Effect.scoped(GrpcChannel.make({ address, ...options })).pipe(
          Effect.asVoid,
          Effect.catchDefect(Effect.succeed)
        )
        assert.instanceOf(defect, GrpcChannel.GrpcChannelOptionError)
        assert.strictEqual(defect.message, `channel option ${message}`)
      }))
  }
})

describe("what grpc-js is told", () => {
  it("without options: nothing global, no channelz, and no service config of a DNS server's", () => {
    const { "grpc.service_config": config, ...rest } = ClientOptions.make({ address })
    assert.deepStrictEqual(rest, {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_channelz": 0,
      "grpc.service_config_disable_resolution": 1
    })
    assert.deepStrictEqual(JSON.parse(config!), { loadBalancingConfig: [pickFirst], methodConfig: [{ name: [{}] }] })
  })

  const options: ReadonlyArray<readonly [string, Partial<GrpcChannel.Options>, grpc.ChannelOptions]> = [
    ["sizes", { maxReceiveBytes: 1, maxSendBytes: 2 }, {
      "grpc.max_receive_message_length": 1,
      "grpc.max_send_message_length": 2
    }],
    ["sizes without an end", { maxReceiveBytes: Infinity, maxSendBytes: Infinity }, {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1
    }],
    ["the least window", { receiveWindowBytes: 65_535 }, { "grpc-node.flow_control_window": 65_535 }],
    ["the largest window", { receiveWindowBytes: 2 ** 31 - 1 }, { "grpc-node.flow_control_window": 2 ** 31 - 1 }],
    ["no retry buffer", { retryBuffer: { perRpcBytes: 0, totalBytes: 0 } }, {
      "grpc.per_rpc_retry_buffer_size": 0,
      "grpc.retry_buffer_size": 0
    }],
    ["a retry buffer for each RPC", { retryBuffer: { perRpcBytes: 9 } }, { "grpc.per_rpc_retry_buffer_size": 9 }],
    ["a retry buffer for all RPCs", { retryBuffer: { totalBytes: 9 } }, { "grpc.retry_buffer_size": 9 }],
    ["keepalive", { keepalive: { time: "1 minute" } }, {
      "grpc.keepalive_time_ms": 60_000,
      "grpc.keepalive_timeout_ms": 20_000,
      "grpc.keepalive_permit_without_calls": 0
    }],
    ["keepalive without calls", { keepalive: { time: "30 days", timeout: 1, withoutCalls: true } }, {
      "grpc.keepalive_time_ms": 2 ** 31 - 1,
      "grpc.keepalive_timeout_ms": 1,
      "grpc.keepalive_permit_without_calls": 1
    }],
    ["a first backoff", { reconnect: { initialBackoff: "2 minutes" } }, {
      "grpc.initial_reconnect_backoff_ms": 120_000,
      "grpc.max_reconnect_backoff_ms": 120_000
    }],
    ["a longest backoff", { reconnect: { maxBackoff: "5 seconds" } }, {
      "grpc.initial_reconnect_backoff_ms": 1_000,
      "grpc.max_reconnect_backoff_ms": 5_000
    }],
    ["times", { dnsMinInterval: 1, idleTimeout: "1 second" }, {
      "grpc.dns_min_time_between_resolutions_ms": 1,
      "grpc.client_idle_timeout_ms": 1_000
    }],
    ["gzip", { compression: "gzip" }, { "grpc.default_compression_algorithm": 2 }],
    ["deflate", { compression: "deflate" }, { "grpc.default_compression_algorithm": 1 }],
    ["names", { userAgent: "a", authority: "a b!~" }, {
      "grpc.primary_user_agent": "a",
      "grpc.default_authority": "a b!~"
    }],
    ["no proxy", { httpProxy: false }, { "grpc.enable_http_proxy": 0 }],
    ["the proxy of the environment", { httpProxy: true }, {}],
    ["the name of the server", { credentials: GrpcChannel.tls({}, { serverName: "api" }) }, {
      "grpc.ssl_target_name_override": "api"
    }],
    ["TLS, and the name is that of the address", { credentials: GrpcChannel.tls() }, {}],
    ["plaintext", { credentials: GrpcChannel.insecure }, {}],
    ["as many attempts as the policies make at most", {
      hedging: { ...hedging, maxAttempts: 4 },
      methods: { a: { retry: { ...retry, maxAttempts: 7 } }, b: { retry: { ...retry, maxAttempts: 6 } } }
    }, { "grpc-node.retry_max_attempts_limit": 7 }]
  ]
  for (const [what, given, expected] of options) {
    it(what, () => assert.deepStrictEqual(told(given), expected))
  }

  const retryPolicy = {
    maxAttempts: 3,
    initialBackoff: "0.100000000s",
    maxBackoff: "1.000000000s",
    backoffMultiplier: 2,
    retryableStatusCodes: ["UNAVAILABLE", "ABORTED"]
  }
  const hedgingPolicy = { maxAttempts: 2, hedgingDelay: "1.000000000s", nonFatalStatusCodes: [] }

  it("retries and hedging: of the channel for all, of a method instead of the channel's", () => {
    const timeout = "1500.25 millis" as const
    const none = { retry: false as const }
    const methods = {
      [say]: { timeout },
      "pkg.None": none,
      "pkg.Hedged": { hedging },
      "/pkg.B/Hedged": { hedging, ...none }
    }
    assert.deepStrictEqual(serviceConfig({ retry, methods }).methodConfig, [
      {
        name: [{ service: "lastcall.test.v1.EchoService", method: "Say" }],
        retryPolicy,
        timeout: { seconds: 1, nanos: 500_250_000 }
      },
      { name: [{ service: "pkg.None" }] },
      { name: [{ service: "pkg.Hedged" }], hedgingPolicy },
      { name: [{ service: "pkg.B", method: "Hedged" }], hedgingPolicy },
      { name: [{}], retryPolicy }
    ])
    assert.deepStrictEqual(
      serviceConfig({ hedging: { maxAttempts: 3, delay: 0, nonFatalCodes: ["ABORTED"] } }).methodConfig,
      [{
        name: [{}],
        hedgingPolicy: { maxAttempts: 3, hedgingDelay: "0.000000000s", nonFatalStatusCodes: ["ABORTED"] }
      }]
    )
  })

  it("a backoff may be as long as the longest", () => {
    const { methodConfig } = serviceConfig({ retry: { ...retry, initialBackoff: "1 second" } })
    assert.deepStrictEqual(methodConfig, [{
      name: [{}],
      retryPolicy: { ...retryPolicy, initialBackoff: "1.000000000s" }
    }])
  })

  it("retry throttling", () => {
    const throttlings = [
      { maxTokens: 1_000, tokenRatio: 0.001 },
      { maxTokens: 0.001, tokenRatio: 5_000 }
    ]
    for (const retryThrottling of throttlings) {
      assert.deepStrictEqual(serviceConfig({ retryThrottling }).retryThrottling, retryThrottling)
    }
  })

  const balancing: ReadonlyArray<readonly [string, Partial<GrpcChannel.Options>, unknown]> = [
    ["pick_first", { loadBalancing: "pick_first" }, pickFirst],
    ["pick_first as it is", { loadBalancing: { policy: "pick_first" } }, pickFirst],
    ["pick_first, shuffled", { loadBalancing: { policy: "pick_first", shuffle: true } }, {
      pick_first: { shuffleAddressList: true }
    }],
    ["pick_first, not shuffled", { loadBalancing: { policy: "pick_first", shuffle: false } }, pickFirst],
    ["round_robin", { loadBalancing: "round_robin" }, { round_robin: {} }],
    ["weighted_round_robin", { loadBalancing: "weighted_round_robin" }, { weighted_round_robin: {} }],
    ["weighted_round_robin as it is", { loadBalancing: { policy: "weighted_round_robin" } }, {
      weighted_round_robin: { enable_oob_load_report: false }
    }],
    ["weighted_round_robin with all options", {
      loadBalancing: {
        policy: "weighted_round_robin",
        outOfBand: "1 second",
        blackout: 0,
        expiration: "3 minutes",
        update: 100,
        errorPenalty: 0
      }
    }, {
      weighted_round_robin: {
        enable_oob_load_report: true,
        oob_load_reporting_period: "1.000000000s",
        blackout_period: "0.000000000s",
        weight_expiration_period: "180.000000000s",
        weight_update_period: "0.100000000s",
        error_utilization_penalty: 0
      }
    }],
    ["outliers", { loadBalancing: "round_robin", outlierDetection: { failurePercentage: {} } }, {
      outlier_detection: { failure_percentage_ejection: {}, child_policy: [{ round_robin: {} }] }
    }],
    ["outliers of both kinds, with all options", {
      loadBalancing: "round_robin",
      outlierDetection: {
        interval: "1 second",
        baseEjection: "1.5 seconds",
        maxEjection: "3 seconds",
        maxEjectionPercent: 100,
        failurePercentage: { threshold: 0, enforcement: 0, minimumHosts: 1, requestVolume: 1 },
        successRate: { stdevFactor: 1.9, enforcement: 100, minimumHosts: 2, requestVolume: 3 }
      }
    }, {
      outlier_detection: {
        interval: { seconds: 1, nanos: 0 },
        base_ejection_time: { seconds: 1, nanos: 500_000_000 },
        max_ejection_time: { seconds: 3, nanos: 0 },
        max_ejection_percent: 100,
        failure_percentage_ejection: {
          threshold: 0,
          enforcement_percentage: 0,
          minimum_hosts: 1,
          request_volume: 1
        },
        success_rate_ejection: {
          stdev_factor: 1_900,
          enforcement_percentage: 100,
          minimum_hosts: 2,
          request_volume: 3
        },
        child_policy: [{ round_robin: {} }]
      }
    }]
  ]
  for (const [what, given, expected] of balancing) {
    it(what, () => assert.deepStrictEqual(serviceConfig(given).loadBalancingConfig, [expected]))
  }
})

describe("the options of a method", () => {
  const own = { waitForReady: true }
  const its = { waitForReady: false }

  it("are those of its path, or else of its service", () => {
    const methods = { [say]: own, "lastcall.test.v1.EchoService": its }
    assert.strictEqual(ServiceConfig.optionsOf(methods, say), own)
    assert.strictEqual(ServiceConfig.optionsOf(methods, "/lastcall.test.v1.EchoService/Count"), its)
    assert.isUndefined(ServiceConfig.optionsOf(methods, "/another.Service/Say"))
    assert.isUndefined(ServiceConfig.optionsOf(undefined, say))
  })
})
