import { create, createFileRegistry, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import {
  type DescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema
} from "@bufbuild/protobuf/wkt"
import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { loadSync } from "@grpc/proto-loader"
import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as GrpcReflection from "@lastcall/grpc/GrpcReflection"
import * as GrpcServer from "@lastcall/grpc/GrpcServer"
import * as GrpcService from "@lastcall/grpc/GrpcService"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { execFile } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as EchoClient from "./EchoClient.ts"
import * as EchoServer from "./EchoServer.ts"
import { EchoService } from "./gen/lastcall/test/v1/echo_pb.ts"
import * as Sockets from "./Sockets.ts"

const listen = [GrpcListener.tcp({ port: 0, host: "127.0.0.1" })]

/** A file of proto2 with what can be declared, and what it imports: `base` twice, by two ways. */
const message = (
  name: string,
  fields: ReadonlyArray<string> = [],
  more: MessageInitShape<typeof DescriptorProtoSchema> = {}
): MessageInitShape<typeof DescriptorProtoSchema> => ({
  name,
  field: fields.map((typeName, i) => ({
    name: `field${i + 1}`,
    number: i + 1,
    label: Label.OPTIONAL,
    type: Type.MESSAGE,
    typeName
  })),
  ...more
})

const extension = (name: string, number: number) => ({
  name,
  number,
  extendee: ".shapes.Shape",
  label: Label.OPTIONAL,
  type: Type.STRING
})

const shapesSet = create(FileDescriptorSetSchema, {
  file: [
    { name: "base.proto", package: "shapes", syntax: "proto2", messageType: [message("Base")] },
    {
      name: "color.proto",
      package: "shapes",
      syntax: "proto2",
      dependency: ["base.proto"],
      messageType: [message("Color", [".shapes.Base"])]
    },
    {
      name: "shapes.proto",
      package: "shapes",
      syntax: "proto2",
      dependency: ["color.proto", "base.proto"],
      messageType: [
        message("Shape", [".shapes.Color", ".shapes.Base", ".shapes.Shape.Corner"], {
          nestedType: [message("Corner", [], { extension: [extension("nested_extension", 101)] })],
          enumType: [{ name: "Kind", value: [{ name: "ROUND", number: 0 }] }],
          extensionRange: [{ start: 100, end: 200 }]
        })
      ],
      enumType: [{ name: "Unit", value: [{ name: "MILLIMETRE", number: 0 }] }],
      extension: [extension("label", 100)],
      service: [{
        name: "Shapes",
        method: [{ name: "Get", inputType: ".shapes.Base", outputType: ".shapes.Shape" }]
      }]
    }
  ]
})
const moreSet = create(FileDescriptorSetSchema, {
  file: [
    {
      name: "more.proto",
      package: "more",
      syntax: "proto2",
      dependency: ["shapes.proto"],
      extension: [extension("more_label", 150)]
    },
    { name: "copy.proto", package: "shapes", syntax: "proto2", messageType: [message("Base")] }
  ]
})
const shapes = createFileRegistry(shapesSet)

class Shapes extends GrpcService.Service<Shapes>()(shapes.getService("shapes.Shapes")!) {}

const ShapesLive = Shapes.toLayer({ get: () => Effect.succeed({}) })

/** A server with these services besides reflection; where it listens. */
const serve = <const S extends GrpcServer.Services>(
  services: S,
  options?: GrpcReflection.Options
) =>
  Effect.gen(function*() {
    const server = yield* GrpcServer.make("api", { services: [...services, ...GrpcReflection.services], listen }).pipe(
      Effect.provide([GrpcReflection.layer(options), GrpcHealth.layer(), EchoServer.layer(), ShapesLive])
    )
    return { server, target: GrpcListener.target(server.addresses()[0]!) }
  })

interface Answer {
  readonly validHost: string
  readonly originalRequest: {
    readonly host: string
    readonly messageRequest: { readonly case: string; readonly value: unknown }
  }
  readonly messageResponse: { readonly case: string; readonly value: unknown }
}

interface Asking {
  /** Asks, and waits for the answer. */
  readonly ask: (kind: string, value: unknown) => Effect.Effect<Answer["messageResponse"]>
  readonly raw: (request: object) => Effect.Effect<Answer>
  /** The names of the files of the answer. */
  readonly files: (kind: string, value: unknown) => Effect.Effect<ReadonlyArray<string>>
  readonly status: Effect.Effect<number>
}

/** A reflection stream that is open. */
const open = (
  target: string,
  version: typeof GrpcReflection.V1 | typeof GrpcReflection.V1Alpha = GrpcReflection.V1
): Effect.Effect<Asking, never, Scope.Scope> =>
  Effect.gen(function*() {
    const Client = grpc.makeClientConstructor(EchoClient.definitionOf(version.descriptor), "ServerReflection")
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => new Client(target, grpc.credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 })),
      (client) => Effect.sync(() => client.close())
    )
    const call: grpc.ClientDuplexStream<object, Answer> = client["serverReflectionInfo"]!()
    const ended = Deferred.makeUnsafe<number>()
    call.on("error", () => {})
    call.on("status", ({ code }: grpc.StatusObject) => Deferred.doneUnsafe(ended, Effect.succeed(code)))
    yield* Effect.addFinalizer(() => Effect.sync(() => call.cancel()))

    const raw = (request: object) =>
      Effect.callback<Answer>((resume) => {
        call.once("data", (answer: Answer) => resume(Effect.succeed(answer)))
        call.write(request)
      })
    const ask = (kind: string, value: unknown) =>
      Effect.map(raw({ messageRequest: { case: kind, value } }), ({ messageResponse }) => messageResponse)
    return {
      raw,
      ask,
      files: (kind, value) => Effect.map(ask(kind, value), (answer) => files(answer).map(({ name }) => name)),
      status: Deferred.await(ended)
    }
  })

