/** What gRPC calls the service config: load balancing, retries, hedging and timeouts, from the options of a channel, checked. */
import type {
  HedgingPolicy,
  LoadBalancing,
  MethodOptions,
  Options,
  OutlierDetection,
  OutlierVolume,
  RetryPolicy,
  WeightedRoundRobin
} from "../GrpcChannel.ts"
import { type Code, codes } from "../GrpcError.ts"
import * as Check from "./clientOption.ts"

interface Policies {
  readonly retryPolicy?: object
  readonly hedgingPolicy?: object
}

export interface ServiceConfig {
  readonly json: string
  /** How often an RPC may be tried at most; grpc-js makes 5 attempts unless it is told otherwise. */
  readonly maxAttempts: number | undefined
}

/** Throws `GrpcChannelOptionError`. */
export const make = (options: Options): ServiceConfig => {
  let maxAttempts: number | undefined
  const policies = (
    option: string,
    retry: RetryPolicy | false | undefined,
    hedging: HedgingPolicy | undefined
  ): Policies => {
    if (retry !== undefined && retry !== false && hedging !== undefined) {
      return Check.fail(`${option}hedging`, hedging, "an RPC is either retried or hedged")
    }
    const policy = hedging ?? retry
    if (policy === undefined || policy === false) return {}
    maxAttempts = Math.max(maxAttempts ?? 0, policy.maxAttempts)
    return hedging === undefined
      ? { retryPolicy: retryPolicy(`${option}retry`, policy as RetryPolicy) }
      : { hedgingPolicy: hedgingPolicy(`${option}hedging`, hedging) }
  }
  const all = policies("", options.retry, options.hedging)
  const methodConfig = Object.entries(options.methods ?? {}).map(([name, method]) => {
    const option = `methods[${JSON.stringify(name)}].`
    const own = method.retry === undefined && method.hedging === undefined
      ? all
      : policies(option, method.retry, method.hedging)
    const timeout = method.timeout === undefined ? {} : { timeout: duration(`${option}timeout`, method.timeout) }
    return { name: [methodName(name)], ...own, ...timeout }
  })
  const throttling = options.retryThrottling
  return {
    json: JSON.stringify({
      loadBalancingConfig: [balancing(options.loadBalancing ?? "pick_first", options.outlierDetection)],
      methodConfig: [...methodConfig, { name: [{}], ...all }],
      ...(throttling === undefined ? {} : {
        retryThrottling: {
          maxTokens: positive("retryThrottling.maxTokens", throttling.maxTokens, 1_000),
          tokenRatio: positive("retryThrottling.tokenRatio", throttling.tokenRatio)
        }
      })
    }),
    maxAttempts
  }
}

/** The options of a method: those of its path, or else of its service. */
export const optionsOf = (methods: Options["methods"], path: string): MethodOptions | undefined =>
  methods === undefined ? undefined : methods[path] ?? methods[path.slice(1, path.lastIndexOf("/"))]

const nameOf = /^(?:\/([^/\s]+)\/([^/\s]+)|([^/\s]+))$/

const methodName = (name: string) => {
  const match = nameOf.exec(name)
  if (match === null) {
    return Check.fail("methods", name, "a name is a path such as /pkg.Service/Method, or a service")
  }
  const [, service, method, whole] = match
  return method === undefined ? { service: whole } : { service, method }
}

const retryPolicy = (option: string, retry: RetryPolicy) => {
  const maxAttempts = Check.integer(`${option}.maxAttempts`, retry.maxAttempts, 2)
  if (!(retry.backoffMultiplier > 0 && Number.isFinite(retry.backoffMultiplier))) {
    return Check.fail(`${option}.backoffMultiplier`, retry.backoffMultiplier, "must be above 0")
  }
  if (retry.codes.length === 0) return Check.fail(`${option}.codes`, retry.codes, "no code would be retried")
  const initialBackoff = Check.millis(`${option}.initialBackoff`, retry.initialBackoff)
  const maxBackoff = Check.millis(`${option}.maxBackoff`, retry.maxBackoff)
  if (initialBackoff > maxBackoff) {
    return Check.fail(`${option}.initialBackoff`, retry.initialBackoff, "longer than maxBackoff")
  }
  return {
    maxAttempts,
    initialBackoff: Check.toSeconds(initialBackoff),
    maxBackoff: Check.toSeconds(maxBackoff),
    backoffMultiplier: retry.backoffMultiplier,
    retryableStatusCodes: known(`${option}.codes`, retry.codes)
  }
}

const known = (option: string, names: ReadonlyArray<Code>): ReadonlyArray<Code> => {
  for (const name of names) if (!Object.hasOwn(codes, name)) return Check.fail(option, name, "no code of gRPC's")
  return names
}

