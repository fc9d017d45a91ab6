/**
 * A channel: the connections of a client to one service, as a scoped resource.
 *
 * Closing its scope is a graceful stop: no new RPCs, its own may end within the grace period, then they are cancelled, then its
 * connections are closed.
 *
 * @since 0.1.0
 */
import * as grpc from "@grpc/grpc-js"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import type * as StopPolicy from "@lastcall/core/StopPolicy"
import type { StopReport } from "@lastcall/core/StopReport"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { GrpcCredentialsError, KeyPair, Pem, Source } from "./GrpcCredentials.ts"
import { type Code, type GrpcError, unavailable } from "./GrpcError.ts"
import type { GrpcMetadata } from "./GrpcMetadata.ts"
import type { GrpcPeer } from "./GrpcPeer.ts"
import * as ClientAddress from "./internal/clientAddress.ts"
import * as ClientCallCredentials from "./internal/clientCallCredentials.ts"
import * as ClientChannel from "./internal/clientChannel.ts"
import * as ClientConnectivity from "./internal/clientConnectivity.ts"
import * as ClientCredentials from "./internal/clientCredentials.ts"
import * as Check from "./internal/clientOption.ts"
import * as channelOptions from "./internal/clientOptions.ts"
import * as ClientSockets from "./internal/clientSockets.ts"

/**
 * A channel that is open, and what a `GrpcClient` needs of it.
 *
 * @category services
 * @since 0.1.0
 */
export class GrpcChannel extends Context.Service<GrpcChannel, {
  /** The name in logs and in the report of its stop. */
  readonly name: string
  /** What it dials. */
  readonly address: string
  /** The phase of its stop protocol. */
  readonly phase: () => GracefulStop.Phase
  /** Whether it is connected. */
  readonly state: () => State
  /** The state now, and each change; ends after `SHUTDOWN`. */
  readonly states: Stream.Stream<State>
  /**
   * Connects, and waits until RPCs can be sent, however long that takes: failing attempts are repeated. Fails with UNAVAILABLE
   * when the channel has stopped. A server may be reached and yet not be ready to serve: that is what health checks are for.
   */
  readonly awaitReady: Effect.Effect<void, GrpcError>
  /** Its RPCs in flight, oldest first. */
  readonly inFlight: () => ReadonlyArray<InFlight.Running>
  /**
   * Admits an RPC by its path, or refuses it once the channel stops. The stop waits for what was admitted until its `end` is
   * called, and asks it to end when the grace period is over.
   */
  readonly admit: (path: string) => InFlight.Entry | undefined
  /**
   * grpc-js's own client on this channel, for what has no typed one. The stop knows of its RPCs only if they were admitted.
   */
  readonly client: grpc.Client
  /** Calls `client` such that the channel owns the connections that come of it; {@link client} alone does not say whose. */
  readonly enter: <A>(call: () => A) => A
  /** Stops it before its scope closes. One stop and one report, however often it is asked for. */
  readonly stop: Effect.Effect<StopReport>
  /** Cuts the drain short, a running one or one to come; see `GracefulStop`. */
  readonly escalate: Effect.Effect<void>
}>()("@lastcall/grpc/GrpcChannel") {}

/**
 * Whether a channel is connected, in gRPC's words: `IDLE` (it connects when it is used), `CONNECTING`, `READY`,
 * `TRANSIENT_FAILURE` (it waits before it tries again; RPCs fail meanwhile unless they wait), and `SHUTDOWN` for good. With
 * several servers it is `READY` if one of them is.
 *
 * @category models
 * @since 0.1.0
 */
export type State = "IDLE" | "CONNECTING" | "READY" | "TRANSIENT_FAILURE" | "SHUTDOWN"

/**
 * How a channel proves who it is, and whom it believes.
 *
 * @category models
 * @since 0.1.0
 */
export type Credentials = Insecure | Tls | MutualTls

/**
 * Plaintext HTTP/2.
 *
 * @category models
 * @since 0.1.0
 */
export interface Insecure {
  readonly _tag: "Insecure"
}