const files = (answer: Answer["messageResponse"]): Array<FileDescriptorProto> => {
  assert.strictEqual(answer.case, "fileDescriptorResponse")
  const { fileDescriptorProto } = answer.value as { readonly fileDescriptorProto: ReadonlyArray<Uint8Array> }
  return fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
}

const names = (answer: Answer["messageResponse"]): ReadonlyArray<string> =>
  (answer.value as { readonly service: ReadonlyArray<{ readonly name: string }> }).service.map(({ name }) => name)

const failure = (answer: Answer["messageResponse"]) => {
  assert.strictEqual(answer.case, "errorResponse")
  return (answer.value as { readonly errorCode: number }).errorCode
}

const withoutStream = (answer: Answer["messageResponse"]): string =>
  JSON.stringify(answer, (key, value: unknown) => key === "$typeName" ? undefined : value)

describe("reflection", () => {
  it.live("lists the services of the server that is asked, itself included, without a list to keep", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([EchoServer.Echo, GrpcHealth.Health])
      const { ask } = yield* open(target)
      assert.deepStrictEqual(names(yield* ask("listServices", "")), [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "lastcall.test.v1.EchoService"
      ])
      const other = yield* serve([Shapes])
      assert.include(names(yield* (yield* open(other.target)).ask("listServices", "")), "shapes.Shapes")
    }))

  it.live("tells of other services than the server's on request", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([EchoServer.Echo, Shapes], { services: [EchoServer.Echo] })
      const { ask } = yield* open(target)
      assert.deepStrictEqual(names(yield* ask("listServices", "")), ["lastcall.test.v1.EchoService"])
      assert.strictEqual(failure(yield* ask("fileContainingSymbol", "shapes.Shapes")), grpc.status.NOT_FOUND)
    }))

  it.live("sends a file by its name, with all that it imports, each once", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([Shapes])
      const first = yield* open(target)
      assert.deepStrictEqual(yield* first.files("fileByFilename", "shapes.proto"), [
        "shapes.proto",
        "color.proto",
        "base.proto"
      ])
      assert.deepStrictEqual(yield* first.files("fileByFilename", "color.proto"), ["color.proto"])
      const second = yield* open(target)
      assert.deepStrictEqual(yield* second.files("fileByFilename", "color.proto"), ["color.proto", "base.proto"])
      assert.deepStrictEqual(yield* second.files("fileByFilename", "shapes.proto"), ["shapes.proto"])
    }))

  it.live("what it sends is the descriptor that the service was made from", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([EchoServer.Echo])
      const { ask } = yield* open(target)
      const answer = yield* ask("fileContainingSymbol", "lastcall.test.v1.EchoService")
      assert.deepStrictEqual(files(answer), [EchoService.file.proto])
    }))

  it.live("finds the file of every kind of symbol", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([Shapes])
      for (
        const symbol of [
          "shapes.Shapes",
          "shapes.Shapes.Get",
          "shapes.Shape",
          "shapes.Shape.field1",
          "shapes.Shape.Corner",
          "shapes.Shape.Kind",
          "shapes.Shape.ROUND",
          "shapes.Unit",
          "shapes.MILLIMETRE",
          "shapes.label",
          "shapes.Shape.Corner.nested_extension"
        ]
      ) {
        const { files } = yield* open(target)
        assert.strictEqual((yield* files("fileContainingSymbol", symbol))[0], "shapes.proto", symbol)
      }
      const { ask, files } = yield* open(target)
      assert.deepStrictEqual(yield* files("fileContainingSymbol", "shapes.Base"), ["base.proto"])
      for (const symbol of ["", "shapes", "Shape", "shapes.Shape.Corner.", "shapes.Shapes.Put"]) {
        assert.strictEqual(failure(yield* ask("fileContainingSymbol", symbol)), grpc.status.NOT_FOUND, symbol)
      }
    }))

  it.live("finds extensions, also those of files that no service imports", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([Shapes], { files: [toBinary(FileDescriptorSetSchema, moreSet)] })
      const { ask, files } = yield* open(target)
      const number = (extensionNumber: number) => ({ containingType: "shapes.Shape", extensionNumber })
      assert.strictEqual((yield* files("fileContainingExtension", number(100)))[0], "shapes.proto")
      assert.strictEqual((yield* files("fileContainingExtension", number(101)))[0], "shapes.proto")
      assert.strictEqual((yield* files("fileContainingExtension", number(150)))[0], "more.proto")
      assert.strictEqual(failure(yield* ask("fileContainingExtension", number(151))), grpc.status.NOT_FOUND)

      assert.deepStrictEqual(yield* files("fileContainingSymbol", "shapes.Base"), ["base.proto"])

      const { case: kind, value } = yield* ask("allExtensionNumbersOfType", "shapes.Shape")
      assert.strictEqual(kind, "allExtensionNumbersResponse")
      const { baseTypeName, extensionNumber } = value as { baseTypeName: string; extensionNumber: Array<number> }
      assert.strictEqual(baseTypeName, "shapes.Shape")
      assert.deepStrictEqual(extensionNumber.toSorted(), [100, 101, 150])
      assert.deepInclude((yield* ask("allExtensionNumbersOfType", "shapes.Base")).value, { extensionNumber: [] })
      for (const type of ["shapes.Unit", "shapes.Nothing"]) {
        assert.strictEqual(failure(yield* ask("allExtensionNumbersOfType", type)), grpc.status.NOT_FOUND)
      }
    }))

  it("files that cannot be read are refused when the layer is made, and the error says which", () => {
    const good = toBinary(FileDescriptorSetSchema, moreSet)
    for (
      const [what, bad] of [
        ["cut off", good.subarray(0, good.length - 1)],
        ["nothing", new Uint8Array(0)],
        ["text", Buffer.from(`syntax = "proto3";`)],
        ["one file, not a set", toBinary(FileDescriptorProtoSchema, moreSet.file[0]!)],
        ["a file without a name", toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [{}] }))]
      ] as const
    ) {
      const make = () => GrpcReflection.layer({ files: [good, EchoService.file, bad] })
      assert.throws(make, GrpcReflection.GrpcReflectionFileError, "files[2] is no FileDescriptorSet", what)
    }
  })

  it.live("answers what it does not know with an error, and goes on", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([EchoServer.Echo])
      const { ask, raw } = yield* open(target)
      assert.strictEqual(failure(yield* ask("fileByFilename", "no.proto")), grpc.status.NOT_FOUND)
      const nothing = yield* raw({ host: "here" })
      assert.strictEqual(failure(nothing.messageResponse), grpc.status.INVALID_ARGUMENT)
      const { originalRequest, validHost } = yield* raw({
        host: "here",
        messageRequest: { case: "listServices", value: "*" }
      })
      assert.strictEqual(validHost, "here")
      assert.strictEqual(originalRequest.host, "here")
      assert.deepInclude(originalRequest.messageRequest, { case: "listServices", value: "*" })
    }))

  it.live("v1alpha tells the same", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([Shapes, EchoServer.Echo])
      const [v1, v1alpha] = [yield* open(target), yield* open(target, GrpcReflection.V1Alpha)]
      const type = { containingType: "shapes.Shape", extensionNumber: 100 }
      for (
        const [kind, value] of [
          ["listServices", ""],
          ["fileByFilename", "shapes.proto"],
          ["fileContainingSymbol", "lastcall.test.v1.SayRequest"],
          ["fileContainingExtension", type],
          ["fileContainingExtension", { ...type, extensionNumber: 1 }],
          ["allExtensionNumbersOfType", "shapes.Shape"]
        ] as const
      ) {
        assert.strictEqual(withoutStream(yield* v1alpha.ask(kind, value)), withoutStream(yield* v1.ask(kind, value)))
      }
      const extension = yield* v1alpha.raw({ messageRequest: { case: "fileContainingExtension", value: type } })
      assert.deepNestedInclude(extension.originalRequest.messageRequest, {
        "value.containingType": "shapes.Shape",
        "value.extensionNumber": 100
      })
    }))

  it.effect("a stream that is open ends with OK when the server drains, and does not hold the stop", () =>
    Effect.gen(function*() {
      const { server, target } = yield* serve([EchoServer.Echo])
      const streams = [yield* open(target), yield* open(target, GrpcReflection.V1Alpha)]
      for (const { ask } of streams) yield* ask("listServices", "")
      // No virtual time passes: the grace period of 10 s never begins to count.
      const report = yield* server.stop
      assert.strictEqual(report.outcome, "graceful")
      assert.deepInclude(report.counts, { admitted: 2, succeeded: 2 })
      for (const { status } of streams) assert.strictEqual(yield* status, grpc.status.OK)
    }))

  it.live("a server without services to tell of lists none", () =>
    Effect.gen(function*() {
      const implementation = yield* GrpcReflection.V1.pipe(Effect.provide(GrpcReflection.layer()))
      const info = implementation.methods[0]!.handler(
        Stream.make({ host: "", messageRequest: { case: "listServices", value: "" } })
      ) as Stream.Stream<Answer>
      const [answer] = yield* Stream.runCollect(info).pipe(Effect.provideContext(Context.empty()))
      assert.deepStrictEqual(names(answer!.messageResponse), [])
    }))
})

