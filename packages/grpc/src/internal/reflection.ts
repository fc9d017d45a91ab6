/** The files that describe services, and what is declared in which of them. */
import { type DescFile, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf"
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema
} from "@bufbuild/protobuf/wkt"
import * as Data from "effect/Data"
import type { MethodDefinition } from "../GrpcDescriptor.ts"
import type { Descriptor } from "../GrpcService.ts"
import { serviceName } from "./descriptor.ts"
import type { Services } from "./reflectionServed.ts"

export interface File {
  readonly name: string
  /** A serialized `google.protobuf.FileDescriptorProto`. */
  readonly bytes: Uint8Array
  readonly dependencies: ReadonlyArray<string>
}

export interface Index {
  /** The full names of the services, in alphabetical order. */
  readonly services: ReadonlyArray<string>
  readonly file: (name: string) => File | undefined
  /** The file that declares a symbol, by its full name. */
  readonly symbol: (name: string) => File | undefined
  readonly extension: (type: string, number: number) => File | undefined
  /** The numbers of the extensions of a message; `undefined` if the message is unknown. */
  readonly extensionNumbers: (type: string) => ReadonlyArray<number> | undefined
}

export class GrpcReflectionFileError extends Data.TaggedError("GrpcReflectionFileError")<{
  readonly index: number
  readonly reason: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `reflection: files[${this.index}] ${this.reason}`
  }
}

/** Reads what is serialized. Throws {@link GrpcReflectionFileError}. */
export const readFiles = (
  files: ReadonlyArray<DescFile | Uint8Array>
): ReadonlyArray<DescFile | FileDescriptorProto> =>
  files.flatMap((file, index): ReadonlyArray<DescFile | FileDescriptorProto> => {
    if (!(file instanceof Uint8Array)) return [file]
    const protos = readSet(file, index)
    // Other bytes than those of a set may look like an empty one, or one of nameless files.
    if (protos.length === 0 || protos.some(({ name }) => name === "")) {
      throw new GrpcReflectionFileError({
        index,
        reason: "is no FileDescriptorSet: it has no file, or one without a name"
      })
    }
    return protos
  })

const readSet = (bytes: Uint8Array, index: number): ReadonlyArray<FileDescriptorProto> => {
  try {
    return fromBinary(FileDescriptorSetSchema, bytes).file
  } catch (cause) {
    throw new GrpcReflectionFileError({ index, reason: `is no FileDescriptorSet: ${(cause as Error).message}`, cause })
  }
}

export const makeIndex = (services: Services, more: ReadonlyArray<DescFile | FileDescriptorProto>): Index => {
  const names = new Set<string>()
  const files = new Map<string, File>()
  const symbols = new Map<string, File>()
  const messages = new Set<string>()
  const extensions = new Map<string, Map<number, File>>()

  const protos = new Map<string, FileDescriptorProto>()

  const add = (proto: FileDescriptorProto): void => {
    const known = protos.get(proto.name)
    protos.set(proto.name, known === undefined ? proto : merged(known, proto))
  }

  const addDescFile = (file: DescFile): void => {
    if (protos.get(file.proto.name) === file.proto) return
    add(file.proto)
    for (const dependency of file.dependencies) addDescFile(dependency)
  }

  for (const service of services) {
    const descriptor = descriptorOf(service)
    if (descriptor === undefined) continue
    if (isDescService(descriptor)) {
      names.add(descriptor.typeName)
      addDescFile(descriptor.file)
      continue
    }
    const methods = Object.values(descriptor as Record<string, MethodDefinition>)
    for (const { path } of methods) names.add(serviceName(path))
    for (const proto of completed(carried(methods))) add(proto)
  }
  for (const file of more) {
    if ("proto" in file) addDescFile(file)
    else add(file)
  }

  for (const proto of protos.values()) {
    const file = { name: proto.name, bytes: toBinary(FileDescriptorProtoSchema, proto), dependencies: proto.dependency }
    files.set(file.name, file)
    for (const { extends: extended, isMessage, name } of declarations(proto)) {
      if (!symbols.has(name)) symbols.set(name, file)
      if (isMessage) messages.add(name)
      if (extended === undefined) continue
      const numbers = extensions.get(extended.type) ?? new Map<number, File>()
      extensions.set(extended.type, numbers.set(extended.number, file))
    }
  }

  return {
    services: Array.from(names).toSorted(),
    file: (name) => files.get(name),
    symbol: (name) => symbols.get(name),
    extension: (type, number) => extensions.get(type)?.get(number),
    extensionNumbers: (type) => messages.has(type) ? Array.from(extensions.get(type)?.keys() ?? []) : undefined
  }
}

