/** A `tls.Server` whose key and certificate may be replaced while it serves. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as tls from "node:tls"
import {
  GrpcCredentialsError,
  type KeyPair,
  mutualContextOptions,
  secureContextOptions,
  type Source,
  type Tls
} from "../GrpcCredentials.ts"
import * as CheckedDuration from "./checkedDuration.ts"

/** What Node's timers take. Of 0 a `tls.Server` would make its default of two minutes. */
const toTimer = (duration: Duration.Duration): number =>
  Math.min(Math.max(1, Math.ceil(Duration.toMillis(duration))), CheckedDuration.maxTimerMillis)

const toError = (cause: unknown): GrpcCredentialsError =>
  cause instanceof GrpcCredentialsError
    ? cause
    : new GrpcCredentialsError({ detail: cause instanceof Error ? cause.message : String(cause), cause })

const ofSource = <A extends KeyPair>(
  source: Source<A>,
  contextOptions: (keyPair: A) => tls.SecureContextOptions,
  options: tls.TlsOptions,
  name: string,
  fork: (updates: Effect.Effect<void>) => Fiber.Fiber<void>
): Effect.Effect<tls.Server, GrpcCredentialsError> => {
  const create = (keyPair: A) =>
    Effect.try({ try: () => tls.createServer({ ...options, ...contextOptions(keyPair) }), catch: toError })
  if (!Stream.isStream(source)) return create(source as A)

  return Effect.suspend(() => {
    const first = Deferred.makeUnsafe<tls.Server, GrpcCredentialsError>()
    let server: tls.Server | undefined

    const use = Effect.fnUntraced(function*(keyPair: A): Effect.fn.Return<void, GrpcCredentialsError> {
      if (server === undefined) {
        server = yield* create(keyPair)
        server.once("close", () => fiber.interruptUnsafe())
        return yield* Effect.asVoid(Deferred.succeed(first, server))
      }
      const serving = server
      // Throws before anything is replaced.
      yield* Effect.try({ try: () => serving.setSecureContext(contextOptions(keyPair)), catch: toError }).pipe(
        Effect.andThen(Effect.logInfo(`${name}: new credentials are in use`)),
        Effect.catch((error) => Effect.logError(`${name}: the old credentials stay in use`, error))
      )
    })

    const over = (exit: Exit.Exit<void, unknown>): Effect.Effect<void> => {
      const error = Exit.isFailure(exit)
        ? toError(Cause.squash(exit.cause))
        : new GrpcCredentialsError({ detail: "the stream of credentials ended before its first" })
      if (server === undefined) return Effect.asVoid(Deferred.fail(first, error))
      if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return Effect.void
      return Effect.logError(`${name}: there will be no new credentials, the old ones stay in use`, exit.cause)
    }

    const fiber = fork(
      Stream.runForEach(source as Stream.Stream<A, unknown>, use).pipe(Effect.onExit(over), Effect.exit, Effect.asVoid)
    )
    return Effect.onInterrupt(Deferred.await(first), () => Effect.sync(() => fiber.interruptUnsafe()))
  })
}

/** Waits for the first key pair of a stream; `fork` runs what takes the others. */
export const make = (
  { client, handshakeTimeout }: Tls,
  name: string,
  fork: (updates: Effect.Effect<void>) => Fiber.Fiber<void>
): Effect.Effect<tls.Server, GrpcCredentialsError> => {
  const options: tls.TlsOptions = {
    ALPNProtocols: ["h2"],
    noDelay: true,
    handshakeTimeout: toTimer(handshakeTimeout)
  }
  return client._tag === "AnyClient"
    ? ofSource(client.source, secureContextOptions, options, name, fork)
    : ofSource(
      client.source,
      mutualContextOptions,
      { ...options, requestCert: true, rejectUnauthorized: true },
      name,
      fork
    )
}
