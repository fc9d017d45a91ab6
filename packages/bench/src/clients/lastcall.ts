/** Lastcall's client, as a program uses it. */
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcClient from "@lastcall/grpc/GrpcClient"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { Connect } from "../ClientSpec.ts"
import * as Counted from "../servers/Counted.ts"
import * as Definition from "../servers/Definition.ts"
import { expectCount, expectEcho, lanes, request, trace } from "./Messages.ts"

export const connect: Connect = async ({ method, port, streamSize, traceparent }) => {
  const scope = await Effect.runPromise(Scope.make())
  const client = await Effect.runPromise(
    GrpcClient.make(Definition.make()).pipe(
      Effect.provideServiceEffect(GrpcChannel.GrpcChannel, GrpcChannel.make({ address: `127.0.0.1:${port}` })),
      Scope.provide(scope)
    )
  )
  const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
    (traceparent ? Effect.withParentSpan(effect, Tracer.externalSpan({ ...trace, sampled: true })) : effect).pipe(
      Effect.provide(Logger.layer([])),
      Effect.runPromise
    )

  const unary = (millis: number): Promise<number> => {
    const until = performance.now() + millis
    let calls = 0
    const lane = Effect.whileLoop({
      while: () => calls === 0 || performance.now() < until,
      body: () => client.unary(request),
      step(answer) {
        expectEcho(answer as Buffer)
        calls++
      }
    })
    const all = Effect.all(Array<typeof lane>(lanes).fill(lane), { concurrency: "unbounded", discard: true })
    return run(Effect.map(all, () => calls))
  }
  const serverStream = (millis: number): Promise<number> => {
    const until = performance.now() + millis
    let messages = 0
    const count = Stream.runFold(
      client.serverStream(Counted.identity.make(streamSize)),
      () => 0,
      (count) => count + 1
    )
    const streams = Effect.whileLoop({
      while: () => messages === 0 || performance.now() < until,
      body: () => count,
      step(count) {
        expectCount(count, streamSize)
        messages += count
      }
    })
    return run(Effect.map(streams, () => messages))
  }
  return method === "Unary" ? unary : serverStream
}
