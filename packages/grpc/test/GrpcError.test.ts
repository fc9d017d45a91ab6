import { fromBinary } from "@bufbuild/protobuf"
import { anyUnpack } from "@bufbuild/protobuf/wkt"
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import { StatusSchema } from "../src/gen/google/rpc/status_pb.ts"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"

const failure = (error: GrpcError.GrpcError) =>
  Effect.gen(function*() {
    const server = yield* EchoServer.make({ say: () => Effect.fail(error) })
    const client = yield* EchoClient.make(server.target)
    return yield* Effect.callback<grpc.ServiceError>((resume) => {
      client.say({ text: "" }, {}, (error) => resume(Effect.succeed(error!)))
    })
  })

describe("all codes", () => {
  const constructors: { readonly [code in GrpcError.Code]: (message: string) => GrpcError.GrpcError } = {
    CANCELLED: GrpcError.cancelled,
    UNKNOWN: GrpcError.unknown,
    INVALID_ARGUMENT: GrpcError.invalidArgument,
    DEADLINE_EXCEEDED: GrpcError.deadlineExceeded,
    NOT_FOUND: GrpcError.notFound,
    ALREADY_EXISTS: GrpcError.alreadyExists,
    PERMISSION_DENIED: GrpcError.permissionDenied,
    RESOURCE_EXHAUSTED: GrpcError.resourceExhausted,
    FAILED_PRECONDITION: GrpcError.failedPrecondition,
    ABORTED: GrpcError.aborted,
    OUT_OF_RANGE: GrpcError.outOfRange,
    UNIMPLEMENTED: GrpcError.unimplemented,
    INTERNAL: GrpcError.internal,
    UNAVAILABLE: GrpcError.unavailable,
    DATA_LOSS: GrpcError.dataLoss,
    UNAUTHENTICATED: GrpcError.unauthenticated
  }

  it("have grpc-js's numbers, and all 17 are there", () => {
    assert.strictEqual(Object.keys(GrpcError.codes).length, 17)
    for (const [name, code] of Object.entries(GrpcError.codes)) assert.strictEqual(grpc.status[code], name)
  })

  it.live("reach the client with their message", () =>
    Effect.gen(function*() {
      const server = yield* EchoServer.make({
        say: ({ text }) => Effect.fail(constructors[text as GrpcError.Code](`it is ${text}`))
      })
      const client = yield* EchoClient.make(server.target)
      for (const code of Object.keys(constructors) as Array<GrpcError.Code>) {
        const error = yield* Effect.flip(EchoClient.say(client, code))
        assert.deepInclude({ ...error }, { code: GrpcError.codes[code], details: `it is ${code}` })
      }
    }))
})

describe("rich details", () => {
  const error = GrpcError.invalidArgument("the name is empty").pipe(
    GrpcError.withDetails([
      GrpcError.detail(GrpcErrorDetails.BadRequestSchema, {
        fieldViolations: [{ field: "name", description: "empty" }]
      }),
      GrpcError.detail(GrpcErrorDetails.RetryInfoSchema, { retryDelay: { seconds: 3n } })
    ]),
    GrpcError.withDetails([GrpcError.detail(GrpcErrorDetails.ErrorInfoSchema, { reason: "EMPTY", domain: "demo" })]),
    GrpcError.withTrailers(GrpcMetadata.make({ "x-hint": "a" }))
  )

  it("are found again by their type", () => {
    assert.strictEqual(GrpcError.detailsOf(error, GrpcErrorDetails.ErrorInfoSchema)[0]!.reason, "EMPTY")
    assert.strictEqual(GrpcError.detailsOf(error, GrpcErrorDetails.RetryInfoSchema)[0]!.retryDelay!.seconds, 3n)
    assert.deepStrictEqual(GrpcError.detailsOf(error, GrpcErrorDetails.HelpSchema), [])
  })

  it("and trailers are added to an error that keeps all else", () => {
    const cause = new Error("why")
    const info = GrpcError.detail(GrpcErrorDetails.ErrorInfoSchema, { reason: "EMPTY", domain: "demo" })
    const trailers = GrpcMetadata.make({ a: "1" })
    const detailed = GrpcError.aborted("no", cause).pipe(
      GrpcError.withTrailers(trailers),
      GrpcError.withDetails([info])
    )
    assert.deepInclude({ ...detailed }, { code: "ABORTED", trailers, details: [info] })
    assert.strictEqual(detailed.cause, cause)
    assert.strictEqual(detailed.message, "no")
    assert.deepStrictEqual(GrpcError.withTrailers(detailed, GrpcMetadata.empty).details, [info])
  })

  it("a cause, details and trailers are fields of those errors that have them", () => {
    const plain = GrpcError.aborted("no")
    for (const field of ["cause", "details", "trailers"]) assert.isFalse(Object.hasOwn(plain, field), field)
    assert.isFalse(Object.hasOwn(GrpcError.withDetails(plain, []), "trailers"))
    assert.isFalse(Object.hasOwn(GrpcError.withDetails(plain, []), "cause"))
    assert.isFalse(Object.hasOwn(GrpcError.withTrailers(plain, GrpcMetadata.empty), "details"))
  })

  it.live("reach the client as google.rpc.Status, with the trailers beside them", () =>
    Effect.gen(function*() {
      const { code, metadata } = yield* failure(error)
      assert.strictEqual(code, grpc.status.INVALID_ARGUMENT)
      assert.deepStrictEqual(metadata.get("x-hint"), ["a"])
      const status = fromBinary(StatusSchema, metadata.get("grpc-status-details-bin")[0] as Buffer)
      assert.deepInclude(status, { code: grpc.status.INVALID_ARGUMENT, message: "the name is empty" })
      const [badRequest, , info] = status.details
      assert.strictEqual(anyUnpack(badRequest!, GrpcErrorDetails.BadRequestSchema)!.fieldViolations[0]!.field, "name")
      assert.strictEqual(anyUnpack(info!, GrpcErrorDetails.ErrorInfoSchema)!.domain, "demo")
    }))

  it.live("that are larger than a header list can bear are left out: the status arrives", () =>
    Effect.gen(function*() {
      const large = GrpcError.withDetails(GrpcError.aborted("large"), [
        GrpcError.detail(GrpcErrorDetails.DebugInfoSchema, { detail: "x".repeat(100_000) })
      ])
      const { code, details, metadata } = yield* failure(large)
      assert.strictEqual(code, grpc.status.ABORTED)
      assert.strictEqual(details, "large")
      assert.deepStrictEqual(metadata.get("grpc-status-details-bin"), [])
    }))
})

it.live("a message that is long when it is encoded is cut to what headers can bear", () =>
  Effect.gen(function*() {
    const { code, details } = yield* failure(GrpcError.aborted("👋".repeat(5_000)))
    assert.strictEqual(code, grpc.status.ABORTED)
    assert.match(details, /^(👋)+\ufffd?\.\.\.$/u)
    assert.isAtMost(encodeURI(details).length, 6_200)
  }))