/**
 * proto-loader names files after their package: what was loaded apart has different files of one name. They become one, since
 * clients know files by their names.
 */
const merged = (one: FileDescriptorProto, other: FileDescriptorProto): FileDescriptorProto => {
  if (one === other || one.package !== other.package) return one
  const both = <A extends { readonly name: string }>(known: Array<A>, more: ReadonlyArray<A>): Array<A> => {
    const names = new Set(known.map(({ name }) => name))
    return [...known, ...more.filter(({ name }) => !names.has(name))]
  }
  return {
    ...one,
    dependency: Array.from(new Set([...one.dependency, ...other.dependency])),
    messageType: both(one.messageType, other.messageType),
    enumType: both(one.enumType, other.enumType),
    service: both(one.service, other.service),
    extension: both(one.extension, other.extension)
  }
}

/**
 * A file and all that it imports, but what this stream of requests was sent before. The file itself is always sent: its
 * client asks because it has not kept it.
 */
export const withDependencies = (index: Index, file: File, sent: Set<string>): ReadonlyArray<Uint8Array> => {
  const found = new Set([file])
  for (const { dependencies } of found) {
    for (const name of dependencies) {
      const dependency = index.file(name)
      if (dependency !== undefined) found.add(dependency)
    }
  }
  const files = Array.from(found).filter((each) => each === file || !sent.has(each.name))
  for (const { name } of files) sent.add(name)
  return files.map(({ bytes }) => bytes)
}

const descriptorOf = (service: Services[number]): Descriptor | undefined => {
  if ("_tag" in service && service._tag === "Native") return service.definition as unknown as Descriptor
  return "descriptor" in service ? service.descriptor as Descriptor : undefined
}

const isDescService = (descriptor: Descriptor): descriptor is Descriptor & DescService =>
  "kind" in descriptor && (descriptor.kind as unknown) === "service"

interface Declaration {
  readonly name: string
  readonly isMessage: boolean
  readonly extends?: { readonly type: string; readonly number: number }
}

function* declarations(file: FileDescriptorProto): Generator<Declaration> {
  const scope = file.package === "" ? "" : `${file.package}.`
  for (const message of file.messageType) yield* inMessage(scope, message)
  for (const each of file.enumType) yield* inEnum(scope, each)
  for (const field of file.extension) yield extension(scope, field)
  for (const service of file.service) {
    yield symbol(scope, service)
    for (const method of service.method) yield symbol(`${scope}${service.name}.`, method)
  }
}

function* inMessage(scope: string, message: DescriptorProto): Generator<Declaration> {
  yield { name: scope + message.name, isMessage: true }
  const inner = `${scope}${message.name}.`
  for (const field of message.field) yield symbol(inner, field)
  for (const oneof of message.oneofDecl) yield symbol(inner, oneof)
  for (const nested of message.nestedType) yield* inMessage(inner, nested)
  for (const each of message.enumType) yield* inEnum(inner, each)
  for (const field of message.extension) yield extension(inner, field)
}

/** The values of an enum are in the scope of the enum itself. */
function* inEnum(scope: string, { name, value }: EnumDescriptorProto): Generator<Declaration> {
  yield symbol(scope, { name })
  for (const each of value) yield symbol(scope, each)
}

const symbol = (scope: string, { name }: { readonly name: string }): Declaration => ({
  name: scope + name,
  isMessage: false
})

const extension = (scope: string, { extendee, name, number }: FieldDescriptorProto): Declaration => ({
  name: scope + name,
  isMessage: false,
  extends: { type: withoutDot(extendee), number }
})