/**
 * The authorities that a channel believes; without them those that Node trusts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Trust {
  readonly ca?: Pem | undefined
}

/**
 * A key and a certificate to show, and the authorities that a channel believes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Identity extends KeyPair, Trust {}

/**
 * TLS: the server proves who it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tls extends TlsOptions {
  readonly _tag: "Tls"
  readonly source: Source<Trust>
}

/**
 * mTLS: both sides prove who they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface MutualTls extends TlsOptions {
  readonly _tag: "MutualTls"
  readonly source: Source<Identity>
}

/**
 * What both kinds of TLS take.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The name that the server's certificate must be for, and which it is asked for (SNI). Default: the host that is dialled. */
  readonly serverName?: string | undefined
  /**
   * Whether this server is the right one, in the place of its certificate being for the name: a SPIFFE ID is no name of a
   * host. Asked once for each connection; `false`, or an exception, fails it. See `GrpcPeer.hasSpiffeId`.
   */
  readonly allow?: ((peer: GrpcPeer) => boolean) | undefined
}

/**
 * Metadata that says who calls.
 *
 * **Details**
 *
 * The Effect runs before each attempt of an RPC, when there is a connection for it, and is interrupted when the RPC ends: by its
 * answer, its deadline, or its interruption. If it fails, the RPC fails with UNAUTHENTICATED; a defect is INTERNAL. It is for
 * the Effect to keep a token that is still good, and no failure:
 * `Effect.cachedWithTTL(fetchToken, (exit) => Exit.isSuccess(exit) ? "5 minutes" : 0)`. A key that the RPC's own metadata has is
 * left as it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallCredentials {
  readonly metadata: (rpc: {
    /** The full method path, for instance `/demo.v1.Greeter/SayHello`. */
    readonly path: string
    /** The service as a URL, which tokens are made for: `https://api.example/demo.v1.Greeter`. */
    readonly serviceUrl: string
  }) => Effect.Effect<GrpcMetadata, GrpcError>
  /** Whether they are sent without encryption too. Default: that is a `GrpcChannelOptionError`. */
  readonly overPlaintext?: boolean | undefined
}

/**
 * When gRPC itself tries an RPC again that a server answered with an error. What the server has never seen is tried again
 * without a policy (transparent retry).
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryPolicy {
  /** How often an RPC is tried in all; at least 2. */
  readonly maxAttempts: number
  /** The first pause is a random one up to this. */
  readonly initialBackoff: Duration.Input
  /** No pause is longer. */
  readonly maxBackoff: Duration.Input
  /** By how much each next pause may be longer; above 0. */
  readonly backoffMultiplier: number
  /** The errors after which an RPC is tried again. */
  readonly codes: ReadonlyArray<Code>
}

/**
 * When gRPC sends an RPC again while the answer to the first is still missing. The first success counts, and the other attempts
 * are cancelled: only for methods that may run more than once.
 *
 * @category models
 * @since 0.1.0
 */
export interface HedgingPolicy {
  /** How often an RPC is sent in all; at least 2. */
  readonly maxAttempts: number
  /** How long after an attempt the next one is made. 0 sends all at once. */
  readonly delay: Duration.Input
  /** The errors that do not end the RPC: the next attempt is made at once. Default: every error ends it. */
  readonly nonFatalCodes?: ReadonlyArray<Code> | undefined
}

/**
 * Ends retries while too many RPCs fail.
 *
 * **Details**
 *
 * There are `maxTokens`. An attempt that fails with a code of its policy, or a pushback of the server, takes one; an RPC that
 * succeeds gives `tokenRatio` back. While there is not more than half of them, nothing is retried. grpc-js does not ask before it
 * hedges.
 *
 * **Gotchas**
 *
 * grpc-js keeps the tokens per target, not per channel: channels of one process with the same address share them, and one
 * without throttling takes them away from the others. Give all of them the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryThrottling {
  /** From 0.001 to 1000. */
  readonly maxTokens: number
  /** 0.001 or more; of more than three digits the rest is cut. */
  readonly tokenRatio: number
}