describe("reflection on grpc-js services", () => {
  it.live("a definition without descriptors is listed by name; `files` has the rest", () =>
    Effect.gen(function*() {
      const echo = GrpcService.native(EchoClient.definition, {})
      const bare = yield* serve([echo])
      const { ask } = yield* open(bare.target)
      assert.include(names(yield* ask("listServices", "")), EchoService.typeName)
      assert.strictEqual(failure(yield* ask("fileContainingSymbol", EchoService.typeName)), grpc.status.NOT_FOUND)

      const described = yield* serve([echo], { files: [EchoService.file] })
      const { files } = yield* open(described.target)
      assert.deepStrictEqual(yield* files("fileContainingSymbol", EchoService.typeName), [EchoService.file.proto.name])
    }))

  it.live("of proto-loader is described by the files that it carries, with their imports", () =>
    Effect.gen(function*() {
      const { target } = yield* serve([yield* greeter])
      const { ask } = yield* open(target)
      const protos = files(yield* ask("fileContainingSymbol", "greet.v1.Greeter"))
      assert.deepStrictEqual(protos.map(({ name }) => name).toSorted(), [
        "google_protobuf.proto",
        "greet_v1.proto",
        "people_v1.proto"
      ])
      // protobuf-es is strict: it takes no relative names.
      const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: protos.toReversed() }))
      const [words, knownBy] = registry.getMessage("greet.v1.Greeting")!.fields
      assert.strictEqual(words?.message?.typeName, "greet.v1.Greeting.Word")
      assert.strictEqual(knownBy?.fieldKind, "map")
      const maps = [knownBy, words?.message?.fields[1]].map((field) => field?.proto.typeName)
      assert.deepStrictEqual(maps, [".greet.v1.Greeting.KnownByEntry", ".greet.v1.Greeting.Word.MarksEntry"])
    }))
})

