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
import type * as Scope from "effect/Scope"
import { GrpcCredentialsError, type KeyPair, type Pem } from "./GrpcCredentials.ts"
import type { Code } from "./GrpcError.ts"
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
 * How a channel proves who it is, and whom it believes.
 *
 * @category models
 * @since 0.1.0
 */
export type Credentials = Insecure | Tls

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
 * TLS; with a `keyPair` mTLS.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tls {
  readonly _tag: "Tls"
  readonly ca: Pem | undefined
  readonly keyPair: KeyPair | undefined
  readonly serverName: string | undefined
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
 * The options of a channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * What to dial: a gRPC target such as `dns:///api.internal:50051`, or just `127.0.0.1:50051`. See {@link dns}, {@link ipv4},
   * {@link ipv6}, {@link unix}, and `GrpcListener.target` for a server of this machine.
   */
  readonly address: string
  /** The name in logs and in the report of its stop. Default: `channel` and the address. */
  readonly name?: string | undefined
  /** Default: plaintext. */
  readonly credentials?: Credentials | undefined
  /**
   * `pick_first` uses the first of the addresses that answers, `round_robin` all of them in turn. Default: `pick_first`.
   */
  readonly loadBalancing?: "pick_first" | "round_robin" | undefined
  /** Default: connections are not pinged. */
  readonly keepalive?: Keepalive | undefined
  /** A response message at most, in bytes. A larger one fails its RPC with RESOURCE_EXHAUSTED. Default: 4 MiB. */
  readonly maxReceiveBytes?: number | undefined
  /** A request message at most, in bytes. A larger one fails its RPC with RESOURCE_EXHAUSTED. Default: no limit. */
  readonly maxSendBytes?: number | undefined
  /** Default: only what no server has seen is tried again. */
  readonly retry?: RetryPolicy | undefined
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
 * dialled or for `serverName`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tls = (
  options?: { readonly ca?: Pem | undefined; readonly serverName?: string | undefined }
): Credentials => ({ _tag: "Tls", ca: options?.ca, keyPair: undefined, serverName: options?.serverName })

/**
 * Both sides prove who they are: as {@link tls}, and the client with its own certificate.
 *
 * @category constructors
 * @since 0.1.0
 */
export const mtls = (
  options: KeyPair & { readonly ca?: Pem | undefined; readonly serverName?: string | undefined }
): Credentials => ({
  _tag: "Tls",
  ca: options.ca,
  keyPair: { key: options.key, cert: options.cert },
  serverName: options.serverName
})

/**
 * The address of a host name: each address that it resolves to is one to connect to.
 *
 * @category addresses
 * @since 0.1.0
 */
export const dns = (host: string, port: number): string => channelOptions.dns(host, port)

/**
 * The address of several IPv4 sockets, each as `10.0.0.1:50051`.
 *
 * @category addresses
 * @since 0.1.0
 */
export const ipv4 = (...sockets: readonly [string, ...Array<string>]): string => channelOptions.ip("ipv4", sockets)

/**
 * The address of several IPv6 sockets, each as `[2001:db8::1]:50051`.
 *
 * @category addresses
 * @since 0.1.0
 */
export const ipv6 = (...sockets: readonly [string, ...Array<string>]): string => channelOptions.ip("ipv6", sockets)

/**
 * The address of a Unix socket.
 *
 * @category addresses
 * @since 0.1.0
 */
export const unix = (path: string): string => `unix:${path}`

/**
 * An option of a channel that makes no sense. It is a mistake in the program, so it is thrown (a defect in an Effect).
 *
 * @category errors
 * @since 0.1.0
 */
export { GrpcChannelOptionError } from "./internal/clientOptions.ts"

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
    const credentials = yield* makeCredentials(options.credentials ?? insecure)
    const inFlight = yield* InFlight.make
    const { client, close, sockets } = yield* Effect.acquireRelease(
      Effect.sync(() => makeClient(address, credentials, channelOptions.make(options))),
      ({ close, sockets }) =>
        Effect.sync(() => {
          close()
          sockets.destroy()
          sockets.release()
        })
    )
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
    return GrpcChannel.of({
      name,
      address,
      phase: stop.phase,
      inFlight: () => inFlight.running(),
      admit: (path) => inFlight.kind(path.slice(1)).admit(),
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

const makeClient = (address: string, credentials: grpc.ChannelCredentials, options: grpc.ChannelOptions) => {
  const sockets = ClientSockets.make()
  const client = sockets.enter(() => new grpc.Client(address, credentials, options))
  let isClosed = false
  return {
    client,
    sockets,
    close() {
      if (isClosed) return
      isClosed = true
      client.close()
    }
  }
}

const makeCredentials = (credentials: Credentials): Effect.Effect<grpc.ChannelCredentials, GrpcCredentialsError> => {
  if (credentials._tag === "Insecure") return Effect.succeed(grpc.credentials.createInsecure())
  const { ca, keyPair } = credentials
  return Effect.try({
    try: () =>
      grpc.credentials.createSsl(
        ca === undefined ? null : Buffer.from(ca),
        keyPair === undefined ? null : Buffer.from(keyPair.key),
        keyPair === undefined ? null : Buffer.from(keyPair.cert)
      ),
    catch: (cause) =>
      new GrpcCredentialsError({ detail: cause instanceof Error ? cause.message : String(cause), cause })
  })
}
