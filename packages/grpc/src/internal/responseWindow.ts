/** The responses of an RPC that has a stream of them: written to grpc-js as long as it has flushed enough of those before. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { GrpcError } from "../GrpcError.ts"

/** What grpc-js has not flushed: at most as many messages, or as many bytes, whichever is first. */
const maxUnflushed = 256
const maxUnflushedBytes = 64 * 1024

interface Sink {
  sendMessage(message: Buffer, flushed: () => void): void
}

export class ResponseWindow {
  private readonly encode: (response: unknown) => Buffer
  private readonly sink: Sink

  private unflushed = 0
  private unflushedBytes = 0
  private isClosed = false
  private resume: (() => void) | undefined

  /** `encode` throws a `GrpcError` for a response that may not be sent. */
  constructor(encode: (response: unknown) => Buffer, sink: Sink) {
    this.encode = encode
    this.sink = sink
  }

  write(chunk: NonEmptyReadonlyArray<unknown>, from: number): Effect.Effect<void, GrpcError> {
    for (let i = from; i < chunk.length; i++) {
      // There is nobody to write to, also for a handler that does not let itself be interrupted.
      if (this.isClosed) return Effect.interrupt
      if (!this.hasRoom()) {
        return this.whenRoom(Effect.suspend(() => this.write(chunk, i)))
      }
      let message: Buffer
      try {
        message = this.encode(chunk[i])
      } catch (error) {
        return error instanceof GrpcError ? Effect.fail(error) : Effect.die(error)
      }
      const size = message.byteLength
      this.unflushed++
      this.unflushedBytes += size
      this.sink.sendMessage(message, () => this.flushed(size))
    }
    return Effect.void
  }

  private hasRoom(): boolean {
    return this.unflushed < maxUnflushed && this.unflushedBytes < maxUnflushedBytes
  }

  /** Nothing more goes out. */
  close(): void {
    this.isClosed = true
    this.wake()
  }

  private flushed(size: number): void {
    this.unflushed--
    this.unflushedBytes -= size
    if (this.unflushed <= maxUnflushed / 2 && this.unflushedBytes <= maxUnflushedBytes / 2) this.wake()
  }

  private wake(): void {
    const resume = this.resume
    this.resume = undefined
    resume?.()
  }

  private whenRoom(write: Effect.Effect<void, GrpcError>): Effect.Effect<void, GrpcError> {
    return Effect.callback((resume) => {
      // The fiber may have yielded after it looked.
      if (this.isClosed || this.hasRoom()) return resume(write)
      this.resume = () => resume(write)
    })
  }
}