/**
 * How much of requests is kept to send it again. A request that is larger is sent once and not retried.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryBuffer {
  /** For an RPC. Default: 1 MiB. */
  readonly perRpcBytes?: number | undefined
  /** For all RPCs of the channel. Default: 16 MiB. */
  readonly totalBytes?: number | undefined
}

/**
 * What holds for the RPCs of a method, or of all methods of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface MethodOptions {
  /** `false`: not even with the policy of the channel. Default: the `retry` or `hedging` of the channel. */
  readonly retry?: RetryPolicy | false | undefined
  /** In the place of retries. */
  readonly hedging?: HedgingPolicy | undefined
  /** How long an RPC may take, with all its attempts. The deadline of an RPC may be earlier, not later. */
  readonly timeout?: Duration.Input | undefined
  /** Whether RPCs wait while no connection can be made, unless they say so themselves. Default: they fail with UNAVAILABLE. */
  readonly waitForReady?: boolean | undefined
  /** A request message at most, in bytes; a larger one fails its RPC with RESOURCE_EXHAUSTED. That of the channel holds too. */
  readonly maxSendBytes?: number | undefined
  /** A response message at most, in bytes, likewise. */
  readonly maxReceiveBytes?: number | undefined
}

/**
 * Which of the servers gets an RPC. A name is the policy with its defaults.
 *
 * - `pick_first`: the first of the addresses that answers gets all.
 * - `round_robin`: all servers that answer, in turn.
 * - `weighted_round_robin`: likewise, those with less load more often; they must tell their load.
 *
 * @category models
 * @since 0.1.0
 */
export type LoadBalancing = "pick_first" | "round_robin" | "weighted_round_robin" | PickFirst | WeightedRoundRobin

/**
 * The first of the addresses that answers gets all RPCs.
 *
 * @category models
 * @since 0.1.0
 */
export interface PickFirst {
  readonly policy: "pick_first"
  /** Whether the addresses are tried in a random order, so that many clients do not all choose the same. Default: no. */
  readonly shuffle?: boolean | undefined
}

/**
 * All servers in turn, those with less load more often.
 *
 * **Details**
 *
 * A server tells its load as an `xds.data.orca.v3.OrcaLoadReport`: with each response, in the trailer
 * `endpoint-load-metrics-bin`, or with `outOfBand` on a stream of its own (`xds.service.orca.v3.OpenRcaService`). Its weight is
 * its requests per second by its utilization. While no server tells its load, this is `round_robin`.
 *
 * **Gotchas**
 *
 * Use `outOfBand`. For each report in a trailer grpc-js 1.14 reads a proto file from disk: 17 ms of the event loop. And a server
 * that has not told its load gets next to no RPCs once another has, so that it may never come to tell it with a response.
 *
 * @category models
 * @since 0.1.0
 */
export interface WeightedRoundRobin {
  readonly policy: "weighted_round_robin"
  /** How often servers tell their load on a stream of its own. Default: they tell it with responses. */
  readonly outOfBand?: Duration.Input | undefined
  /** For how long a server must have told its load before it counts. Default: 10 seconds. */
  readonly blackout?: Duration.Input | undefined
  /** How old the last report may be. Default: 3 minutes. */
  readonly expiration?: Duration.Input | undefined
  /** How often weights change; at least 100 ms. Default: 1 second. */
  readonly update?: Duration.Input | undefined
  /** What an error adds to the utilization of a server. Default: 1. */
  readonly errorPenalty?: number | undefined
}

/**
 * Servers that answer worse than the others get no RPCs for a while. For `round_robin` and `weighted_round_robin`.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutlierDetection {
  /** How often servers are judged, by the RPCs since the last time. Default: 10 seconds. */
  readonly interval?: Duration.Input | undefined
  /** For how long a server is left out, times how often it has been so in a row. Default: 30 seconds. */
  readonly baseEjection?: Duration.Input | undefined
  /** The longest time. Default: 5 minutes. */
  readonly maxEjection?: Duration.Input | undefined
  /** No other server is left out while so many percent are. Default: 10. */
  readonly maxEjectionPercent?: number | undefined
  /** Servers of which more than `threshold` percent (default: 85) of the RPCs fail. */
  readonly failurePercentage?: OutlierVolume & { readonly threshold?: number | undefined } | undefined
  /** Servers that are `stdevFactor` (default: 1.9) standard deviations below the mean rate of success. */
  readonly successRate?: OutlierVolume & { readonly stdevFactor?: number | undefined } | undefined
}

