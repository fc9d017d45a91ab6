import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcError from "@lastcall/grpc/GrpcError"
import type * as GrpcMetadata from "@lastcall/grpc/GrpcMetadata"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"

const keyPair = { key: "", cert: "" }

describe("credentials", () => {
  it("of TLS take authorities, of mTLS a key pair too: as a value, as a stream, from files", () => {
    expect(GrpcChannel.tls).type.toBeCallableWith()
    expect(GrpcChannel.tls).type.toBeCallableWith({ ca: "" }, { serverName: "a" })
    expect(GrpcChannel.tls).type.toBeCallableWith(Stream.make({ ca: "" }))
    expect(GrpcChannel.tls).type.toBeCallableWith(GrpcCredentials.files({ ca: "" }))
    expect(GrpcChannel.tls).type.not.toBeCallableWith("ca")
    expect(GrpcChannel.mtls).type.toBeCallableWith(keyPair)
    expect(GrpcChannel.mtls).type.toBeCallableWith(Stream.make(keyPair), { allow: () => true })
    expect(GrpcChannel.mtls).type.toBeCallableWith(GrpcCredentials.files({ key: "", cert: "", ca: "" }))
    expect(GrpcChannel.mtls).type.not.toBeCallableWith({ ca: "" })
    expect(GrpcChannel.mtls).type.not.toBeCallableWith({ key: "" })
    expect(GrpcChannel.mtls).type.not.toBeCallableWith(GrpcCredentials.files({ ca: "" }))
  })

  it("of a listener are not those of a channel", () => {
    expect(GrpcCredentials.mtls).type.not.toBeCallableWith(GrpcCredentials.files({ key: "", cert: "", ca: "" }))
  })

  it("of RPCs fail with nothing but GrpcError", () => {
    expect<GrpcChannel.CallCredentials["metadata"]>().type.toBeAssignableFrom(() => Effect.fail(GrpcError.unknown("")))
    expect<GrpcChannel.CallCredentials["metadata"]>().type.not.toBeAssignableFrom(() => Effect.fail("no"))
    expect<GrpcChannel.CallCredentials["metadata"]>().type.not.toBeAssignableFrom(
      (): Effect.Effect<GrpcMetadata.GrpcMetadata, never, "a service"> => Effect.never
    )
  })
})

describe("options", () => {
  it("name policies, codes and algorithms that there are", () => {
    expect(GrpcChannel.layer).type.toBeCallableWith({ address: "a", loadBalancing: "weighted_round_robin" })
    expect(GrpcChannel.layer).type.not.toBeCallableWith({ address: "a", loadBalancing: "ring_hash" })
    expect(GrpcChannel.layer).type.not.toBeCallableWith({ address: "a", compression: "zstd" })
    expect<GrpcChannel.RetryPolicy["codes"]>().type.not.toBeAssignableFrom(["OK"])
    expect<GrpcChannel.MethodOptions>().type.toBeAssignableFrom({
      retry: false as const,
      timeout: "5 seconds" as const
    })
  })

  it("a layer fails with GrpcCredentialsError only", () => {
    expect(GrpcChannel.layer({ address: "a" })).type.toBe<
      Layer.Layer<GrpcChannel.GrpcChannel, GrpcCredentials.GrpcCredentialsError>
    >()
  })
})