describe("reflection on services that proto-loader has loaded apart", () => {
  /** One file for each service: loaded by itself, it has another file of the same name. */
  const apart = (...services: ReadonlyArray<readonly [name: string, type: "Timestamp" | "Duration"]>) =>
    Effect.map(Sockets.directory, (directory) =>
      services.map(([name, type]) => {
        writeFileSync(
          join(directory, `${name}.proto`),
          `syntax = "proto3"; package acme.v1; import "google/protobuf/${type.toLowerCase()}.proto";
           message ${name}Request { google.protobuf.${type} value = 1; }
           service ${name} { rpc Get(${name}Request) returns (${name}Request); }`
        )
        const { [`acme.v1.${name}`]: definition } = loadSync(`${name}.proto`, { includeDirs: [directory] })
        return GrpcService.native(definition as grpc.ServiceDefinition, {})
      }))

  it.live("describes all of them, with all that they import", () =>
    Effect.gen(function*() {
      const { target } = yield* serve(
        yield* apart(["Users", "Timestamp"], ["Orders", "Duration"], ["Items", "Duration"])
      )
      for (const [name, type] of [["Users", "Timestamp"], ["Orders", "Duration"], ["Items", "Duration"]] as const) {
        const { ask } = yield* open(target)
        const protos = files(yield* ask("fileContainingSymbol", `acme.v1.${name}`))
        const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: protos.toReversed() }))
        assert.strictEqual(
          registry.getService(`acme.v1.${name}`)?.method["get"]?.input.typeName,
          `acme.v1.${name}Request`
        )
        const [value] = registry.getMessage(`acme.v1.${name}Request`)!.fields
        assert.strictEqual(value?.message?.typeName, `google.protobuf.${type}`)
      }
      const { ask } = yield* open(target)
      const [file, ...imports] = files(yield* ask("fileByFilename", "acme_v1.proto"))
      assert.deepStrictEqual(file!.messageType.map(({ name }) => name), [
        "UsersRequest",
        "OrdersRequest",
        "ItemsRequest"
      ])
      assert.deepStrictEqual(imports.map(({ name }) => name), ["google_protobuf.proto"])
    }))
})

