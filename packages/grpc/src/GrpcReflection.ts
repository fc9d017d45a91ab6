/**
 * Server reflection, `grpc.reflection.v1` and `v1alpha`: clients ask a server what it serves. `buf curl`, `grpcurl`,
 * Postman and the like list, describe and call its methods without the `.proto` files.
 *
 * What is told comes from the descriptors of the services themselves:
 *
 * - protobuf-es (`GenService`): the file of the service and all that it imports.
 * - proto-loader: the files that it puts into its definitions, one for each package.
 * - ts-proto and grpc-tools definitions carry no descriptors: their services are listed, and asking for more is `NOT_FOUND`
 *   unless `files` has them.
 *
 * A reflection stream ends with OK when the server drains, so that it never holds a stop.
 *
 * @since 0.1.0
 */
import type { DescFile } from "@bufbuild/protobuf"
import type { Key } from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { ServerReflection as ServerReflectionV1 } from "./gen/grpc/reflection/v1/reflection_pb.ts"
import { ServerReflection as ServerReflectionV1Alpha } from "./gen/grpc/reflection/v1alpha/reflection_pb.ts"
import { codes } from "./GrpcError.ts"
import * as GrpcService from "./GrpcService.ts"
import { type File, type Index, makeIndex, readFiles, withDependencies } from "./internal/reflection.ts"
import { Served } from "./internal/reflectionServed.ts"

/**
 * The service `grpc.reflection.v1.ServerReflection`.
 *
 * @category services
 * @since 0.1.0
 */
export class V1 extends GrpcService.Service<V1>()(ServerReflectionV1, { drain: { serverReflectionInfo: "end" } }) {}

/**
 * The service `grpc.reflection.v1alpha.ServerReflection`, which older clients ask for. It tells the same.
 *
 * @category services
 * @since 0.1.0
 */
export class V1Alpha extends GrpcService.Service<V1Alpha>()(ServerReflectionV1Alpha, {
  drain: { serverReflectionInfo: "end" }
}) {}

/**
 * Both versions, for the `services` of a server.
 *
 * @category services
 * @since 0.1.0
 */
export const services: readonly [typeof V1, typeof V1Alpha] = [V1, V1Alpha]

/**
 * The options of reflection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The services that are told of. Default: all of the server that is asked, reflection included. */
  readonly services?: ReadonlyArray<Key<unknown, GrpcService.Implementation> | GrpcService.Native> | undefined
  /**
   * Files that the services do not carry or import: extensions, or the descriptors of a service that carries none. A
   * protobuf-es file, or a serialized `google.protobuf.FileDescriptorSet` as `buf build -o` and `protoc -o` write it. One that
   * cannot be read is thrown as a `GrpcReflectionFileError` where the layer is made.
   */
  readonly files?: ReadonlyArray<DescFile | Uint8Array> | undefined
}

/**
 * Bytes among `files` that are no `FileDescriptorSet`; `index` says which of them. Thrown where the layer is made.
 *
 * @category errors
 * @since 0.1.0
 */
export { GrpcReflectionFileError } from "./internal/reflection.ts"

/**
 * Reflection for the servers that have {@link services}; each tells of its own.
 *
 * **Example** (A server that can be explored with `buf curl`)
 *
 * ```ts
 * import * as GrpcHealth from "@lastcall/grpc/GrpcHealth"
 * import * as GrpcListener from "@lastcall/grpc/GrpcListener"
 * import * as GrpcReflection from "@lastcall/grpc/GrpcReflection"
 * import * as GrpcServer from "@lastcall/grpc/GrpcServer"
 * import * as Layer from "effect/Layer"
 *
 * export const Api = GrpcServer.layer("api", {
 *   services: [GrpcHealth.Health, ...GrpcReflection.services],
 *   listen: [GrpcListener.tcp({ port: 50051 })]
 * }).pipe(Layer.provide([GrpcHealth.layer(), GrpcReflection.layer()]))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<V1 | V1Alpha> => {
  const files = readFiles(options.files ?? [])
  const indexes = new WeakMap<object, Index>()

  const index = Effect.map(Served, (served) => {
    const services = options.services ?? served
    const known = indexes.get(services)
    if (known !== undefined) return known
    const index = makeIndex(services, files)
    indexes.set(services, index)
    return index
  })

  const serverReflectionInfo = <E, R>(requests: Stream.Stream<Request, E, R>) =>
    Stream.unwrap(Effect.map(index, (index) => {
      const sent = new Set<string>()
      return Stream.map(requests, ({ host, messageRequest }) => ({
        validHost: host,
        originalRequest: { host, messageRequest },
        messageResponse: answer(index, sent, messageRequest)
      }))
    }))

  return Layer.merge(V1.toLayer({ serverReflectionInfo }), V1Alpha.toLayer({ serverReflectionInfo }))
}

/** A request of either version. */
interface Request {
  readonly host: string
  readonly messageRequest: MessageRequest
}

type MessageRequest =
  | {
    readonly case: "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType" | "listServices"
    readonly value: string
  }
  | {
    readonly case: "fileContainingExtension"
    readonly value: { readonly containingType: string; readonly extensionNumber: number }
  }
  | { readonly case: undefined; readonly value?: undefined }

const answer = (index: Index, sent: Set<string>, request: MessageRequest) => {
  const describe = (file: File | undefined, what: string) =>
    file === undefined
      ? failed("NOT_FOUND", `${what} is unknown`)
      : {
        case: "fileDescriptorResponse" as const,
        value: { fileDescriptorProto: withDependencies(index, file, sent) as Array<Uint8Array> }
      }

  switch (request.case) {
    case "listServices":
      return {
        case: "listServicesResponse" as const,
        value: { service: index.services.map((name) => ({ name })) }
      }
    case "fileByFilename":
      return describe(index.file(request.value), `file ${request.value}`)
    case "fileContainingSymbol":
      return describe(index.symbol(request.value), `symbol ${request.value}`)
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = request.value
      return describe(
        index.extension(containingType, extensionNumber),
        `extension ${extensionNumber} of ${containingType}`
      )
    }
    case "allExtensionNumbersOfType": {
      const extensionNumber = index.extensionNumbers(request.value)
      return extensionNumber === undefined
        ? failed("NOT_FOUND", `message ${request.value} is unknown`)
        : {
          case: "allExtensionNumbersResponse" as const,
          value: { baseTypeName: request.value, extensionNumber: extensionNumber as Array<number> }
        }
    }
    default:
      return failed("INVALID_ARGUMENT", "the request asks for nothing that is known here")
  }
}

const failed = (code: "INVALID_ARGUMENT" | "NOT_FOUND", errorMessage: string) => ({
  case: "errorResponse" as const,
  value: { errorCode: codes[code], errorMessage }
})
