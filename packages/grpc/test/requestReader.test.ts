import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import type * as GrpcError from "../src/GrpcError.ts"
import { RequestReader } from "../src/internal/requestReader.ts"
import * as EventLoop from "./EventLoop.ts"

const turns = EventLoop.turns(11)

const unreadable = Buffer.from("unreadable")

/** A reader of texts, and how often it has asked its source for one. */
const make = Effect.fnUntraced(function*() {
  const source = {
    reads: 0,
    startRead() {
      this.reads++
    }
  }
  const reader = new RequestReader(source, (message) => {
    if (message === unreadable) throw new Error("not a text")
    return message.toString()
  })
  const pull = yield* Stream.toPull(reader.stream())
  const receive = (...texts: ReadonlyArray<string>) => {
    for (const text of texts) reader.receive(Buffer.from(text))
  }
  return { source, reader, pull, receive }
})

type Requests = Pull.Pull<ReadonlyArray<unknown>, GrpcError.GrpcError>

/** Begins to pull and waits; `now` is what it has come to. */
const begin = Effect.fnUntraced(function*(pull: Requests) {
  const fiber = yield* Effect.forkChild(pull)
  yield* turns
  assert.isUndefined(fiber.pollUnsafe())
  return { fiber, now: () => outcome(fiber.pollUnsafe()) }
})

/** What a pull has come to within some turns: a chunk, or how it ended. */
const attempt = Effect.fnUntraced(function*(pull: Requests) {
  const fiber = yield* Effect.forkChild(pull)
  yield* turns
  return outcome(fiber.pollUnsafe())
})

const outcome = (exit: Exit.Exit<ReadonlyArray<unknown>, unknown> | undefined): unknown => {
  if (exit === undefined) return "waits"
  if (Exit.isSuccess(exit)) return exit.value
  const [reason] = exit.cause.reasons
  if (reason?._tag === "Interrupt") return "interrupted"
  if (reason?._tag !== "Fail") return reason
  return Cause.isDone(reason.error) ? "done" : (reason.error as GrpcError.GrpcError).message
}

describe("the requests of a stream", () => {
  it.effect("that came before the handler pulls are one chunk", () =>
    Effect.gen(function*() {
      const { pull, receive } = yield* make()
      receive("a", "b", "c")
      assert.deepStrictEqual(yield* attempt(pull), ["a", "b", "c"])
      assert.strictEqual(yield* attempt(pull), "waits")
    }))

  it.effect("that come in one turn are one chunk, also for a handler that waits", () =>
    Effect.gen(function*() {
      const { pull, receive } = yield* make()
      for (const round of ["first", "second", "third"]) {
        const { now } = yield* begin(pull)
        receive(`${round} a`, `${round} b`)
        assert.strictEqual(now(), "waits")
        yield* EventLoop.turn
        receive(`${round} c`)
        yield* turns
        assert.deepStrictEqual(now(), [`${round} a`, `${round} b`])
        assert.deepStrictEqual(yield* attempt(pull), [`${round} c`])
      }
    }))

  it.effect("of several RPCs that come in one turn wake all of their handlers", () =>
    Effect.gen(function*() {
      const one = yield* make()
      const other = yield* make()
      for (const text of ["a", "b"]) {
        const first = yield* begin(one.pull)
        const second = yield* begin(other.pull)
        one.receive(text)
        other.receive(text)
        yield* turns
        assert.deepStrictEqual(first.now(), [text])
        assert.deepStrictEqual(second.now(), [text])
      }
    }))

  it.effect("are not lost where a pull is interrupted and the stream is pulled again", () =>
    Effect.gen(function*() {
      const { pull, receive } = yield* make()
      const before = yield* begin(pull)
      yield* Fiber.interrupt(before.fiber)
      receive("a")
      assert.deepStrictEqual(yield* attempt(pull), ["a"])

      const between = yield* begin(pull)
      receive("b")
      yield* Fiber.interrupt(between.fiber)
      assert.deepStrictEqual(yield* attempt(pull), ["b"])
    }))

  it.effect("are taken by the next pull where one was to be woken and is interrupted; a third waits for what comes then", () =>
    Effect.gen(function*() {
      const { pull, receive } = yield* make()
      const first = yield* begin(pull)
      receive("a")
      first.fiber.interruptUnsafe()
      const second = yield* Effect.forkChild(pull, { startImmediately: true })
      const third = yield* Effect.forkChild(pull, { startImmediately: true })
      yield* turns
      assert.deepStrictEqual(outcome(second.pollUnsafe()), ["a"])
      assert.strictEqual(outcome(third.pollUnsafe()), "waits")
      receive("b")
      yield* turns
      assert.deepStrictEqual(outcome(third.pollUnsafe()), ["b"])
    }))
})

