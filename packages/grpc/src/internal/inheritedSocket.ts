/** Sockets that this process inherited, by number or from systemd. */
import * as Effect from "effect/Effect"
import { fstatSync, readFileSync } from "node:fs"
import type { AddressInfo, Server } from "node:net"
import { type Address, type GrpcListener, GrpcListenerError, type Reason, type Systemd } from "../GrpcListener.ts"
import { type Bound, listen } from "./bind.ts"

/** The first descriptor that systemd passes: `SD_LISTEN_FDS_START`. */
const firstFd = 3
/** More than a process has. */
const maxFds = 65_536

const fail = (listener: GrpcListener, reason: Reason, detail: string, cause?: unknown): GrpcListenerError =>
  new GrpcListenerError({ reason, listener, detail, ...(cause === undefined ? {} : { cause }) })

const address = (server: Server, fd: number, inode: number): Address => {
  const address = server.address() as AddressInfo | null
  if (address !== null) return { _tag: "Tcp", host: address.address, port: address.port }
  const path = unixPath(inode)
  return path === undefined ? { _tag: "Fd", fd } : { _tag: "Unix", path }
}

/** Node does not say where a Unix socket is bound, Linux does. */
const unixPath = (inode: number): string | undefined => {
  try {
    const line = new RegExp(`^(?:\\S+ +){6}${inode} (/.*)$`, "m")
    return line.exec(readFileSync("/proc/net/unix", "utf8"))?.[1]
  } catch {
    return undefined
  }
}

export const bindFd = (server: Server, listener: GrpcListener, fd: number): Effect.Effect<Bound, GrpcListenerError> =>
  Effect.gen(function*() {
    const stat = yield* Effect.try({
      try: () => fstatSync(fd),
      catch: (cause) => fail(listener, "InvalidDescriptor", `descriptor ${fd} is not open`, cause)
    })
    // To listen on it would close it, which may be a file or a part of Node itself.
    if (!stat.isSocket()) return yield* fail(listener, "InvalidDescriptor", `descriptor ${fd} is no socket`)
    yield* listen(
      server,
      { fd },
      (cause) => fail(listener, "InvalidDescriptor", `descriptor ${fd} is no socket that can listen`, cause)
    )
    return { address: address(server, fd, stat.ino), release: () => server.close() }
  })

export const bindSystemd = (server: Server, listener: Systemd): Effect.Effect<Bound, GrpcListenerError> =>
  Effect.suspend(() => {
    const { LISTEN_FDNAMES: fdNames = "", LISTEN_FDS: count, LISTEN_PID: pid } = process.env
    if (pid === undefined || count === undefined) {
      return Effect.fail(fail(listener, "NotActivated", "LISTEN_PID and LISTEN_FDS are not set"))
    }
    if (Number(pid) !== process.pid) {
      return Effect.fail(fail(listener, "NotActivated", `LISTEN_PID is ${pid}, this process is ${process.pid}`))
    }
    const names = fdNames.split(":")
    const fds = Array.from({ length: Math.min(Number(count), maxFds) }, (_, i) => firstFd + i)
      .filter((_, i) => listener.name === undefined || names[i] === listener.name)
    const fd = fds[listener.index ?? 0]
    if (fd === undefined || (listener.index === undefined && fds.length > 1)) {
      const which = listener.name === undefined ? "" : ` of that name; there are ${fdNames}`
      return Effect.fail(
        fail(listener, "InvalidDescriptor", `systemd passed ${fds.length} sockets${which}`)
      )
    }
    return bindFd(server, listener, fd)
  })
