import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as GrpcError from "../src/GrpcError.ts"
import { ResponseWindow } from "../src/internal/responseWindow.ts"
import * as EventLoop from "./EventLoop.ts"

const turns = EventLoop.turns(11)

type Chunk = readonly [unknown, ...Array<unknown>]

/** As many responses of a size. */
const responses = (count: number, bytes = 1) =>
  Array.from({ length: count }, () => Buffer.alloc(bytes)) as unknown as Chunk

/** A window on a sink that flushes when it is told to, oldest first. Responses are buffers, or errors to throw. */
const make = () => {
  const sent: Array<Buffer> = []
  const unflushed: Array<() => void> = []
  const window = new ResponseWindow(
    (response) => {
      if (response instanceof Error) throw response
      return response as Buffer
    },
    {
      sendMessage(message, flushed) {
        sent.push(message)
        unflushed.push(flushed)
      }
    }
  )
  const flush = (count: number) => {
    for (const flushed of unflushed.splice(0, count)) flushed()
  }
  return { window, sent, flush, unflushed }
}

const stateOf = (fiber: Fiber.Fiber<void, GrpcError.GrpcError>): unknown => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) return "waits"
  if (Exit.isSuccess(exit)) return "written"
  return Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : Cause.squash(exit.cause)
}

/** Writes, and waits some turns. */
const begin = Effect.fnUntraced(function*(write: Effect.Effect<void, GrpcError.GrpcError>) {
  const fiber = yield* Effect.forkChild(write)
  yield* turns
  return () => stateOf(fiber)
})

describe("the responses of a stream", () => {
  for (
    const [what, count, bytes, kept] of [
      ["256 messages are not flushed, until half of them are", 256, 1, 128],
      ["64 KiB are not flushed, until half of them are", 4, 16 * 1_024, 2],
      ["65 KiB in one message are not flushed, until they are", 1, 65 * 1_024, 0]
    ] as const
  ) {
    it.effect(`wait as long as ${what}`, () =>
      Effect.gen(function*() {
        const { flush, sent, unflushed, window } = make()
        const all = responses(2 * count + 1, bytes)
        const state = yield* begin(window.write(all, 0))
        assert.strictEqual(state(), "waits")
        assert.lengthOf(sent, count)
        flush(count - kept - 1)
        yield* turns
        assert.lengthOf(sent, count)
        flush(1)
        yield* turns
        assert.lengthOf(sent, count + (count - kept))
        assert.lengthOf(unflushed, count)
        while (state() === "waits") {
          flush(count)
          yield* turns
        }
        assert.strictEqual(state(), "written")
        assert.deepStrictEqual(sent, [...all])
      }))
  }

  it.effect("are written without waiting up to the limit, also over several chunks", () =>
    Effect.gen(function*() {
      const { sent, window } = make()
      yield* window.write(responses(100), 0)
      yield* window.write(responses(156), 0)
      assert.lengthOf(sent, 256)
      const state = yield* begin(window.write(responses(1), 0))
      assert.strictEqual(state(), "waits")
    }))

  it.effect("never wait where each is flushed at once", () =>
    Effect.gen(function*() {
      let count = 0
      const window = new ResponseWindow((response) => response as Buffer, {
        sendMessage(_, flushed) {
          count++
          flushed()
        }
      })
      yield* window.write(responses(1_000, 1_000), 0)
      assert.strictEqual(count, 1_000)
    }))

  it.effect("are written from the one that is asked for", () =>
    Effect.gen(function*() {
      const { sent, window } = make()
      const all = [Buffer.from("a"), Buffer.from("b"), Buffer.from("c")] as const
      yield* window.write(all, 1)
      assert.deepStrictEqual(sent.map(String), ["b", "c"])
    }))

  it.effect("wait also where what is unflushed is many messages, and few bytes, and the other way round", () =>
    Effect.gen(function*() {
      const { flush, sent, window } = make()
      // 255 bytes and then all the rest in one message: the messages are at their limit, and the bytes.
      yield* window.write(responses(255), 0)
      yield* window.write(responses(1, 64 * 1_024), 0)
      const state = yield* begin(window.write(responses(1), 0))
      // Few enough messages now, but too many bytes.
      flush(255)
      yield* turns
      assert.strictEqual(state(), "waits")
      flush(1)
      yield* turns
      assert.strictEqual(state(), "written")
      assert.lengthOf(sent, 257)
    }))

  it.effect("are written in order where a chunk is interrupted while it waits, and another follows", () =>
    Effect.gen(function*() {
      const { flush, sent, window } = make()
      yield* window.write(responses(256), 0)
      const fiber = yield* Effect.forkChild(window.write([Buffer.from("lost")], 0))
      yield* turns
      fiber.interruptUnsafe()
      const state = yield* begin(window.write([Buffer.from("kept")], 0))
      flush(256)
      yield* turns
      assert.strictEqual(state(), "written")
      assert.deepStrictEqual(sent.slice(256).map(String), ["kept"])
    }))

  it.effect("go on where all is flushed between looking for room and waiting for it, as the handler's fiber yields there", () =>
    Effect.gen(function*() {
      for (let turnsBefore = 0; turnsBefore < 5; turnsBefore++) {
        for (const [how, end] of [["flush", "written"], ["close", "interrupted"]] as const) {
          const { flush, sent, window } = make()
          const write = Effect.suspend(() => window.write(responses(257), 0))
          // The fewest operations with which a fiber still gets on.
          const fiber = yield* Effect.forkChild(Effect.provideService(write, Scheduler.MaxOpsBeforeYield, 3))
          while (sent.length < 256) yield* EventLoop.turn
          for (let i = 0; i < turnsBefore; i++) yield* EventLoop.turn
          if (how === "flush") flush(256)
          else window.close()
          yield* EventLoop.turns(21)
          assert.strictEqual(stateOf(fiber), end, `${how} after ${turnsBefore} turns`)
        }
      }
    }))
})