describe("what is read ahead", () => {
  /** What the source sends as long as it is asked. */
  const send = ({ reader, source }: Effect.Success<ReturnType<typeof make>>, bytes: number): number => {
    const before = source.reads
    // The last read was asked for, and not answered.
    for (let sent = 0; sent < source.reads - before + 1; sent++) {
      if (sent === 1_000) assert.fail("it reads without end")
      reader.receive(Buffer.alloc(bytes))
    }
    return source.reads - before + 1
  }

  for (
    const [what, bytes, count] of [
      ["64 messages", 1, 64],
      ["64 KiB", 32 * 1_024, 2],
      ["the message that passes 64 KiB", 32 * 1_024 - 1, 3],
      ["a message that is larger", 65 * 1_024, 1]
    ] as const
  ) {
    it.effect(`is ${what} at most, until the handler pulls`, () =>
      Effect.gen(function*() {
        const made = yield* make()
        made.reader.read()
        for (let round = 1; round <= 3; round++) {
          assert.strictEqual(send(made, bytes), count)
          const { reads } = made.source
          yield* turns
          assert.strictEqual(made.source.reads, reads)
          const chunk = yield* attempt(made.pull)
          assert.lengthOf(chunk as ReadonlyArray<unknown>, count)
          assert.strictEqual(made.source.reads, reads + 1)
        }
      }))
  }

  it.effect("is asked for one message at a time", () =>
    Effect.gen(function*() {
      const { pull, reader, receive, source } = yield* make()
      reader.read()
      reader.read()
      yield* begin(pull)
      assert.strictEqual(source.reads, 1)
      receive("a")
      reader.read()
      assert.strictEqual(source.reads, 2)
      yield* turns
      assert.strictEqual(source.reads, 2)
    }))

  it.effect("is no more once the client has sent all, or has gone", () =>
    Effect.gen(function*() {
      for (const how of ["complete", "break"] as const) {
        const { reader, source } = yield* make()
        reader[how]()
        reader.read()
        assert.strictEqual(source.reads, 0)
      }
    }))
})

describe("the end of the requests", () => {
  it.effect("comes after those that were sent, and stays", () =>
    Effect.gen(function*() {
      for (const [how, end] of [["complete", "done"], ["break", "interrupted"]] as const) {
        const { pull, reader, receive } = yield* make()
        receive("a")
        reader[how]()
        assert.deepStrictEqual(yield* attempt(pull), ["a"])
        assert.strictEqual(yield* attempt(pull), end)
        assert.strictEqual(yield* attempt(pull), end)
      }
    }))

  it.effect("is seen by a handler that waits", () =>
    Effect.gen(function*() {
      for (const [how, end] of [["complete", "done"], ["break", "interrupted"]] as const) {
        const { pull, reader } = yield* make()
        const { now } = yield* begin(pull)
        reader[how]()
        yield* turns
        assert.strictEqual(now(), end)
      }
    }))

  it.effect("is seen by a handler that is to be woken, after what it is woken for", () =>
    Effect.gen(function*() {
      for (const [how, end] of [["complete", "done"], ["break", "interrupted"]] as const) {
        const { pull, reader, receive } = yield* make()
        const { now } = yield* begin(pull)
        receive("a")
        reader[how]()
        yield* turns
        assert.deepStrictEqual(now(), ["a"])
        assert.strictEqual(yield* attempt(pull), end)
      }
    }))

  it.effect("is what came first: a broken upload does not become a whole one, nor a whole one broken", () =>
    Effect.gen(function*() {
      const broken = yield* make()
      broken.reader.break()
      broken.reader.complete()
      assert.strictEqual(yield* attempt(broken.pull), "interrupted")
      const whole = yield* make()
      whole.receive("a")
      whole.reader.complete()
      whole.reader.break()
      assert.deepStrictEqual(yield* attempt(whole.pull), ["a"])
      assert.strictEqual(yield* attempt(whole.pull), "done")
    }))

  it.effect("or a request is seen also where the handler's fiber yields between looking for it and waiting", () =>
    Effect.gen(function*() {
      for (let turnsBefore = 0; turnsBefore < 20; turnsBefore++) {
        const ends = [
          ["complete", "done"],
          ["break", "interrupted"],
          ["receive", ["a"]],
          ["unreadable", "the request cannot be read"]
        ] as const
        for (const [how, end] of ends) {
          const { pull, reader, receive } = yield* make()
          // The fewest operations with which a fiber still gets on.
          const fiber = yield* Effect.forkChild(Effect.provideService(pull, Scheduler.MaxOpsBeforeYield, 3))
          for (let i = 0; i < turnsBefore; i++) yield* EventLoop.turn
          if (how === "receive") receive("a")
          else if (how === "unreadable") reader.receive(unreadable)
          else reader[how]()
          yield* EventLoop.turns(41)
          assert.deepStrictEqual(outcome(fiber.pollUnsafe()), end, `${how} after ${turnsBefore} turns`)
        }
      }
    }))
})

describe("a request that cannot be read", () => {
  it.effect("fails the stream after those before it; those after it are dropped", () =>
    Effect.gen(function*() {
      const { pull, reader, receive } = yield* make()
      receive("a", "b")
      reader.receive(unreadable)
      receive("c")
      reader.complete()
      assert.deepStrictEqual(yield* attempt(pull), ["a", "b"])
      assert.strictEqual(yield* attempt(pull), "the request cannot be read")
      assert.strictEqual(yield* attempt(pull), "the request cannot be read")
    }))

  it.effect("fails a handler that waits", () =>
    Effect.gen(function*() {
      const { pull, reader } = yield* make()
      const { now } = yield* begin(pull)
      reader.receive(unreadable)
      yield* turns
      assert.strictEqual(now(), "the request cannot be read")
    }))
})
