/** A bare grpc-js client whose messages are bytes: an empty request is an empty message of any type. */
import * as grpc from "@grpc/grpc-js"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

export class StatusError extends Data.TaggedError("StatusError")<{ readonly code: string; readonly message: string }> {}

const toStatusError = ({ code, details }: grpc.ServiceError): StatusError =>
  new StatusError({ code: grpc.status[code], message: details })

const same = (bytes: Buffer): Buffer => bytes

const empty = Buffer.alloc(0)

export const make = (
  target: string,
  credentials: grpc.ChannelCredentials = grpc.credentials.createInsecure()
): Effect.Effect<grpc.Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new grpc.Client(target, credentials, { "grpc.use_local_subchannel_pool": 1 })),
    (client) => Effect.sync(() => client.close())
  )

export const emptyCall = (
  client: grpc.Client,
  headers: Record<string, string> = {}
): Effect.Effect<Buffer, StatusError> =>
  Effect.callback((resume) => {
    const metadata = new grpc.Metadata()
    for (const [key, value] of Object.entries(headers)) metadata.set(key, value)
    const path = "/grpc.testing.TestService/EmptyCall"
    const call = client.makeUnaryRequest(path, same, same, empty, metadata, (error, response) =>
      resume(error === null ? Effect.succeed(response!) : Effect.fail(toStatusError(error))))
    return Effect.sync(() =>
      call.cancel()
    )
  })

const responses = (call: AsyncIterable<Buffer>): Stream.Stream<Buffer, StatusError> =>
  Stream.fromAsyncIterable(call, (cause) => toStatusError(cause as grpc.ServiceError))

/** The health of the whole server: `08 01` is SERVING, `08 02` NOT_SERVING. */
export const watchHealth = (client: grpc.Client): Stream.Stream<string, StatusError> =>
  Stream.suspend(() => responses(client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", same, same, empty)))
    .pipe(
      Stream.map((bytes) => bytes.toString("hex"))
    )

/** What reflection says when it is asked for the services (`3a 00`), as text: their names are in it. */
export const listServices = (client: grpc.Client): Stream.Stream<string, StatusError> =>
  Stream.suspend(() => {
    const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    const call = client.makeBidiStreamRequest(path, same, same)
    call.end(Buffer.from([0x3a, 0x00]))
    return Stream.map(responses(call), (bytes) => bytes.toString())
  })