/**
 * How much must be known before a server is judged.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutlierVolume {
  /** How likely an outlier is left out, in percent. Default: 100. */
  readonly enforcement?: number | undefined
  /** How many servers must have had enough RPCs. Default: 5. */
  readonly minimumHosts?: number | undefined
  /** How many RPCs are enough. Default: 50 for `failurePercentage`, 100 for `successRate`. */
  readonly requestVolume?: number | undefined
}

/**
 * When a connection without traffic is pinged, to find out that it is dead.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keepalive {
  /** After how long without data the server is pinged. Servers refuse clients that ping too often. */
  readonly time: Duration.Input
  /** How long the answer may take before the connection is closed. Default: 20 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** Whether a connection without RPCs is pinged too. Default: no. */
  readonly withoutCalls?: boolean | undefined
}

/**
 * How long a channel waits before it connects again: after each failure 1.6 times longer, and 20 % more or less at random.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reconnect {
  /** Default: 1 second. */
  readonly initialBackoff?: Duration.Input | undefined
  /** Default: 2 minutes. */
  readonly maxBackoff?: Duration.Input | undefined
}

/**
 * The options of a channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * What to dial: a gRPC target such as `dns:///api.internal:50051`, or just `127.0.0.1:50051`. See {@link dns}, {@link ipv4},
   * {@link ipv6}, {@link unix}, and `GrpcListener.target` for a server of this machine. A port that is not given is 443, as
   * gRPC's naming has it, with plaintext too. An IPv6 address is in brackets. Other schemes are those for which a resolver is
   * registered with grpc-js, for instance by `@grpc/grpc-js-xds`.
   */
  readonly address: string
  /** The name in logs and in the report of its stop. Default: `channel` and the address. */
  readonly name?: string | undefined
  /** Default: plaintext. */
  readonly credentials?: Credentials | undefined
  /** Metadata that says who calls, for each RPC. Default: none. */
  readonly callCredentials?: CallCredentials | undefined
  /** Default: `pick_first`. */
  readonly loadBalancing?: LoadBalancing | undefined
  /** Default: no server is left out for what it answers. */
  readonly outlierDetection?: OutlierDetection | undefined
  /** Default: connections are not pinged. */
  readonly keepalive?: Keepalive | undefined
  /** How long it waits before it connects again. */
  readonly reconnect?: Reconnect | undefined
  /**
   * How long after a name was looked up and found it is looked up again at the earliest. grpc-js does so when a connection is
   * lost or cannot be made: a server that has moved is found no sooner. What was not found is looked up again after the pauses
   * of `reconnect`. Default: 30 seconds.
   */
  readonly dnsMinInterval?: Duration.Input | undefined
  /**
   * After how long without RPCs the channel is idle and lets its connections go: they are closed within 10 more seconds, unless
   * there is an RPC. At least 1 second. Default: 30 minutes.
   */
  readonly idleTimeout?: Duration.Input | undefined
  /** A response message at most, in bytes. A larger one fails its RPC with RESOURCE_EXHAUSTED. Default: 4 MiB. */
  readonly maxReceiveBytes?: number | undefined
  /** A request message at most, in bytes. A larger one fails its RPC with RESOURCE_EXHAUSTED. Default: no limit. */
  readonly maxSendBytes?: number | undefined
  /**
   * How many bytes a server may send ahead of being read, for a stream and for a connection; at least 65,535. More helps on
   * long, fast ways. Default: those of Node, 65,535.
   */
  readonly receiveWindowBytes?: number | undefined
  /** How requests are compressed. Default: not. Responses may be compressed in any case. */
  readonly compression?: "gzip" | "deflate" | undefined
  /** Default: only what no server has seen is tried again. */
  readonly retry?: RetryPolicy | undefined
  /** In the place of `retry`. */
  readonly hedging?: HedgingPolicy | undefined
  /** Default: retries do not depend on how many RPCs fail. */
  readonly retryThrottling?: RetryThrottling | undefined
  /** How much of requests is kept to send it again. */
  readonly retryBuffer?: RetryBuffer | undefined
  /**
   * Options of some methods, by a path such as `/demo.v1.Greeter/SayHello` or a service such as `demo.v1.Greeter`. For an RPC
   * those of its path count, or else those of its service: they are not joined.
   */
  readonly methods?: { readonly [name: string]: MethodOptions } | undefined
  /** What servers are told in `user-agent`, before the name of grpc-js. Default: nothing. */
  readonly userAgent?: string | undefined
  /** What servers are told in `:authority`. Default: the host and the port that are dialled. */
  readonly authority?: string | undefined
  /** Whether the proxy in `grpc_proxy`, `https_proxy` or `http_proxy` is used, as other gRPC clients do. Default: yes. */
  readonly httpProxy?: boolean | undefined
  /** How long the steps of its stop may take. Default: no drain delay, 10 s grace, 2 s force timeout. */
  readonly stop?: StopPolicy.Options | undefined
}

