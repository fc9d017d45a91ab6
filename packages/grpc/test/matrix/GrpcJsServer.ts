/** The scripted server on bare grpc-js, as its users write it. */
import * as grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventEmitter } from "node:events"
import { Readable } from "node:stream"
import * as EchoClient from "../EchoClient.ts"
import type { Server } from "./LastcallServer.ts"
import * as Script from "./Script.ts"
import * as Witness from "./Witness.ts"

type Ended = Partial<grpc.StatusObject>

/** What calls of all four kinds have in common. */
type Call = grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerReadableStream<unknown, unknown> | Writable
type Writable = grpc.ServerWritableStream<unknown, unknown> | grpc.ServerDuplexStream<unknown, unknown>

const withTrailers = (trailers: grpc.Metadata, status: Ended): Ended => {
  const metadata = trailers.clone()
  if (status.metadata !== undefined) metadata.merge(status.metadata)
  return { ...status, metadata }
}

const failure = (): Ended => {
  const metadata = new grpc.Metadata()
  metadata.set("grpc-status-details-bin", Script.failureStatus)
  for (const [key, values] of Object.entries(Script.failure.trailers)) {
    for (const value of values) metadata.add(key, value)
  }
  return { code: Script.failure.code, details: Script.failure.message, metadata }
}

const status = (code: number): Ended => ({ code, details: Script.statusMessage })

const startsWith = (prefix: string, metadata: grpc.Metadata): grpc.Metadata => {
  const found = new grpc.Metadata()
  for (const key of Object.keys(metadata.getMap()).filter((key) => key.startsWith(prefix))) {
    for (const value of metadata.get(key)) found.add(key, value)
  }
  return found
}

const begin = (witness: Witness.Witness, call: Call) => {
  const text = (key: string) => call.metadata.get(key)[0]?.toString()
  const attempt = witness.begin(text(Script.idKey), {
    deadline: Number(call.getDeadline()),
    commonName: call.getAuthContext().sslPeerCertificate?.subject.CN as string | undefined,
    userAgent: text("user-agent"),
    authority: call.getHost()
  })
  let isAnswered = false
  // It comes after an answer as well.
  const emitter: EventEmitter = call
  emitter.on("cancelled", () => attempt.end(!isAnswered))
  const headers = startsWith(Script.headerPrefix, call.metadata)
  if (Object.keys(headers.getMap()).length > 0) call.sendMetadata(headers)
  return {
    act: (text(Script.actKey) ?? "answer") as Script.Act,
    code: Number(text(Script.codeKey)),
    isUp: attempt.number > Number(text(Script.timesKey)),
    trailers: startsWith(Script.trailerPrefix, call.metadata),
    answered() {
      isAnswered = true
    }
  }
}

/** An answer of one message. */
const one = <A>(
  witness: Witness.Witness,
  call: Call,
  callback: grpc.sendUnaryData<A>,
  early: A,
  answer: (done: (message: A) => void) => void
): void => {
  const { act, answered, code, isUp, trailers } = begin(witness, call)
  const fail = (status: Ended): void => {
    answered()
    callback(withTrailers(trailers, status))
  }
  const succeed = (message: A): void => {
    answered()
    callback(null, message, trailers)
  }
  switch (act) {
    case "answer":
      return answer(succeed)
    case "flaky":
      return isUp ? answer(succeed) : fail(status(14))
    case "stall":
      return isUp ? answer(succeed) : undefined
    case "early":
      return succeed(early)
    case "fail":
    case "fail late":
      return fail(failure())
    case "status":
      return fail(status(code))
    case "hang":
      return
  }
}

/** An answer of many messages; `answer` ends the call. */
const many = (
  witness: Witness.Witness,
  call: Writable,
  early: unknown,
  answer: (end: () => void) => void
): void => {
  const { act, answered, code, isUp, trailers } = begin(witness, call)
  const fail = (status: Ended): void => {
    answered()
    call.emit("error", withTrailers(trailers, status))
  }
  const end = (): void => {
    answered()
    call.end(trailers)
  }
  switch (act) {
    case "answer":
      return answer(end)
    case "flaky":
      return isUp ? answer(end) : fail(status(14))
    case "stall":
      return isUp ? answer(end) : undefined
    case "early":
      call.write(early)
      return end()
    case "fail":
      return fail(failure())
    case "fail late":
      call.write(early)
      call.write(early)
      return fail(failure())
    case "status":
      return fail(status(code))
    case "hang":
      call.write(early)
      return
  }
}

const counting = function*(to: number, padding: number) {
  for (let n = 1; n <= to; n++) yield { n, padding: new Uint8Array(padding) }
}

const implementation = (witness: Witness.Witness): grpc.UntypedServiceImplementation => ({
  say(call: grpc.ServerUnaryCall<{ text: string }, { text: string }>, callback: grpc.sendUnaryData<{ text: string }>) {
    one(witness, call, callback, { text: Script.early.text }, (done) => done({ text: call.request.text }))
  },
  count(call: grpc.ServerWritableStream<{ to: number; padding: number }, unknown>) {
    many(witness, call, { n: 0 }, (end) => {
      const { padding, to } = call.request
      Readable.from(counting(to, padding)).on("end", end).pipe(call, { end: false })
    })
  },
  sum(
    call: grpc.ServerReadableStream<{ n: number }, { total: number }>,
    callback: grpc.sendUnaryData<{ total: number }>
  ) {
    one(witness, call, callback, { total: Script.early.total }, (done) => {
      let total = 0
      call.on("data", ({ n }: { n: number }) => total += n)
      call.on("end", () => done({ total }))
    })
  },
  chat(call: grpc.ServerDuplexStream<{ text: string }, { text: string }>) {
    many(witness, call, { text: Script.early.text }, (end) => {
      call.on("data", ({ text }: { text: string }) => {
        if (call.write({ text: `${text}!` })) return
        call.pause()
        call.once("drain", () => call.resume())
      })
      call.on("end", end)
    })
  }
})

/** At `address`, in grpc-js's words: `127.0.0.1:0` or `unix:/path`. */
export const make = (
  address: string,
  credentials: grpc.ServerCredentials
): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const witness = Witness.make()
    const { port } = yield* Effect.acquireRelease(
      Effect.callback<{ readonly server: grpc.Server; readonly port: number }>((resume) => {
        const server = new grpc.Server()
        server.addService(EchoClient.definition, implementation(witness))
        server.bindAsync(address, credentials, (error, port) =>
          resume(error === null ? Effect.succeed({ server, port }) : Effect.die(error)))
      }),
      ({ server }) =>
        Effect.sync(() =>
          server.forceShutdown()
        )
    )
    return { target: address.startsWith("unix:") ? address : `127.0.0.1:${port}`, witness }
  })
