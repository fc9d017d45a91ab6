/**
 * A Unix socket that is bound under a private name and moved to its path.
 *
 * libuv unlinks the name that a listener was bound under when it closes, even when another process has put its own socket
 * there meanwhile. Bound under a private name, that does no harm; the public path is ours to remove, if it is still ours.
 */
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { linkSync, lstatSync, promises as fs, renameSync, type Stats, unlinkSync } from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { type GrpcListenerError, GrpcListenerError as ListenerError, type Reason, type Unix } from "../GrpcListener.ts"
import { type Bound, listen, listenerError } from "./bind.ts"

/** `sun_path` less its terminating zero: 108 bytes on Linux, 104 on macOS and the BSDs. */
const maxPathBytes = process.platform === "linux" ? 107 : 103

const fail = (listener: Unix, reason: Reason, detail: string, cause?: unknown): GrpcListenerError =>
  new ListenerError({ reason, listener, detail, ...(cause === undefined ? {} : { cause }) })

const attempt = <A>(listener: Unix, run: () => Promise<A>): Effect.Effect<A, GrpcListenerError> =>
  Effect.tryPromise({ try: run, catch: (cause) => listenerError(listener, cause) })

const code = (cause: unknown): string | undefined => (cause as { readonly code?: string }).code

const statOrUndefined = (stat: Promise<Stats>): Promise<Stats | undefined> =>
  stat.catch((cause) => code(cause) === "ENOENT" || code(cause) === "ENOTDIR" ? undefined : Promise.reject(cause))

/** Whether someone accepts connections at the path. */
const isLive = (listener: Unix): Effect.Effect<boolean, GrpcListenerError> =>
  Effect.callback((resume) => {
    const probe = net.connect({ path: listener.path })
    probe.once("connect", () => {
      probe.destroy()
      resume(Effect.succeed(true))
    })
    probe.once("error", (cause) => {
      probe.destroy()
      // EAGAIN: its queue of connections is full, so someone owns it.
      resume(
        code(cause) === "EAGAIN"
          ? Effect.succeed(true)
          : code(cause) === "ECONNREFUSED" || code(cause) === "ENOENT"
          ? Effect.succeed(false)
          : Effect.fail(listenerError(listener, cause))
      )
    })
    return Effect.sync(() => probe.destroy())
  })

/** The stale socket file at the path, or nothing. Fails where the path is not to be had. */
const check = Effect.fnUntraced(function*(listener: Unix): Effect.fn.Return<Stats | undefined, GrpcListenerError> {
  const file = listener.path
  if (file === "" || file.endsWith("/") || file.includes("\0")) {
    return yield* fail(listener, "InvalidAddress", "a socket needs the path of a file, without NUL characters")
  }
  if (Buffer.byteLength(file) > maxPathBytes) {
    return yield* fail(listener, "PathTooLong", `a socket path has at most ${maxPathBytes} bytes`)
  }
  if (Buffer.byteLength(privateName(file)) > maxPathBytes) {
    return yield* fail(
      listener,
      "PathTooLong",
      `a socket path has at most ${maxPathBytes} bytes, also under its private name in the same directory`
    )
  }
  const directory = yield* attempt(listener, () => statOrUndefined(fs.stat(path.dirname(file))))
  if (directory === undefined || !directory.isDirectory()) {
    return yield* fail(listener, "MissingDirectory", `${path.dirname(file)} is not a directory`)
  }
  const existing = yield* attempt(listener, () => statOrUndefined(fs.lstat(file)))
  if (existing !== undefined && !existing.isSocket()) {
    return yield* fail(listener, "NotASocket", "the path is taken by something that is not a socket")
  }
  if (existing !== undefined && !listener.takeover && (yield* isLive(listener))) {
    return yield* fail(listener, "AddressInUse", "another process listens there")
  }
  return existing
})

/** The next one is -1 to the kernel: leave the owner alone. */
const maxId = 2 ** 32 - 2
const maxMode = 0o777

const isWithin = (value: number | undefined, maximum: number): boolean =>
  value === undefined || (Number.isInteger(value) && value >= 0 && value <= maximum)

