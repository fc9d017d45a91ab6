/**
 * One RPC that is served by a grpc-js implementation: admitted and counted, answered `UNAVAILABLE` in a force.
 *
 * What the handler does is seen through an interceptor. Only a handler that returns a promise says when it has ended; any
 * other has ended, for all that can be known, with its call.
 */
import {
  type handleBidiStreamingCall,
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServiceError,
  type UntypedHandleCall,
  type UntypedServiceImplementation
} from "@grpc/grpc-js"
import type { Entry, Outcome } from "@lastcall/core/InFlight"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { sendable } from "./headerFields.ts"
import type { Cut } from "./rpc.ts"
import * as Status from "./status.ts"

/** The status that an error stands for, if it is one: grpc-js's `ServiceError`, or an object like it. */
const statusOf = (error: unknown): Status.Status | undefined => {
  if (typeof error !== "object" || error === null) return undefined
  const { code, details, message, metadata } = error as { readonly [K in keyof ServiceError]?: unknown }
  if (typeof code !== "number" || !Number.isInteger(code) || code <= 0 || code > 16) return undefined
  const text = [details, message].find((text) => typeof text === "string") ?? ""
  const status = Status.make(code, text)
  return isMetadata(metadata) ? { ...status, metadata: sendable(metadata) } : status
}

/** The program may have a grpc-js of its own, with a `Metadata` of its own. */
const isMetadata = (value: unknown): value is Metadata =>
  typeof value === "object" && value !== null && "clone" in value && "toHttp2Headers" in value

/** The RPC whose handler is being called. grpc-js calls it synchronously inside the listener, and passes no link to it. */
let calling: NativeRpc | undefined

export class NativeRpc implements Cut {
  readonly path: string
  private readonly call: ServerInterceptingCallInterface
  private readonly entry: Entry
  private readonly requestStream: boolean
  private readonly responseStream: boolean
  private readonly logDefect: (path: string, cause: Cause.Cause<unknown>) => void
  private pending: Promise<void> | undefined
  private isStarted = false
  private isMessageSent = false
  private isAnswered = false
  private isWireOver = false
  private outcome: Outcome = "failed"

  constructor(
    path: string,
    requestStream: boolean,
    responseStream: boolean,
    call: ServerInterceptingCallInterface,
    entry: Entry,
    logDefect: (path: string, cause: Cause.Cause<unknown>) => void
  ) {
    this.path = path
    this.requestStream = requestStream
    this.responseStream = responseStream
    this.call = call
    this.entry = entry
    this.logDefect = logDefect
  }

  /** The call that grpc-js goes on with. */
  intercept(): ServerInterceptingCall {
    return new ServerInterceptingCall(this.call, {
      start: (next) => {
        next({
          onReceiveMetadata: (metadata: Metadata, next) => {
            this.isStarted = true
            this.calling(() => next(metadata))
          },
          // As in `Rpc`: a broken upload must not look like a whole one. A single request calls its handler here.
          onReceiveHalfClose: (next) => {
            if (!this.requestStream) return this.calling(next)
            // grpc-js drops it if the call is over by then.
            setImmediate(next)
          },
          onCancel: () => this.wireOver()
        })
        // A call that died before it was started has no listener: nothing will be heard of it.
        if (!this.isStarted) this.wireOver()
      },
      sendMetadata: (metadata, next) => next(isMetadata(metadata) ? sendable(metadata) : metadata),
      sendMessage: (message, next) => {
        // grpc-js would write after the end of the stream.
        if (this.isAnswered) return
        this.isMessageSent = true
        next(message)
      },
      sendStatus: (status, next) => {
        if (this.isAnswered) return
        this.isAnswered = true
        this.outcome = status.code === Status.ok.code ? "succeeded" : "failed"
        const { details, metadata } = status
        next({
          ...status,
          ...(typeof details === "string" ? { details: Status.clean(details) } : {}),
          ...(isMetadata(metadata) ? { metadata: sendable(metadata) } : {})
        })
      }
    })
  }

  private calling(next: () => void): void {
    calling = this
    try {
      next()
    } finally {
      calling = undefined
    }
  }

  private wireOver(): void {
    this.isWireOver = true
    if (this.pending === undefined) this.entry.end(this.outcome)
  }

  /** The handler returned a promise: it has ended when that is settled. */
  awaitPromise(promise: PromiseLike<unknown>): void {
    const settled = () => {
      this.pending = undefined
      if (this.isWireOver) this.entry.end(this.outcome)
    }
    this.pending = Promise.resolve(promise).then(settled, (error: unknown) => {
      this.rejected(error)
      settled()
    })
  }

  /** Whether the client has its answer, or it is on its way: that of a unary response is once its message is sent. */
  private get isDecided(): boolean {
    return this.isAnswered || this.isWireOver || (this.isMessageSent && !this.responseStream)
  }

  /** grpc-js would leave the rejection to Node, which ends the process. */
  private rejected(error: unknown): void {
    // Reading from a call that is over rejects (ERR_STREAM_PREMATURE_CLOSE): nobody is there to be told.
    if (this.isAnswered || this.isWireOver) return
    const status = statusOf(error)
    if (status === undefined) this.logDefect(this.path, Cause.die(error))
    if (this.isDecided) return
    this.isAnswered = true
    this.call.sendStatus(status ?? Status.internalError)
  }

  interrupt(): void {
    if (this.isDecided) return
    this.isAnswered = true
    this.outcome = "interrupted"
    this.call.sendStatus(Status.shuttingDown)
  }

  readonly awaitHandler: Effect.Effect<unknown> = Effect.suspend(() => {
    const { pending } = this
    return pending === undefined ? Effect.void : Effect.promise(() => pending)
  })

  answer(): void {}

  destroyed(): void {
    if (this.pending === undefined) this.entry.end("destroyed")
  }
}

/** The implementation with each handler watched for a promise; `this` stays the implementation. */
export const watch = (implementation: UntypedServiceImplementation): UntypedServiceImplementation => {
  const watched: UntypedServiceImplementation = {}
  // A class instance has its methods on the prototype.
  for (const name of methodNames(implementation)) {
    const handle = implementation[name]
    if (typeof handle !== "function") continue
    // All four kinds have the shape (call, callback?); the widest stands for them.
    const run = handle as unknown as (this: unknown, call: unknown, callback: unknown) => unknown
    const watching = (call: unknown, callback: unknown): void => {
      const rpc = calling
      const result = run.call(implementation, call, callback)
      if (isPromiseLike(result)) rpc?.awaitPromise(result)
    }
    watched[name] = watching as handleBidiStreamingCall<unknown, unknown> as UntypedHandleCall
  }
  return watched
}

const methodNames = (implementation: UntypedServiceImplementation): ReadonlySet<string> => {
  const names = new Set<string>()
  for (let o: object | null = implementation; o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
    for (const name of Object.getOwnPropertyNames(o)) if (name !== "constructor") names.add(name)
  }
  return names
}

const isPromiseLike = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
