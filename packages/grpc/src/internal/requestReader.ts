/** The requests of an RPC that has a stream of them: read from grpc-js one at a time, handed to the handler in chunks. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import * as GrpcError from "../GrpcError.ts"

/** Requests that are read before the handler asks for them. */
const maxBuffered = 64
const maxBufferedBytes = 64 * 1024

export const requestUnreadable = "the request cannot be read"

interface Source {
  startRead(): void
}

type Requests = Pull.Pull<NonEmptyReadonlyArray<unknown>, GrpcError.GrpcError>

export class RequestReader {
  private readonly source: Source
  private readonly deserialize: (message: Buffer) => unknown

  private requests: Array<unknown> = []
  private bytes = 0
  private isReading = false
  private isComplete = false
  private isBroken = false
  private error: GrpcError.GrpcError | undefined

  private resume: ((requests: Requests) => void) | undefined
  private isWaking = false

  constructor(source: Source, deserialize: (message: Buffer) => unknown) {
    this.source = source
    this.deserialize = deserialize
  }

  read(): void {
    if (this.isReading || this.isComplete || this.isBroken) return
    this.isReading = true
    this.source.startRead()
  }

  receive(message: Buffer): void {
    this.isReading = false
    if (this.error !== undefined) return
    try {
      const request = this.deserialize(message)
      // An empty array that grows has room for seventeen at once.
      if (this.requests.length === 0) this.requests = [request]
      else this.requests.push(request)
      this.bytes += message.byteLength
    } catch {
      this.error = GrpcError.internal(requestUnreadable)
    }
    this.wakeSoon()
    if (this.requests.length < maxBuffered && this.bytes < maxBufferedBytes) this.read()
  }

  /** The client has sent all. */
  complete(): void {
    if (this.isBroken) return
    this.isComplete = true
    this.wake()
  }

  /** Nothing more will come, and what came may not be all. */
  break(): void {
    this.isBroken = true
    this.wake()
  }

  stream(): Stream.Stream<unknown, GrpcError.GrpcError> {
    return Stream.fromPull(Effect.succeed(this.pull))
  }

  /** Looking and waiting are one operation: where the fiber yielded between them, what comes then would wake nobody. */
  private readonly pull: Requests = Effect.callback((resume) => {
    const next = this.next()
    if (next !== undefined) return resume(next)
    // What is there is taken by the fiber itself, when it goes on: one that was interrupted meanwhile takes nothing.
    this.resume = resume
  })

  /** `undefined` as long as there is nothing to say. */
  private next(): Requests | undefined {
    if (this.requests.length > 0) {
      const chunk = this.requests as unknown as NonEmptyReadonlyArray<unknown>
      this.requests = []
      this.bytes = 0
      this.read()
      return Effect.succeed(chunk)
    }
    if (this.error !== undefined) return Effect.fail(this.error)
    if (this.isComplete) return Cause.done()
    if (this.isBroken) return Effect.interrupt
    return undefined
  }

  /** When the event loop has delivered all that is there: a chunk costs the handler as much as a message. */
  private wakeSoon(): void {
    if (this.resume === undefined || this.isWaking) return
    this.isWaking = true
    if (waking.push(this) === 1) setImmediate(wakeAll)
  }

  wake(): void {
    this.isWaking = false
    const resume = this.resume
    this.resume = undefined
    resume?.(this.pull)
  }
}

let waking: Array<RequestReader> = []

const wakeAll = (): void => {
  const readers = waking
  waking = []
  for (const reader of readers) reader.wake()
}
