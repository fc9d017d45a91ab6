/** What a request asks to be answered with: a payload of a size, or a status. */
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type {
  EchoStatus,
  ResponseParameters,
  SimpleRequest,
  StreamingOutputCallRequest
} from "./gen/grpc/testing/messages_pb.ts"

type Answer<A> = Effect.Effect<A, GrpcError.GrpcError>

interface Payload {
  readonly payload: { readonly body: Uint8Array<ArrayBuffer> }
}

/** The largest payload that it makes, in bytes. */
const maxSize = 64 * 1024 * 1024

const payload = (size: number): Answer<Payload> =>
  size < 0 || size > maxSize
    ? Effect.fail(GrpcError.invalidArgument(`the size of a payload is from 0 to ${maxSize} bytes, not ${size}`))
    : Effect.sync(() => ({ payload: { body: new Uint8Array(size) } }))

const codeNames = Object.keys(GrpcError.codes) as ReadonlyArray<keyof typeof GrpcError.codes>

/** Fails with the status that the client wants to see. */
const status = (wanted: EchoStatus | undefined): Answer<void> => {
  if (wanted === undefined || wanted.code === GrpcError.codes.OK) return Effect.void
  const code = codeNames.find((name) => GrpcError.codes[name] === wanted.code)
  return Effect.fail(
    code === undefined || code === "OK"
      ? GrpcError.invalidArgument(`${wanted.code} is not the code of a gRPC status`)
      : new GrpcError.GrpcError({ code, message: wanted.message })
  )
}

const part = ({ intervalUs, size }: ResponseParameters): Answer<Payload> =>
  intervalUs > 0 ? Effect.delay(payload(size), Duration.micros(BigInt(intervalUs))) : payload(size)

/** One response. */
export const one = ({ responseSize, responseStatus }: SimpleRequest): Answer<Payload> =>
  Effect.andThen(status(responseStatus), payload(responseSize))

/** As many responses as the request has parameters, each as long after the one before as it says. */
export const many = (
  { responseParameters, responseStatus }: StreamingOutputCallRequest
): Stream.Stream<Payload, GrpcError.GrpcError> =>
  Stream.unwrap(Effect.as(status(responseStatus), Stream.mapEffect(Stream.fromIterable(responseParameters), part)))
