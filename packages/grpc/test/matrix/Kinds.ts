/** One RPC of each kind, and its answer. */
import type * as GrpcClient from "@lastcall/grpc/GrpcClient"
import type { GrpcError } from "@lastcall/grpc/GrpcError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { EchoService } from "../gen/lastcall/test/v1/echo_pb.ts"

export type Echo = GrpcClient.Client<typeof EchoService>

type Answer = string | number

export interface Kind {
  readonly name: string
  /** Makes the RPC; `onMessage` hears of each message that comes. */
  readonly run: (
    echo: Echo,
    options?: GrpcClient.CallOptions,
    onMessage?: (message: Answer) => void
  ) => Effect.Effect<ReadonlyArray<Answer>, GrpcError>
  /** The same with requests that never end, where it has a stream of them. */
  readonly runOpen: Kind["run"]
  readonly answer: ReadonlyArray<Answer>
  readonly isResponseStream: boolean
  readonly isRequestStream: boolean
}

const one = <E>(effect: Effect.Effect<Answer, E>, onMessage?: (message: Answer) => void) =>
  Effect.map(effect, (message): ReadonlyArray<Answer> => {
    onMessage?.(message)
    return [message]
  })

const many = <E>(stream: Stream.Stream<Answer, E>, onMessage?: (message: Answer) => void) =>
  Stream.runCollect(Stream.tap(stream, (message) => Effect.sync(() => onMessage?.(message))))

const say: Kind["run"] = (echo, options, onMessage) =>
  one(Effect.map(echo.say({ text: "hällo" }, options), ({ text }) => text), onMessage)

const count: Kind["run"] = (echo, options, onMessage) =>
  many(Stream.map(echo.count({ to: 3 }, options), ({ n }) => n), onMessage)

const sum = (requests: Stream.Stream<{ readonly n: number }>): Kind["run"] => (echo, options, onMessage) =>
  one(Effect.map(echo.sum(requests, options), ({ total }) => total), onMessage)

const chat = (requests: Stream.Stream<{ readonly text: string }>): Kind["run"] => (echo, options, onMessage) =>
  many(Stream.map(echo.chat(requests, options), ({ text }) => text), onMessage)

const numbers = Stream.make({ n: 40 }, { n: 3 }, { n: -1 })
const texts = Stream.make({ text: "a" }, { text: "" }, { text: "☺" })

export const all: ReadonlyArray<Kind> = [
  {
    name: "unary",
    run: say,
    runOpen: say,
    answer: ["hällo"],
    isRequestStream: false,
    isResponseStream: false
  },
  {
    name: "server stream",
    run: count,
    runOpen: count,
    answer: [1, 2, 3],
    isRequestStream: false,
    isResponseStream: true
  },
  {
    name: "client stream",
    run: sum(numbers),
    runOpen: sum(Stream.concat(numbers, Stream.never)),
    answer: [42],
    isRequestStream: true,
    isResponseStream: false
  },
  {
    name: "bidirectional stream",
    run: chat(texts),
    runOpen: chat(Stream.concat(texts, Stream.never)),
    answer: ["a!", "!", "☺!"],
    isRequestStream: true,
    isResponseStream: true
  }
]
