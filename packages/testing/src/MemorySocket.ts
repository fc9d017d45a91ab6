/**
 * Two ends of a connection in memory: what is written to one is read from the other.
 *
 * As with TCP, an end that is destroyed ends what its peer reads, and what its peer writes from then on fails. Bytes arrive in
 * a later turn of the event loop, and nothing takes time, so that with `VirtualTime` or a `TestClock` real HTTP runs in virtual
 * time: give one end to a server, by its `connection` event, and the other to a client, by its `createConnection`.
 *
 * @since 0.1.0
 */
import { Duplex } from "node:stream"

/**
 * One end of a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemorySocket extends Duplex {
  /** How many bytes have been read from the connection. */
  readonly bytesRead: number
  /** How many bytes the other end has got. */
  readonly bytesWritten: number
  /** Ends the connection. As `net.Socket` has it; HTTP/1 clients and servers call it. */
  readonly destroySoon: () => void
  /** These do nothing, as there is no network; HTTP/1 clients and servers call them. */
  readonly setTimeout: () => this
  readonly setNoDelay: () => this
  readonly setKeepAlive: () => this
  readonly ref: () => this
  readonly unref: () => this
}

/**
 * Makes a connection: its two ends.
 *
 * @category constructors
 * @since 0.1.0
 */
export const pair = (): readonly [MemorySocket, MemorySocket] => {
  const one = new End()
  const other = new End()
  one.peer = other
  other.peer = one
  return [one, other]
}

class End extends Duplex implements MemorySocket {
  bytesRead = 0
  bytesWritten = 0
  peer!: End
  private isAtEnd = false
  private wakeWriter: (() => void) | undefined

  constructor() {
    super({ allowHalfOpen: false, autoDestroy: true, decodeStrings: true })
  }

  /**
   * Node's wrapper of streams (`JSStreamSocket`), which HTTP/2 and TLS put around it, throws an assertion where something is
   * written before the end was called back: its native side does that, when the peer has ended too. On a socket the write fails.
   */
  override end(...args: ReadonlyArray<unknown>): this {
    const callback = args.find((arg) => typeof arg === "function")
    const chunk = typeof args[0] === "function" ? undefined : args[0]
    super.end(chunk)
    callback?.()
    return this
  }

  override write(chunk: unknown, ...args: ReadonlyArray<unknown>): boolean {
    const callback = args.find((arg) => typeof arg === "function") as ((error?: Error | null) => void) | undefined
    if (this.writableEnded || this.destroyed) {
      process.nextTick(callback ?? ignore, reset())
      return false
    }
    return super.write(chunk, callback)
  }

  override _read(): void {
    const wake = this.wakeWriter
    this.wakeWriter = undefined
    wake?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    setImmediate(() => {
      if (this.peer.destroyed) return callback(reset())
      this.bytesWritten += chunk.length
      this.peer.receive(chunk, callback)
    })
  }

  override _final(callback: () => void): void {
    setImmediate(() => {
      this.peer.receiveEnd()
      callback()
    })
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    setImmediate(() => this.peer.receiveEnd())
    // Nobody will read any more.
    this._read()
    callback(error)
  }

  private receive(chunk: Buffer, callback: () => void): void {
    if (this.isAtEnd) return callback()
    this.bytesRead += chunk.length
    if (this.push(chunk)) callback()
    else this.wakeWriter = callback
  }

  private receiveEnd(): void {
    if (this.isAtEnd || this.destroyed) return
    this.isAtEnd = true
    this.push(null)
  }

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once("finish", () => this.destroy())
  }

  setTimeout(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

const ignore = (): void => {}

const reset = (): Error => Object.assign(new Error("write ECONNRESET"), { code: "ECONNRESET" })