/** The files that a definition of proto-loader's carries; those of other generators carry none. */
const carried = (methods: ReadonlyArray<MethodDefinition>): ReadonlyArray<FileDescriptorProto> => {
  for (const method of methods as ReadonlyArray<{ readonly requestType?: unknown }>) {
    const { requestType } = method
    if (typeof requestType !== "object" || requestType === null || !("fileDescriptorProtos" in requestType)) continue
    return (requestType.fileDescriptorProtos as ReadonlyArray<Uint8Array>).map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes)
    )
  }
  return []
}

/**
 * proto-loader makes one file of each package, and leaves to its reader which imports which and what relative names mean. It
 * names the entries of maps after their fields; readers insist on the suffix `Entry`.
 */
const completed = (files: ReadonlyArray<FileDescriptorProto>): ReadonlyArray<FileDescriptorProto> => {
  for (const { messageType } of files) for (const message of messageType) nameMapEntries(message)
  const declaredIn = new Map<string, string>()
  for (const file of files) for (const { name } of declarations(file)) declaredIn.set(name, file.name)
  for (const file of files) {
    for (const { name, replace, scope } of references(file)) {
      const absolute = resolve(declaredIn, scope, name)
      if (absolute === undefined) continue
      replace(`.${absolute}`)
      const from = declaredIn.get(absolute)!
      if (from !== file.name && !file.dependency.includes(from)) file.dependency.push(from)
    }
  }
  return files
}

const nameMapEntries = ({ field, nestedType }: DescriptorProto): void => {
  for (const nested of nestedType) {
    const { name } = nested
    const map = nested.options?.mapEntry === true ? field.find(({ typeName }) => typeName === name) : undefined
    if (map === undefined) nameMapEntries(nested)
    else map.typeName = nested.name = `${pascalCase(map.name)}Entry`
  }
}

const pascalCase = (name: string): string =>
  name.replaceAll(/(?:^|_)+([^_])/g, (_, first: string) => first.toUpperCase())

/** The full name that is meant: a name is absolute, or looked up from the innermost scope outwards. */
const resolve = (declaredIn: ReadonlyMap<string, string>, scope: string, name: string): string | undefined => {
  if (name.startsWith(".")) return declaredIn.has(name.slice(1)) ? name.slice(1) : undefined
  for (let from = scope; from !== ""; from = from.slice(0, Math.max(0, from.lastIndexOf(".")))) {
    if (declaredIn.has(`${from}.${name}`)) return `${from}.${name}`
  }
  return declaredIn.has(name) ? name : undefined
}

/** A name of a type, and the scope in which it stands. */
interface Reference {
  readonly scope: string
  readonly name: string
  readonly replace: (name: string) => void
}

function* references(file: FileDescriptorProto): Generator<Reference> {
  const scope = file.package
  for (const message of file.messageType) yield* referencesOf(scope, message)
  for (const field of file.extension) yield* ofField(scope, field)
  for (const { method, name } of file.service) {
    for (const each of method) {
      const inner = within(scope, name)
      yield { scope: inner, name: each.inputType, replace: (name) => void (each.inputType = name) }
      yield { scope: inner, name: each.outputType, replace: (name) => void (each.outputType = name) }
    }
  }
}

function* referencesOf(scope: string, message: DescriptorProto): Generator<Reference> {
  const inner = within(scope, message.name)
  for (const field of message.field) yield* ofField(inner, field)
  for (const field of message.extension) yield* ofField(inner, field)
  for (const nested of message.nestedType) yield* referencesOf(inner, nested)
}

function* ofField(scope: string, field: FieldDescriptorProto): Generator<Reference> {
  if (field.typeName !== "") {
    yield { scope, name: field.typeName, replace: (name) => void (field.typeName = name) }
  }
  if (field.extendee !== "") {
    yield { scope, name: field.extendee, replace: (name) => void (field.extendee = name) }
  }
}

const within = (scope: string, name: string): string => scope === "" ? name : `${scope}.${name}`

const withoutDot = (name: string): string => name.startsWith(".") ? name.slice(1) : name
