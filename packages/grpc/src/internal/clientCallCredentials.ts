/** Metadata that says who calls, made for each attempt of an RPC by an Effect that ends with it. */
import * as grpc from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { CallCredentials } from "../GrpcChannel.ts"
import type { GrpcError } from "../GrpcError.ts"
import * as GrpcMetadata from "../GrpcMetadata.ts"
import { type Call, override } from "./clientGrpcCall.ts"
import { leave } from "./clientSockets.ts"

/** Starts the Effect of the credentials for an RPC; the function that is returned interrupts it. */
export type Authenticate = (
  path: string,
  serviceUrl: string,
  onExit: (exit: Exit.Exit<GrpcMetadata.GrpcMetadata, GrpcError>) => void
) => () => void

/** The Effects run with the context in which this was called. What is left of them is interrupted when the scope has closed. */
export const make = ({ metadata }: CallCredentials): Effect.Effect<Authenticate, never, Scope.Scope> =>
  Effect.gen(function*() {
    const run = Effect.runForkWith(yield* Effect.context<never>())
    // The scope of the channel takes nothing any more while its RPCs drain.
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    return (path, serviceUrl, onExit) => {
      let fiber: Fiber.Fiber<GrpcMetadata.GrpcMetadata, GrpcError> | undefined
      leave(() => {
        const made = Effect.tapCause(
          Effect.suspend(() => metadata({ path, serviceUrl })),
          (cause) => Cause.hasDies(cause) ? Effect.logError(`the call credentials of ${path} died`, cause) : Effect.void
        )
        fiber = Fiber.runIn(run(made), scope)
        fiber.addObserver(onExit)
      })
      return () => fiber?.interruptUnsafe()
    }
  })

/** The call, which has the credentials before it is sent. */
export const attach = (call: Call, path: string, authenticate: Authenticate): Call => {
  let own: grpc.Metadata | undefined
  let interrupts: Array<() => void> | undefined = []
  call.setCredentials(grpc.credentials.createFromMetadataGenerator(({ service_url }, callback) => {
    // It was over in the turn in which it began; grpc-js opens its stream all the same.
    if (interrupts === undefined) return callback(ended)
    interrupts.push(authenticate(path, service_url, (exit) => {
      if (Exit.isSuccess(exit)) return callback(null, without(exit.value, own))
      callback(toStatus(exit.cause))
    }))
  }))
  return override(call, {
    start(metadata, listener) {
      own = metadata
      call.start(metadata, {
        onReceiveMetadata: (headers) => listener.onReceiveMetadata(headers),
        onReceiveMessage: (message) => listener.onReceiveMessage(message),
        onReceiveStatus(status) {
          interrupts?.forEach((interrupt) => interrupt())
          interrupts = undefined
          listener.onReceiveStatus(status)
        }
      })
    }
  })
}

const ended = Object.assign(new Error("the RPC has ended"), { code: grpc.status.CANCELLED })

/** What an RPC says of itself counts: of two tokens grpc-js would send both. */
const without = (metadata: GrpcMetadata.GrpcMetadata, own: grpc.Metadata | undefined): grpc.Metadata =>
  GrpcMetadata.toGrpcJs({ entries: metadata.entries.filter(([key]) => own === undefined || own.get(key).length === 0) })

/** grpc-js makes a status of an error with a code. */
const toStatus = (cause: Cause.Cause<GrpcError>): Error => {
  const failure = cause.reasons.find(Cause.isFailReason)
  return failure === undefined
    ? Object.assign(new Error(Cause.hasInterruptsOnly(cause) ? "interrupted" : "a defect"), {
      code: Cause.hasInterruptsOnly(cause) ? grpc.status.CANCELLED : grpc.status.INTERNAL
    })
    : Object.assign(new Error(`${failure.error.code} ${failure.error.message}`), {
      code: grpc.status.UNAUTHENTICATED
    })
}
