/** The clients of a subject: bare grpc-js with its defaults, as in the field. */
import { create, toBinary } from "@bufbuild/protobuf"
import * as grpc from "@grpc/grpc-js"
import * as Http2Frame from "@lastcall/testing/Http2Frame"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { RequestSchema, ScenarioService } from "./gen/lastcall/scenarios/v1/scenarios_pb.ts"
import * as Ground from "./Ground.ts"
import type { Address, Transport } from "./Plan.ts"
import { Failed, inTime } from "./Scenario.ts"
import { definition } from "./subjects/Definition.ts"
import type { Request, Response } from "./subjects/Handlers.ts"

export type Ask = Partial<Request> & { readonly id: string }

/** How an RPC ended: with OK, or not. */
export interface Result {
  readonly code: grpc.status
  readonly details: string
  readonly messages: ReadonlyArray<Response>
}

/** An RPC that runs. */
export interface Rpc {
  readonly result: Effect.Effect<Result, Failed>
  /** Waits until so many messages have come. */
  readonly awaitMessages: (count: number) => Effect.Effect<void, Failed>
  readonly send: (ask: Ask) => Effect.Effect<void>
  /** Ends the request stream. */
  readonly end: Effect.Effect<void>
  readonly cancel: Effect.Effect<void>
  /** Reads no more, or on. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

export interface Client {
  readonly unary: (ask: Ask, options?: grpc.CallOptions) => Effect.Effect<Result, Failed>
  readonly serverStream: (ask: Ask) => Effect.Effect<Rpc>
  readonly clientStream: (first: Ask) => Effect.Effect<Rpc>
  readonly bidi: (first: Ask) => Effect.Effect<Rpc>
  /** Goes away. */
  readonly close: Effect.Effect<void>
}

export const target = (address: Address): string =>
  "path" in address ? `unix:${address.path}` : `127.0.0.1:${address.port}`

const pem = (name: string) => readFileSync(join(Ground.certificates(), name))

const credentials = (transport: Transport): grpc.ChannelCredentials => {
  switch (transport) {
    case "plaintext":
      return grpc.credentials.createInsecure()
    case "tls":
      return grpc.credentials.createSsl(pem("ca.pem"))
    case "mtls":
      return grpc.credentials.createSsl(pem("ca.pem"), pem("key-client.pem"), pem("cert-client.pem"))
  }
}

export const make = (
  at: Address | string,
  options: { readonly transport?: Transport | undefined; readonly channel?: grpc.ChannelOptions | undefined } = {}
): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new grpc.Client(
        typeof at === "string" ? at : target(at),
        credentials(options.transport ?? "plaintext"),
        {
          "grpc.use_local_subchannel_pool": 1,
          "grpc.max_receive_message_length": -1,
          ...(options.transport === undefined || options.transport === "plaintext"
            ? {}
            : { "grpc.ssl_target_name_override": "localhost" }),
          ...options.channel
        }
      )
    ),
    (client) => Effect.sync(() => client.close())
  ).pipe(Effect.map(wrap))

/** What calls of all kinds have, and what some have. */
interface Call {
  cancel(): void
  on(event: "data", listener: (response: Response) => void): unknown
  on(event: "error", listener: () => void): unknown
  on(event: "status", listener: (status: grpc.StatusObject) => void): unknown
  write?(request: Request): boolean
  end?(): unknown
  pause?(): unknown
  resume?(): unknown
}