/**
 * No encryption and no authentication.
 *
 * @category constructors
 * @since 0.1.0
 */
export const insecure: Credentials = { _tag: "Insecure" }

/**
 * The server proves who it is, by a certificate of an authority in `ca` (default: those that Node trusts), for the host that is
 * dialled or for `serverName`, or as `allow` says.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tls = (source: Source<Trust> = {}, options?: TlsOptions): Credentials => ({
  _tag: "Tls",
  source,
  ...options
})

/**
 * Both sides prove who they are: as {@link tls}, and the client with its own certificate.
 *
 * **Details**
 *
 * Of a stream each element takes the place of the one before for connections that are made from then on; existing ones go on,
 * and no RPC fails of it.
 *
 * **Example** (An SVID from files, and the server it is for)
 *
 * ```ts
 * import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
 * import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
 * import * as GrpcPeer from "@lastcall/grpc/GrpcPeer"
 *
 * export const credentials = GrpcChannel.mtls(
 *   GrpcCredentials.files({ key: "/svid/key.pem", cert: "/svid/svid.pem", ca: "/svid/bundle.pem" }),
 *   { allow: GrpcPeer.hasSpiffeId("spiffe://example.org/api") }
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const mtls = (source: Source<Identity>, options?: TlsOptions): Credentials => ({
  _tag: "MutualTls",
  source,
  ...options
})

/**
 * The address of a host name: each address that it resolves to is one to connect to.
 *
 * @category addresses
 * @since 0.1.0
 */
export const dns = (host: string, port: number): string => ClientAddress.dns(host, port)

/**
 * The address of several IPv4 sockets, each as `10.0.0.1:50051`.
 *
 * @category addresses
 * @since 0.1.0
 */
export const ipv4 = (...sockets: readonly [string, ...Array<string>]): string => ClientAddress.ip("ipv4", sockets)

/**
 * The address of several IPv6 sockets, each as `[2001:db8::1]:50051`.
 *
 * @category addresses
 * @since 0.1.0
 */
export const ipv6 = (...sockets: readonly [string, ...Array<string>]): string => ClientAddress.ip("ipv6", sockets)

/**
 * The address of a Unix socket.
 *
 * @category addresses
 * @since 0.1.0
 */
export const unix = (path: string): string => ClientAddress.unix(path)

