/** The credentials of a channel, as grpc-js takes them; those from a stream are replaced while the channel is used. */
import * as grpc from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as tls from "node:tls"
import type { Credentials, Identity, Trust } from "../GrpcChannel.ts"
import { clientContextOptions, GrpcCredentialsError } from "../GrpcCredentials.ts"
import * as GrpcPeer from "../GrpcPeer.ts"

type Material = Trust & Partial<Identity>

/** What of it grpc-js is given; without authorities it uses those that Node trusts. */
interface Checked {
  readonly ca: Buffer | undefined
  readonly keyPair: { readonly privateKey: Buffer; readonly certificate: Buffer } | undefined
}

const toError = (cause: unknown): GrpcCredentialsError =>
  cause instanceof GrpcCredentialsError
    ? cause
    : new GrpcCredentialsError({ detail: cause instanceof Error ? cause.message : String(cause), cause })

const check = (material: Material): Effect.Effect<Checked, GrpcCredentialsError> =>
  Effect.try({
    try: () => {
      const { ca, cert, key } = clientContextOptions(material)
      // Throws where key and certificate are no pair.
      tls.createSecureContext({ ca, cert, key })
      return {
        ca: ca === undefined ? undefined : Buffer.from(ca),
        keyPair: key === undefined || cert === undefined
          ? undefined
          : { privateKey: Buffer.from(key), certificate: Buffer.from(cert) }
      }
    },
    catch: toError
  })

/** Waits for the first of a stream. */
export const make = (
  credentials: Credentials,
  name: string
): Effect.Effect<grpc.ChannelCredentials, GrpcCredentialsError, Scope.Scope> => {
  if (credentials._tag === "Insecure") return Effect.sync(() => grpc.credentials.createInsecure())
  const { allow, source } = credentials
  const verify = allow === undefined ? {} : { checkServerIdentity: identityCheck(allow) }
  if (Stream.isStream(source)) return replaceable(source as Stream.Stream<Material, unknown>, verify, name)
  return Effect.map(
    check(source as Material),
    ({ ca, keyPair }) => grpc.credentials.createSsl(ca, keyPair?.privateKey, keyPair?.certificate, verify)
  )
}

/** In the place of Node's check of the host's name. */
const identityCheck = (allow: (peer: GrpcPeer.GrpcPeer) => boolean) => (_: string, { raw }: tls.PeerCertificate) => {
  try {
    const peer = GrpcPeer.fromCertificate(raw)
    return allow(peer) ? undefined : new Error(`${GrpcPeer.describe(peer)} is not allowed`)
  } catch (error) {
    return error as Error
  }
}

const replaceable = (
  source: Stream.Stream<Material, unknown>,
  verify: grpc.VerifyOptions,
  name: string
): Effect.Effect<grpc.ChannelCredentials, GrpcCredentialsError, Scope.Scope> =>
  Effect.gen(function*() {
    const first = Deferred.makeUnsafe<Provider, GrpcCredentialsError>()
    let provider: Provider | undefined

    const use = (material: Material): Effect.Effect<void, GrpcCredentialsError> =>
      Effect.flatMap(check(material), (checked) => {
        if (provider === undefined) {
          provider = makeProvider(checked)
          return Effect.asVoid(Deferred.succeed(first, provider))
        }
        if ((checked.keyPair === undefined) !== (provider.keyPair === undefined)) {
          return Effect.fail(new GrpcCredentialsError({ detail: "a key pair comes from the first on, or never" }))
        }
        provider.replace(checked)
        return Effect.logInfo(`${name}: new credentials are in use`)
      })

    const useOrKeep = (material: Material): Effect.Effect<void, GrpcCredentialsError> =>
      provider === undefined
        ? use(material)
        : Effect.catch(use(material), (error) => Effect.logError(`${name}: the old credentials stay in use`, error))

    const over = (exit: Exit.Exit<void, unknown>): Effect.Effect<void> => {
      const error = Exit.isFailure(exit)
        ? toError(Cause.squash(exit.cause))
        : new GrpcCredentialsError({ detail: "the stream of credentials ended before its first" })
      if (provider === undefined) return Effect.asVoid(Deferred.fail(first, error))
      if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return Effect.void
      return Effect.logError(`${name}: there will be no new credentials, the old ones stay in use`, exit.cause)
    }

    yield* Effect.forkScoped(
      Stream.runForEach(source, (material) => Effect.suspend(() => useOrKeep(material))).pipe(
        Effect.onExit(over),
        Effect.exit
      )
    )
    const { certificates, keyPair } = yield* Deferred.await(first)
    return grpc.experimental.createCertificateProviderChannelCredentials(
      certificates,
      keyPair === undefined ? null : certificates,
      verify
    )
  })

interface Provider {
  readonly certificates: grpc.experimental.CertificateProvider
  readonly keyPair: Checked["keyPair"]
  /** In one step: no handshake takes the key of one with the certificate of the other. */
  replace(next: Checked): void
}

/** grpc-js takes what its listeners were told last when it begins a handshake. */
const makeProvider = (first: Checked): Provider => {
  const authorities = new Set<grpc.experimental.CaCertificateUpdateListener>()
  const identities = new Set<grpc.experimental.IdentityCertificateUpdateListener>()
  let current = updates(first)
  return {
    keyPair: first.keyPair,
    replace(next) {
      current = updates(next)
      for (const listener of authorities) listener(current.ca)
      for (const listener of identities) listener(current.identity)
    },
    certificates: {
      addCaCertificateListener(listener) {
        authorities.add(listener)
        listener(current.ca)
      },
      removeCaCertificateListener: (listener) => void authorities.delete(listener),
      addIdentityCertificateListener(listener) {
        identities.add(listener)
        listener(current.identity)
      },
      removeIdentityCertificateListener: (listener) => void identities.delete(listener)
    }
  }
}

const updates = ({ ca, keyPair }: Checked) => ({
  // grpc-js knows no "those that Node trusts" here.
  ca: { caCertificate: ca ?? Buffer.from(tls.getCACertificates("default").join("\n")) },
  identity: keyPair ?? null
})