const wrap = (client: grpc.Client): Client => {
  const open = (begin: (answered: (response: Response | undefined) => void) => Call, first?: Ask): Rpc => {
    const messages: Array<Response> = []
    const waiting = new Set<() => void>()
    const done = Deferred.makeUnsafe<Result>()
    const hear = (response: Response) => {
      messages.push(response)
      for (const look of waiting) look()
    }
    const call = begin((response) => response !== undefined && hear(response))
    call.on("data", hear)
    call.on("error", () => {})
    // of a unary answer grpc-js tells the status first
    call.on(
      "status",
      ({ code, details }: grpc.StatusObject) =>
        setImmediate(() => Deferred.doneUnsafe(done, Effect.succeed({ code, details, messages })))
    )
    const send = (ask: Ask) => call.write!(request(ask))
    if (first !== undefined) send(first)
    return {
      result: inTime(Deferred.await(done), "an RPC was never answered", 30_000),
      awaitMessages: (count) =>
        inTime(
          Effect.callback<void>((resume) => {
            const look = () => {
              if (messages.length < count) return
              waiting.delete(look)
              resume(Effect.void)
            }
            waiting.add(look)
            look()
          }),
          `message ${count} of a stream did not come`
        ),
      send: (ask) => Effect.sync(() => void send(ask)),
      end: Effect.sync(() => void call.end!()),
      cancel: Effect.sync(() => call.cancel()),
      pause: Effect.sync(() => void call.pause!()),
      resume: Effect.sync(() => void call.resume!())
    }
  }
  const { bidi, clientStream, serverStream, unary } = definition
  const { path: unaryPath, requestSerialize: serialize, responseDeserialize: deserialize } = unary
  return {
    unary: (ask, options = {}) =>
      Effect.suspend(() => {
        const rpc = open((answered) =>
          client.makeUnaryRequest(unaryPath, serialize, deserialize, request(ask), options, (_, response) =>
            answered(response))
        )
        return Effect.onInterrupt(rpc.result, () =>
          rpc.cancel)
      }),
    serverStream: (ask) =>
      Effect.sync(() =>
        open(() => client.makeServerStreamRequest(serverStream.path, serialize, deserialize, request(ask)))
      ),
    clientStream: (first) =>
      Effect.sync(() =>
        open(
          (answered) =>
            client.makeClientStreamRequest<Request, Response>(
              clientStream.path,
              serialize,
              deserialize,
              (_, response) => answered(response)
            ),
          first
        )
      ),
    bidi: (first) =>
      Effect.sync(() =>
        open(() => client.makeBidiStreamRequest<Request, Response>(bidi.path, serialize, deserialize), first)
      ),
    close: Effect.sync(() => client.close())
  }
}

const request = (ask: Ask): Request => ({ behaviour: "echo", count: 0, size: 0, ...ask })

/** The paths of the methods, for peers that write their own frames. */
export const path = (method: "Unary" | "ServerStream" | "ClientStream" | "Bidi"): string =>
  `/${ScenarioService.typeName}/${method}`

/** A unary RPC as frames. */
export const frames = (streamId: number, ask: Ask, method: "Unary" | "ServerStream" = "Unary"): Buffer =>
  Buffer.concat([
    Http2Frame.openRpc(streamId, path(method)),
    Http2Frame.message(streamId, toBinary(RequestSchema, create(RequestSchema, request(ask))), true)
  ])

const nameOf = ({ code, details }: Result): string =>
  `${grpc.status[code]}${details === "" ? "" : ` "${details.slice(0, 60)}"`}`

export const expectOk = (what: string, result: Result): Effect.Effect<void, Failed> =>
  result.code === grpc.status.OK ? Effect.void : Effect.fail(new Failed({ how: `${what} got ${nameOf(result)}` }))

export const expectCode = (what: string, result: Result, code: grpc.status): Effect.Effect<void, Failed> =>
  result.code === code ? Effect.void : Effect.fail(new Failed({ how: `${what} got ${nameOf(result)}` }))

/** A force tells clients that they may try again, and why. */
export const expectUnavailable = (what: string, result: Result): Effect.Effect<void, Failed> =>
  Effect.andThen(
    expectCode(what, result, grpc.status.UNAVAILABLE),
    /server/i.test(result.details)
      ? Effect.void
      : Effect.fail(new Failed({ how: `${what} got UNAVAILABLE without a reason of the server: ${result.details}` }))
  )