/** Fails where the mode or the owner is none. */
const checkPermissions = (listener: Unix): Effect.Effect<void, GrpcListenerError> => {
  const { gid, mode, uid } = listener
  const invalid = (detail: string) => Effect.fail(fail(listener, "InvalidPermissions", detail))
  // 600, 660 and 777 in decimal are above it.
  if (!isWithin(mode, maxMode)) return invalid(`mode is ${mode}: it must be from 0 to 0o777, in octal (0o660)`)
  if (!isWithin(uid, maxId)) return invalid(`uid is ${uid}: it must be a whole number from 0 to ${maxId}`)
  if (!isWithin(gid, maxId)) return invalid(`gid is ${gid}: it must be a whole number from 0 to ${maxId}`)
  return Effect.void
}

/** Gives the socket to its owner. */
const chown = (listener: Unix, file: string): Effect.Effect<void, GrpcListenerError> => {
  const { gid = -1, uid = -1 } = listener
  if (uid === -1 && gid === -1) return Effect.void
  return Effect.tryPromise({
    try: () => fs.chown(file, uid, gid),
    catch: (cause) =>
      // In a container: it has no such user or group.
      code(cause) === "EINVAL"
        ? fail(listener, "PermissionDenied", "this user namespace has no such user or group", cause)
        : listenerError(listener, cause)
  })
}

const privateName = (file: string): string => path.join(path.dirname(file), `.lc${randomBytes(4).toString("hex")}`)

/**
 * Takes a stale file away. Another starter may have put its own there since the look at it: that is left alone, or, if it
 * came between the two steps here, put back.
 */
const removeStale = (file: string, stale: Stats): void => {
  const away = privateName(file)
  try {
    if (!isSame(lstatSync(file), stale)) return
    renameSync(file, away)
  } catch (cause) {
    if (code(cause) === "ENOENT") return
    throw cause
  }
  try {
    if (!isSame(lstatSync(away), stale)) linkSync(away, file)
  } finally {
    unlinkSync(away)
  }
}

/**
 * `false`: the name is taken. A file system without hard links gets a rename, which would replace what came meanwhile.
 * Synchronous, so that starters of one process cannot come between.
 */
const link = (from: string, to: string): boolean => {
  try {
    linkSync(from, to)
  } catch (cause) {
    if (code(cause) === "EEXIST") return false
    if (code(cause) !== "EPERM" && code(cause) !== "ENOTSUP") throw cause
    renameSync(from, to)
    return true
  }
  unlinkSync(from)
  return true
}

/**
 * Puts the bound socket at its path, in one atomic step. `link` decides between two starters; `rename` takes the place of
 * whoever is there.
 */
const publish = Effect.fnUntraced(function*(listener: Unix, from: string): Effect.fn.Return<void, GrpcListenerError> {
  while (true) {
    const stale = yield* check(listener)
    if (listener.takeover) return yield* attempt(listener, () => fs.rename(from, listener.path))
    if (stale !== undefined) yield* attempt(listener, async () => removeStale(listener.path, stale))
    const linked = yield* attempt(listener, async () => link(from, listener.path))
    if (linked) return
  }
})

type Identity = Pick<Stats, "dev" | "ino">

const isSame = (a: Identity, b: Identity): boolean => a.dev === b.dev && a.ino === b.ino

const unlinkIfSame = (file: string, mine: Identity): void => {
  try {
    if (isSame(lstatSync(file), mine)) unlinkSync(file)
  } catch (cause) {
    if (code(cause) !== "ENOENT") throw cause
  }
}

/** Each step is quick, and half of it would leave a file behind: the caller must not be interruptible. */
export const bindUnix = (server: net.Server, listener: Unix): Effect.Effect<Bound, GrpcListenerError> =>
  Effect.gen(function*() {
    yield* checkPermissions(listener)
    yield* check(listener)
    const bindName = privateName(listener.path)
    yield* listen(server, { path: bindName }, (cause) => listenerError(listener, cause))
    const mine = yield* attempt(listener, () => fs.lstat(bindName))
    yield* chown(listener, bindName)
    if (listener.mode !== undefined) {
      const mode = listener.mode
      yield* attempt(listener, () => fs.chmod(bindName, mode))
    }
    yield* publish(listener, bindName)
    return {
      address: { _tag: "Unix", path: listener.path },
      release: () => {
        // While it listens, its inode is not given to another file.
        try {
          unlinkIfSame(listener.path, mine)
        } finally {
          server.close()
        }
      }
    }
  })