describe("a response that cannot be sent", () => {
  it.effect("fails with its GrpcError, after those before it", () =>
    Effect.gen(function*() {
      const { sent, window } = make()
      const error = GrpcError.resourceExhausted("too large")
      const state = yield* begin(window.write([Buffer.from("a"), error, Buffer.from("b")], 0))
      assert.strictEqual(state(), error)
      assert.deepStrictEqual(sent.map(String), ["a"])
    }))

  it.effect("is a defect where what was thrown is none", () =>
    Effect.gen(function*() {
      const { window } = make()
      const defect = new Error("not serializable")
      const exit = yield* Effect.exit(window.write([defect], 0))
      assert.deepStrictEqual(exit, Exit.die(defect))
    }))
})

describe("once nothing more goes out", () => {
  it.effect("a handler that waits is interrupted, also one that does not let itself be", () =>
    Effect.gen(function*() {
      const { sent, window } = make()
      const state = yield* begin(Effect.uninterruptible(window.write(responses(257), 0)))
      assert.strictEqual(state(), "waits")
      window.close()
      yield* turns
      assert.strictEqual(state(), "interrupted")
      assert.lengthOf(sent, 256)
    }))

  it.effect("a handler that writes is interrupted, and nothing is written", () =>
    Effect.gen(function*() {
      const { sent, window } = make()
      window.close()
      const state = yield* begin(window.write(responses(1), 0))
      assert.strictEqual(state(), "interrupted")
      assert.lengthOf(sent, 0)
    }))

  it.effect("a handler that is in the middle of a chunk is interrupted", () =>
    Effect.gen(function*() {
      let count = 0
      const window: ResponseWindow = new ResponseWindow((response) => response as Buffer, {
        sendMessage() {
          if (++count === 2) window.close()
        }
      })
      const state = yield* begin(window.write(responses(5), 0))
      assert.strictEqual(state(), "interrupted")
      assert.strictEqual(count, 2)
    }))
})