const hedgingPolicy = (option: string, hedging: HedgingPolicy) => ({
  maxAttempts: Check.integer(`${option}.maxAttempts`, hedging.maxAttempts, 2),
  hedgingDelay: Check.toSeconds(Check.millisOrZero(`${option}.delay`, hedging.delay)),
  nonFatalStatusCodes: known(`${option}.nonFatalCodes`, hedging.nonFatalCodes ?? [])
})

/** As an object: grpc-js reads the digits of a text wrongly if there are not nine of them. */
const duration = (option: string, value: Parameters<typeof Check.millis>[1]) => {
  const millis = Check.millis(option, value)
  const seconds = Math.floor(millis / 1_000)
  return { seconds, nanos: Math.round((millis - seconds * 1_000) * 1_000_000) }
}

const positive = (option: string, value: number, most = Number.MAX_VALUE): number =>
  // grpc-js rounds to three digits.
  value >= 0.001 && value <= most
    ? value
    : Check.fail(option, value, `must be ${most === Number.MAX_VALUE ? "0.001 or more" : `from 0.001 to ${most}`}`)

const balancing = (policy: LoadBalancing, outliers: OutlierDetection | undefined): object => {
  const child = policyOf(policy)
  if (outliers === undefined) return child
  if ("pick_first" in child) {
    return Check.fail("outlierDetection", outliers, "pick_first has only one server: use round_robin")
  }
  return { outlier_detection: outlierDetection(outliers, child) }
}

const policyOf = (policy: LoadBalancing): object => {
  const name = typeof policy === "string" ? policy : policy.policy
  switch (name) {
    case "pick_first":
      return { pick_first: { shuffleAddressList: typeof policy !== "string" && "shuffle" in policy && policy.shuffle } }
    case "round_robin":
      return { round_robin: {} }
    case "weighted_round_robin":
      return { weighted_round_robin: typeof policy === "string" ? {} : weights(policy as WeightedRoundRobin) }
    default:
      return Check.fail("loadBalancing", name satisfies never, "no policy of gRPC's")
  }
}

const weights = (options: WeightedRoundRobin) => {
  const seconds = (
    name: "blackout" | "expiration" | "update" | "outOfBand",
    check: typeof Check.millis = Check.millis
  ) => {
    const value = options[name]
    return value === undefined ? undefined : Check.toSeconds(check(`loadBalancing.${name}`, value))
  }
  const penalty = options.errorPenalty
  if (penalty !== undefined && !(penalty >= 0 && Number.isFinite(penalty))) {
    return Check.fail("loadBalancing.errorPenalty", penalty, "must be 0 or more")
  }
  return {
    enable_oob_load_report: options.outOfBand !== undefined,
    oob_load_reporting_period: seconds("outOfBand"),
    blackout_period: seconds("blackout", Check.millisOrZero),
    weight_expiration_period: seconds("expiration"),
    weight_update_period: seconds("update", (option, value) => Check.millis(option, value, 100)),
    error_utilization_penalty: penalty
  }
}

const outlierDetection = (options: OutlierDetection, child: object) => {
  const { failurePercentage, successRate } = options
  if (failurePercentage === undefined && successRate === undefined) {
    return Check.fail("outlierDetection", options, "without failurePercentage or successRate there are no outliers")
  }
  const within = (option: string, value: number | undefined, from: number, to?: number) =>
    value === undefined ? undefined : Check.integer(`outlierDetection.${option}`, value, from, to)
  const time = (option: "interval" | "baseEjection" | "maxEjection") =>
    options[option] === undefined ? undefined : duration(`outlierDetection.${option}`, options[option])
  const volume = (name: string, { enforcement, minimumHosts, requestVolume }: OutlierVolume) => ({
    enforcement_percentage: within(`${name}.enforcement`, enforcement, 0, 100),
    minimum_hosts: within(`${name}.minimumHosts`, minimumHosts, 1),
    request_volume: within(`${name}.requestVolume`, requestVolume, 1)
  })
  return {
    interval: time("interval"),
    base_ejection_time: time("baseEjection"),
    max_ejection_time: time("maxEjection"),
    max_ejection_percent: within("maxEjectionPercent", options.maxEjectionPercent, 0, 100),
    failure_percentage_ejection: failurePercentage && {
      threshold: within("failurePercentage.threshold", failurePercentage.threshold, 0, 100),
      ...volume("failurePercentage", failurePercentage)
    },
    success_rate_ejection: successRate && {
      stdev_factor: successRate.stdevFactor === undefined
        ? undefined
        : Math.round(1_000 * positive("outlierDetection.successRate.stdevFactor", successRate.stdevFactor)),
      ...volume("successRate", successRate)
    },
    child_policy: [child]
  }
}
