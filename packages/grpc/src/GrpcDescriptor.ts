/**
 * The descriptor of a service, as generators make it, and the types that flow from it to handlers and to clients.
 *
 * Either a protobuf-es `GenService`, or a grpc-js `ServiceDefinition` as ts-proto (`outputServices=grpc-js`), grpc-tools and
 * proto-loader make it. Of the latter a server needs one half of the codecs and a client the other.
 *
 * @since 0.1.0
 */
import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf"

/**
 * A service of protobuf-es.
 *
 * @category models
 * @since 0.1.0
 */
export type Protobuf = Omit<DescService, "method"> & { readonly method: Record<string, DescMethod> }

/**
 * A method of a grpc-js `ServiceDefinition`: its place on the wire.
 *
 * @category models
 * @since 0.1.0
 */
export interface MethodDefinition {
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
}

/**
 * A method of a grpc-js `ServiceDefinition`, as far as a server uses it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerMethod extends MethodDefinition {
  readonly requestDeserialize: (bytes: Buffer) => unknown
  readonly responseSerialize: (value: never) => Buffer
}

/**
 * A method of a grpc-js `ServiceDefinition`, as far as a client uses it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientMethod extends MethodDefinition {
  readonly requestSerialize: (value: never) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => unknown
}

/**
 * What a service can be made from.
 *
 * @category models
 * @since 0.1.0
 */
export type Served = Protobuf | { readonly [method: string]: ServerMethod }

/**
 * What a client can be made from.
 *
 * @category models
 * @since 0.1.0
 */
export type Called = Protobuf | { readonly [method: string]: ClientMethod }

/**
 * One method: what goes in and out, and which of them are streams. A `...Init` is what can be made a message of; a definition
 * without the codecs of a side has `never` there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Method {
  readonly request: unknown
  readonly requestInit: unknown
  readonly response: unknown
  readonly responseInit: unknown
  readonly requestStream: boolean
  readonly responseStream: boolean
}

/**
 * The methods of a service, by their names.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Methods<D> = D extends { readonly method: infer M extends Record<string, DescMethod> } ? {
    readonly [K in keyof M]: {
      readonly request: MessageShape<M[K]["input"]>
      readonly requestInit: MessageInitShape<M[K]["input"]>
      readonly response: MessageShape<M[K]["output"]>
      readonly responseInit: MessageInitShape<M[K]["output"]>
      readonly requestStream: M[K]["methodKind"] extends "client_streaming" | "bidi_streaming" ? true : false
      readonly responseStream: M[K]["methodKind"] extends "server_streaming" | "bidi_streaming" ? true : false
    }
  }
  : D extends { readonly [method: string]: MethodDefinition } ? {
      readonly [K in MethodNames<D>]: {
        readonly request: Read<D[K], "requestDeserialize">
        readonly requestInit: Written<D[K], "requestSerialize">
        readonly response: Read<D[K], "responseDeserialize">
        readonly responseInit: Written<D[K], "responseSerialize">
        readonly requestStream: D[K]["requestStream"]
        readonly responseStream: D[K]["responseStream"]
      }
    }
  : never

type Read<M, K extends string> = M extends { readonly [_ in K]: infer F extends (bytes: Buffer) => unknown }
  ? ReturnType<F>
  : never

type Written<M, K extends string> = M extends { readonly [_ in K]: infer F extends (value: never) => Buffer }
  ? Parameters<F>[0]
  : never

/** The named methods: grpc-tools adds an index signature to them. Where there is no other, as with proto-loader, that. */
type MethodNames<D> = [Named<D>] extends [never] ? keyof D : Named<D>

type Named<D> =
  & keyof { readonly [K in keyof D as string extends K ? never : number extends K ? never : K]: D[K] }
  & keyof D