/** A grpc-js service of two packages and a well-known type, as proto-loader makes it. */
const greeter = Effect.gen(function*() {
  const directory = yield* Sockets.directory
  mkdirSync(join(directory, "people"))
  writeFileSync(
    join(directory, "people/person.proto"),
    `syntax = "proto3"; package people.v1; import "google/protobuf/timestamp.proto";
     message Person { string name = 1; google.protobuf.Timestamp born = 2; }`
  )
  writeFileSync(
    join(directory, "greeter.proto"),
    `syntax = "proto3"; package greet.v1; import "people/person.proto";
     message Greeting {
       message Word { string text = 1; map<string, int32> marks = 2; }
       repeated Word words = 1;
       map<string, Word> known_by = 2;
     }
     service Greeter { rpc Greet(people.v1.Person) returns (Greeting); }`
  )
  const { "greet.v1.Greeter": definition } = loadSync("greeter.proto", { includeDirs: [directory] })
  return GrpcService.native(definition as grpc.ServiceDefinition, {
    Greet: ((call, callback) =>
      callback(null, { words: [{ text: `hello ${call.request.name}` }] })) as grpc.handleUnaryCall<
        { readonly name: string },
        object
      >
  })
})

/** Runs `buf curl` against a server: what it prints. */
const bufCurl = (...args: ReadonlyArray<string>) =>
  Effect.flatMap(Sockets.directory, (directory) =>
    Effect.callback<string>((resume) => {
      execFile(
        join(import.meta.dirname, "../../../node_modules/.bin/buf"),
        ["curl", "--protocol", "grpc", "--http2-prior-knowledge", ...args],
        { env: { ...process.env, HOME: directory, XDG_CACHE_HOME: directory }, timeout: 15_000 },
        (error, stdout, stderr) =>
          resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(`${error.message}\n${stderr}`)))
      )
    }))

describe("buf curl", () => {
  for (const version of ["v1", "v1alpha"]) {
    const protocol = ["--reflect-protocol", `grpc-${version}`]

    it.live(`lists, describes and calls through ${version}`, () =>
      Effect.gen(function*() {
        const { server } = yield* serve([EchoServer.Echo, GrpcHealth.Health, yield* greeter])
        const [address] = server.addresses()
        const url = `http://127.0.0.1:${address?._tag === "Tcp" ? address.port : 0}`
        assert.deepStrictEqual((yield* bufCurl(...protocol, "--list-services", url)).trim().split("\n"), [
          "greet.v1.Greeter",
          "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection",
          "grpc.reflection.v1alpha.ServerReflection",
          "lastcall.test.v1.EchoService"
        ])
        assert.deepStrictEqual((yield* bufCurl(...protocol, "--list-methods", url)).trim().split("\n"), [
          "greet.v1.Greeter/Greet",
          "grpc.health.v1.Health/Check",
          "grpc.health.v1.Health/List",
          "grpc.health.v1.Health/Watch",
          "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
          "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
          "lastcall.test.v1.EchoService/Chat",
          "lastcall.test.v1.EchoService/Count",
          "lastcall.test.v1.EchoService/Say",
          "lastcall.test.v1.EchoService/Sum"
        ])
        const call = (data: string, method: string) =>
          Effect.map(bufCurl(...protocol, "-d", data, `${url}/${method}`), (json): unknown => JSON.parse(json))
        const calls = yield* Effect.all([
          Effect.forkChild(call(`{"text": "hello"}`, "lastcall.test.v1.EchoService/Say")),
          Effect.forkChild(call("{}", "grpc.health.v1.Health/Check")),
          Effect.forkChild(call(`{"name": "Ada", "born": "1815-12-10T00:00:00Z"}`, "greet.v1.Greeter/Greet"))
        ])
        assert.deepStrictEqual(yield* Fiber.joinAll(calls), [
          { text: "hello" },
          { status: "SERVING" },
          { words: [{ text: "hello Ada" }] }
        ])
      }))
  }
})
