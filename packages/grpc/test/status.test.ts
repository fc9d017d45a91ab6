/** What a client gets of how a handler ended. */
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import * as GrpcErrorDetails from "@lastcall/grpc/GrpcErrorDetails"
import * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Cause from "effect/Cause"
import { shutDown } from "../src/internal/shutDown.ts"
import * as Status from "../src/internal/status.ts"

const trailers = GrpcMetadata.make({ "x-hint": "a" })
const rich = "grpc-status-details-bin"

describe("the status of an error", () => {
  it("has its code and message, and metadata that all such share", () => {
    const status = Status.fromError(GrpcError.notFound("no such book"))
    assert.deepInclude(status, { code: grpc.status.NOT_FOUND, details: "no such book" })
    assert.strictEqual(status.metadata, Status.ok.metadata)
  })

  it("has its trailers, with or without details", () => {
    const plain = GrpcError.withTrailers(GrpcError.notFound(""), trailers)
    assert.deepStrictEqual(Status.fromError(plain).metadata.toJSON(), { "x-hint": ["a"] })
    const { metadata } = Status.fromError(GrpcError.withDetails(plain, []))
    assert.deepStrictEqual(Object.keys(metadata.toJSON()), ["x-hint", rich])
  })

  const sized = (length: number) =>
    Status.fromError(GrpcError.withDetails(GrpcError.aborted(""), [
      GrpcError.detail(GrpcErrorDetails.DebugInfoSchema, { detail: "x".repeat(length) })
    ])).metadata.get(rich)[0] as Buffer | undefined

  it("has details of 8 KiB, and leaves out larger ones", () => {
    const length = 8_192 - (8_000 - 7_900) - sized(7_900)!.length + 8_000
    assert.lengthOf(sized(length)!, 8_192)
    assert.isUndefined(sized(length + 1))
  })
})

describe("the status of a cause", () => {
  const defect = new Error("secret")
  const { interrupt } = Cause
  const both = (...causes: ReadonlyArray<Cause.Cause<unknown>>) =>
    causes.reduce((all, cause) => Cause.combine(all, cause))
  const internal = { code: grpc.status.INTERNAL, details: "internal error" }
  const stopping = { code: grpc.status.UNAVAILABLE, details: "server is shutting down" }
  const broken = new GrpcError.GrpcError({ code: "ABORTED", message: "", details: [1 as never] })

  const cases: ReadonlyArray<readonly [string, Cause.Cause<unknown>, object, boolean]> = [
    ["an error", Cause.fail(GrpcError.aborted("no")), { code: grpc.status.ABORTED, details: "no" }, false],
    ["an error beside a defect", both(Cause.fail(GrpcError.aborted("no")), Cause.die(defect)), {
      code: grpc.status.ABORTED,
      details: "no"
    }, true],
    ["an error of another kind", Cause.fail(new Error("secret")), {
      code: grpc.status.UNKNOWN,
      details: "unknown error"
    }, true],
    ["an error whose details are none", Cause.fail(broken), internal, true],
    ["a defect", Cause.die(defect), internal, true],
    [
      "an interruption",
      interrupt(1),
      { code: grpc.status.CANCELLED, details: "the handler interrupted itself" },
      false
    ],
    ["an interruption beside a defect", both(interrupt(1), Cause.die(defect)), internal, true],
    ["a drain policy that cuts", both(interrupt(1), Cause.die(shutDown)), stopping, false],
    ["nothing", Cause.empty, { code: grpc.status.CANCELLED, details: "the handler interrupted itself" }, false]
  ]
  for (const [what, cause, status, isDefect] of cases) {
    it(`of ${what}`, () => {
      const found = Status.fromCause(cause, false)
      assert.deepInclude(found.status, status)
      assert.strictEqual(found.isDefect, isDefect)
    })
  }

  it("of an interruption during a stop is UNAVAILABLE, and of nothing else", () => {
    assert.deepInclude(Status.fromCause(interrupt(1), true).status, stopping)
    assert.isFalse(Status.fromCause(interrupt(1), true).isDefect)
    assert.isTrue(Status.fromCause(both(interrupt(1), Cause.die(defect)), true).isDefect)
    assert.deepInclude(Status.fromCause(Cause.die(defect), true).status, internal)
    assert.strictEqual(Status.fromCause(Cause.empty, true).status.code, grpc.status.CANCELLED)
  })
})
