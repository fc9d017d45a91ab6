/**
 * A Unix socket that is bound under a private name and moved to its path.
 *
 * libuv unlinks the name that a listener was bound under when it closes, even when another process has put its own socket
 * there meanwhile. Bound under a private name, that does no harm; the public path is ours to remove, if it is still ours.
 */
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { promises as fs, type Stats, statSync, unlinkSync } from "node:fs"
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

const statOrUndefined = (file: string): Promise<Stats | undefined> =>
  fs.lstat(file).catch((cause) => code(cause) === "ENOENT" ? undefined : Promise.reject(cause))

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

const check = Effect.fnUntraced(function*(listener: Unix): Effect.fn.Return<void, GrpcListenerError> {
  const file = listener.path
  if (file === "" || file.includes("\0")) {
    return yield* fail(listener, "InvalidAddress", "a socket needs a path without NUL characters")
  }
  const longest = Math.max(Buffer.byteLength(file), Buffer.byteLength(privateName(file)))
  if (longest > maxPathBytes) {
    return yield* fail(listener, "PathTooLong", `${longest} bytes, and a socket path has at most ${maxPathBytes}`)
  }
  const directory = yield* attempt(listener, () => fs.stat(path.dirname(file)).catch(() => undefined))
  if (directory === undefined || !directory.isDirectory()) {
    return yield* fail(listener, "MissingDirectory", `${path.dirname(file)} is not a directory`)
  }
  const existing = yield* attempt(listener, () => statOrUndefined(file))
  if (existing === undefined) return
  if (!existing.isSocket()) {
    return yield* fail(listener, "NotASocket", "the path is taken by something that is not a socket")
  }
  if (yield* isLive(listener)) {
    return yield* fail(listener, "AddressInUse", "another process listens there")
  }
})

const privateName = (file: string): string => path.join(path.dirname(file), `.lc${randomBytes(4).toString("hex")}`)

/**
 * Puts the bound socket at its path. With nothing there, `link` decides between two starters in one atomic step; a stale
 * file is replaced by `rename`.
 */
const publish = Effect.fnUntraced(function*(listener: Unix, from: string): Effect.fn.Return<void, GrpcListenerError> {
  const linked = yield* attempt(listener, () =>
    fs.link(from, listener.path).then(
      () => true,
      (cause) => code(cause) === "EEXIST" || code(cause) === "EPERM" ? false : Promise.reject(cause)
    ))
  if (linked) return yield* attempt(listener, () => fs.unlink(from))
  yield* check(listener)
  yield* attempt(listener, () => fs.rename(from, listener.path))
})

const unlinkIfSame = (file: string, mine: { readonly dev: number; readonly ino: number }): void => {
  try {
    const { dev, ino } = statSync(file)
    if (dev === mine.dev && ino === mine.ino) unlinkSync(file)
  } catch (cause) {
    if (code(cause) !== "ENOENT") throw cause
  }
}

/** Not interruptible: each step is quick, and half of it would leave a file behind. */
export const bindUnix = (server: net.Server, listener: Unix): Effect.Effect<Bound, GrpcListenerError> =>
  Effect.uninterruptible(Effect.gen(function*() {
    yield* check(listener)
    const bindName = privateName(listener.path)
    yield* listen(server, { path: bindName }, (cause) => listenerError(listener, cause))
    const mine = yield* attempt(listener, () => fs.lstat(bindName))
    if (listener.mode !== undefined) {
      const mode = listener.mode
      yield* attempt(listener, () => fs.chmod(bindName, mode))
    }
    yield* publish(listener, bindName)
    return {
      address: { _tag: "Unix", path: listener.path },
      release: () => {
        server.close()
        unlinkIfSame(listener.path, mine)
      }
    }
  }))