/**
 * An option of a channel that makes no sense. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export { GrpcChannelOptionError } from "./internal/clientOption.ts"

/**
 * Opens a channel. It connects when its first RPC is made; closing the scope stops it.
 *
 * **Details**
 *
 * The stop, in order: new RPCs fail with UNAVAILABLE and the cause `InFlight.Refused`; RPCs in flight may end within the grace
 * period; then they are cancelled, and fail with CANCELLED; then the connections are closed. Connections are never shared with
 * other channels. Takes its part of the `StopBudget` in the context, and registers with the `Lifecycle`.
 *
 * Fails with `GrpcCredentialsError` if keys and certificates cannot work.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<GrpcChannel["Service"], GrpcCredentialsError, Scope.Scope> =>
  Effect.gen(function*() {
    const { address, name = `channel ${address}` } = options
    const { callCredentials } = options
    const grpcOptions = channelOptions.make(options)
    if (isPlaintext(options) && callCredentials !== undefined && callCredentials.overPlaintext !== true) {
      Check.fail(
        "callCredentials",
        Redacted.make(callCredentials),
        "without TLS everyone on the way reads them; see overPlaintext"
      )
    }
    const credentials = yield* ClientCredentials.make(options.credentials ?? insecure, name)
    const authenticate = callCredentials === undefined
      ? undefined
      : yield* ClientCallCredentials.make(callCredentials)
    const inFlight = yield* InFlight.make
    const { client, close, sockets } = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const sockets = ClientSockets.make()
        return { sockets, ...makeClient(options, credentials, grpcOptions, authenticate, sockets) }
      }),
      ({ close, sockets }) =>
        Effect.sync(() => {
          close()
          sockets.destroy()
        })
    )
    const { connect, state, states } = yield* ClientConnectivity.make(client.getChannel(), sockets.enter)
    const drain = Effect.suspend(() => {
      inFlight.close()
      return Effect.andThen(
        inFlight.awaitEmpty,
        Effect.suspend(() => {
          close()
          return Effect.raceFirst(sockets.awaitClosed, Effect.sleep(Duration.millis(lingerMillis)))
        })
      )
    })
    const stop = yield* GracefulStop.make({
      name,
      inFlight,
      drain,
      destroy() {
        close()
        sockets.destroy()
      }
    }, options.stop)
    const kinds = new Map<string, InFlight.Kind>()
    return GrpcChannel.of({
      name,
      address,
      phase: stop.phase,
      state,
      states,
      awaitReady: Effect.flatMap(
        connect,
        (isReady) => isReady ? Effect.void : Effect.fail(unavailable(`${name} was stopped`))
      ),
      inFlight: () => inFlight.running(),
      admit(path) {
        let kind = kinds.get(path)
        if (kind === undefined) kinds.set(path, kind = inFlight.kind(path.slice(1)))
        return kind.admit()
      },
      client,
      enter: sockets.enter,
      stop: Effect.tap(stop.stop, () => Effect.sync(() => sockets.destroy())),
      escalate: stop.escalate
    })
  })

/**
 * A channel as a layer.
 *
 * **Example** (A channel to all replicas of a service)
 *
 * ```ts
 * import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
 *
 * export const Users = GrpcChannel.layer({
 *   address: GrpcChannel.dns("users.internal", 50051),
 *   loadBalancing: "round_robin",
 *   keepalive: { time: "1 minute" },
 *   stop: { grace: "5 seconds" }
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<GrpcChannel, GrpcCredentialsError> =>
  Layer.effect(GrpcChannel, make(options))

/** How long the servers may take to close their side of a connection, before it is destroyed. */
const lingerMillis = 500

const isPlaintext = ({ credentials }: Options): boolean => credentials === undefined || credentials._tag === "Insecure"

const makeClient = (
  options: Options,
  credentials: grpc.ChannelCredentials,
  grpcOptions: grpc.ChannelOptions,
  authenticate: ClientCallCredentials.Authenticate | undefined,
  { enter }: ClientSockets.ClientSockets
) => {
  const channelFactoryOverride = () =>
    ClientChannel.make(options.address, credentials, grpcOptions, options, authenticate)
  const client = enter(() => new grpc.Client(options.address, credentials, { channelFactoryOverride }))
  let isClosed = false
  return {
    client,
    close() {
      if (isClosed) return
      isClosed = true
      enter(() => client.close())
    }
  }
}
