/** What a channel dials: targets as in gRPC's naming.md, checked. */
import { type ChannelOptions, experimental } from "@grpc/grpc-js"
import * as nodeDns from "node:dns"
import * as net from "node:net"
import * as Check from "./clientOption.ts"

/** What is wrong, if anything is. */
type Problem = string | undefined

const refuse = (value: string | number, problem: Problem): void => {
  if (problem !== undefined) Check.fail("address", value, problem)
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535

/** An IPv6 address in brackets, or an IPv4 address or a name; and a port, if there is one. */
const socketParts = /^(?:\[([^\]]*)\]|([^\s\p{C}:/\\?#@,[\]]+))(?::(\d+))?$/u

const looksLikeIPv4 = (host: string): boolean => /^\d+(?:\.\d+){3}$/.test(host)

const problemOfSocket = (socket: string, family?: "ipv4" | "ipv6"): Problem => {
  const match = socketParts.exec(socket)
  if (match === null) return "not a host with a port, such as api.internal:50051 or [::1]:50051"
  const [, ipv6, host = "", port] = match
  const isHost = ipv6 === undefined
    ? family !== "ipv6" && (net.isIPv4(host) || (family === undefined && !looksLikeIPv4(host)))
    : family !== "ipv4" && net.isIPv6(ipv6)
  if (!isHost) return `${ipv6 ?? host} is not an ${family ?? "IP"} address`
  return port === undefined || isPort(Number(port)) ? undefined : `${port} is not a port`
}

const problemOfServer = (server: string): Problem => {
  try {
    new nodeDns.Resolver().setServers([server])
    return undefined
  } catch {
    return `${server} is not the IP address of a DNS server`
  }
}

/** The program may have registered a resolver, of its own or that of xDS. Making one looks nothing up. */
const problemOfResolver = (target: experimental.GrpcUri, options: ChannelOptions): Problem => {
  try {
    experimental.createResolver(target, () => true, options).destroy()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** As grpc-js takes a target apart: scheme, authority, path. */
const targetParts = /^(?:([A-Za-z0-9+.-]+):)?(?:\/\/([^/]*)\/)?(.+)$/

const problemOf = (address: string, options: ChannelOptions): Problem => {
  if (address === "") return "it is empty"
  const match = targetParts.exec(address)
  if (match === null) return "not a target of gRPC's"
  const [, scheme, authority, path = ""] = match
  switch (scheme) {
    case "dns":
      return (authority ? problemOfServer(authority) : undefined) ?? problemOfSocket(path)
    case "ipv4":
    case "ipv6":
      return path.split(",").map((socket) => problemOfSocket(socket, scheme)).find((problem) => problem !== undefined)
    case "unix":
      return authority ? "after two slashes stands an absolute path, as in unix:///run/app.sock" : undefined
    default: {
      // The name in `localhost:50051` looks like a scheme.
      const problem = problemOfSocket(address)
      if (problem === undefined || scheme === undefined) return problem
      const target = authority === undefined ? { scheme, path } : { scheme, authority, path }
      const unknown = problemOfResolver(target, options)
      return unknown === undefined ? undefined : `${problem}; ${unknown}`
    }
  }
}

/** Throws `GrpcChannelOptionError`. The options are those that a resolver gets. */
export const check = (address: string, options: ChannelOptions): void => refuse(address, problemOf(address, options))

export const dns = (host: string, port: number): string => {
  if (!isPort(port)) refuse(port, "not a port")
  const socket = `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`
  refuse(host, host === "" ? "the host is empty" : problemOfSocket(socket))
  return `dns:///${socket}`
}

export const ip = (family: "ipv4" | "ipv6", sockets: ReadonlyArray<string>): string => {
  for (const socket of sockets) {
    refuse(socket, problemOfSocket(socket, family) ?? (/:\d+$/.test(socket) ? undefined : "it has no port"))
  }
  return `${family}:${sockets.join(",")}`
}

export const unix = (path: string): string => {
  const address = `unix:${path}`
  if (path === "") refuse(path, "the path is empty")
  check(address, {})
  return address
}
