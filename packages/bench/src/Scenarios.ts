/** The scenarios and rows of the table, with the goals of the project. */
import type { ClientSpec } from "./ClientSpec.ts"
import * as Load from "./load/Load.ts"
import * as Profile from "./measure/profile.ts"
import { atLeast, atMost } from "./Ratio.ts"
import type { Contender, Run } from "./Run.ts"
import * as Scenario from "./Scenario.ts"

const lastcall = { library: "lastcall" } as const
const grpcJs = { library: "grpc-js" } as const
const http2 = { library: "http2" } as const
const loaded = { ...grpcJs, loadsLastcall: true } as const

/** Few of them beside each other: what is measured long after its base differs from it by the machine's moods. */
const unary = Scenario.cpu("unary", "Unary, identity codec", "call", true, () => Load.unary, {
  "grpc-js": grpcJs,
  Lastcall: lastcall,
  "grpc-js, again": grpcJs,
  "grpc-js, Lastcall loaded": loaded,
  "grpc-js, channelz on": { ...grpcJs, channelz: true },
  "node:http2": http2
}, [
  { id: "unary/sync", subject: "Lastcall", base: "grpc-js", goal: atLeast(1) },
  { id: "unary/control", subject: "grpc-js, again", base: "grpc-js" },
  { id: "unary/loaded", subject: "grpc-js, Lastcall loaded", base: "grpc-js" },
  { id: "unary/channelz", subject: "grpc-js, channelz on", base: "grpc-js" },
  { id: "unary/limit", subject: "node:http2", base: "grpc-js" }
])

const unaryAsync = Scenario.cpu("unary-async", "Unary, async handler", "call", true, () => Load.unary, {
  "grpc-js": { ...grpcJs, handler: "async" },
  Lastcall: { ...lastcall, handler: "async" }
}, [{ id: "unary-async/grpc-js", subject: "Lastcall", base: "grpc-js", goal: atLeast(0.95) }])

const unaryMiddleware = Scenario.cpu("unary-middleware", "Unary, with middleware", "call", false, () => Load.unary, {
  "grpc-js": grpcJs,
  "Lastcall, span": { ...lastcall, middleware: ["tracing"] },
  "Lastcall, metrics": { ...lastcall, middleware: ["metrics"] },
  "Lastcall, span and metrics": { ...lastcall, middleware: ["tracing", "metrics"] }
}, [
  { id: "unary-middleware/span", subject: "Lastcall, span", base: "grpc-js" },
  { id: "unary-middleware/metrics", subject: "Lastcall, metrics", base: "grpc-js" },
  { id: "unary-middleware/both", subject: "Lastcall, span and metrics", base: "grpc-js", goal: atLeast(0.9) }
])

const unaryBundled = Scenario.cpu("unary-bundled", "Unary, bundled", "call", false, () => Load.unary, {
  "grpc-js, bundled": { ...grpcJs, isBundled: true },
  "Lastcall, bundled": { ...lastcall, isBundled: true }
}, [{ id: "unary-bundled/grpc-js", subject: "Lastcall, bundled", base: "grpc-js, bundled" }])

const unaryPeers = Scenario.cpu("unary-peers", "Unary, beside other libraries", "call", false, () => Load.unary, {
  Lastcall: lastcall,
  "nice-grpc": { library: "nice-grpc" },
  NestJS: { library: "nestjs" },
  "protobuf-ts": { library: "protobuf-ts" }
}, [
  { id: "unary-peers/nice-grpc", subject: "Lastcall", base: "nice-grpc", goal: atLeast(1.1) },
  { id: "unary-peers/nestjs", subject: "Lastcall", base: "NestJS", goal: atLeast(1.1) },
  { id: "unary-peers/protobuf-ts", subject: "Lastcall", base: "protobuf-ts", goal: atLeast(1.5) }
])

const proto = { codec: "protobuf-es" } as const

const unaryProto = Scenario.cpu("unary-es", "Unary, protobuf-es codec", "call", false, () => Load.unary, {
  "grpc-js": { ...grpcJs, ...proto },
  Lastcall: { ...lastcall, ...proto },
  "connect-node": { library: "connect-node", ...proto }
}, [
  { id: "unary-es/sync", subject: "Lastcall", base: "grpc-js", goal: atLeast(1) },
  { id: "unary-es/connect-node", subject: "Lastcall", base: "connect-node", goal: atLeast(5) }
])

const serverStream = Scenario.cpu(
  "server-stream",
  "Server stream of 100,000 messages, identity codec",
  "message",
  true,
  ({ streamSize }) => Load.serverStream(streamSize),
  { "grpc-js": grpcJs, Lastcall: lastcall, "node:http2": http2 },
  [
    { id: "server-stream/grpc-js", subject: "Lastcall", base: "grpc-js", goal: atLeast(10) },
    { id: "server-stream/limit", subject: "node:http2", base: "grpc-js" }
  ]
)

const serverStreamProto = Scenario.cpu(
  "server-stream-es",
  "Server stream of 100,000 messages, protobuf-es codec",
  "message",
  false,
  ({ streamSize }) => Load.serverStream(streamSize),
  { "grpc-js": { ...grpcJs, ...proto }, Lastcall: { ...lastcall, ...proto } },
  [{ id: "server-stream-es/grpc-js", subject: "Lastcall", base: "grpc-js", goal: atLeast(5) }]
)

const clientStream = Scenario.cpu(
  "client-stream",
  "Client stream of 100,000 messages",
  "message",
  true,
  ({ streamSize }) => Load.clientStream(streamSize),
  { "grpc-js": grpcJs, Lastcall: lastcall, "node:http2": http2 },
  [
    { id: "client-stream/grpc-js", subject: "Lastcall", base: "grpc-js", goal: atLeast(1.1) },
    { id: "client-stream/limit", subject: "node:http2", base: "grpc-js" }
  ]
)

const bidi = Scenario.cpu(
  "bidi",
  "Bidi ping-pong",
  "message",
  true,
  () => Load.bidi,
  { "grpc-js": grpcJs, Lastcall: lastcall, "node:http2": http2 },
  [
    { id: "bidi/grpc-js", subject: "Lastcall", base: "grpc-js", goal: atLeast(1) },
    { id: "bidi/limit", subject: "node:http2", base: "grpc-js" }
  ]
)

const large = Scenario.cpu(
  "large",
  "Unary, messages of 1 MiB there and back",
  "call",
  false,
  () => Load.large,
  { "grpc-js": grpcJs, Lastcall: lastcall, "grpc-js, Lastcall loaded": loaded },
  [
    { id: "large/grpc-js", subject: "Lastcall", base: "grpc-js" },
    { id: "large/loaded", subject: "Lastcall", base: "grpc-js, Lastcall loaded" }
  ]
)

const transport = (id: "tls" | "unix", title: string): Scenario.Scenario =>
  Scenario.cpu(
    id,
    title,
    "call",
    false,
    () => Load.unary,
    { "grpc-js": { ...grpcJs, transport: id }, Lastcall: { ...lastcall, transport: id } },
    [{ id: `${id}/grpc-js`, subject: "Lastcall", base: "grpc-js" }]
  )

const traced = { traceparent: true } as const

const client = Scenario.clientCpu("client", "A client's unary calls, identity codec", true, "Unary", {
  "grpc-js": grpcJs,
  Lastcall: lastcall,
  "grpc-js, again": grpcJs,
  "grpc-js, traceparent": { ...grpcJs, ...traced },
  "Lastcall, traceparent": { ...lastcall, ...traced }
}, [
  { id: "client/unary", subject: "Lastcall", base: "grpc-js" },
  { id: "client/control", subject: "grpc-js, again", base: "grpc-js" },
  { id: "client/traceparent", subject: "Lastcall, traceparent", base: "grpc-js, traceparent" }
])

const clientRead = Scenario.clientCpu(
  "client-read",
  "A client that reads a stream of 100,000 messages, identity codec",
  false,
  "ServerStream",
  { "grpc-js": grpcJs, Lastcall: lastcall },
  [{ id: "client-read/grpc-js", subject: "Lastcall", base: "grpc-js" }]
)

const pair = { "grpc-js": grpcJs, Lastcall: lastcall }
const lastcallOverGrpcJs = { subject: "Lastcall", base: "grpc-js" }

export const scenarios: ReadonlyArray<Scenario.Scenario> = [
  unary,
  unaryAsync,
  unaryMiddleware,
  unaryBundled,
  unaryPeers,
  unaryProto,
  serverStream,
  serverStreamProto,
  clientStream,
  bidi,
  large,
  transport("tls", "Unary over TLS"),
  transport("unix", "Unary over a Unix socket"),
  client,
  clientRead,
  Scenario.halfLoad({ ...pair, "grpc-js, again": grpcJs }, "grpc-js", {
    p50: { id: "latency/p50", what: "p50", ...lastcallOverGrpcJs, goal: atMost(1.1) },
    p99: { id: "latency/p99", what: "p99", ...lastcallOverGrpcJs, goal: atMost(1.1) },
    control: { id: "latency/p99-control", what: "p99", subject: "grpc-js, again", base: "grpc-js" }
  }),
  Scenario.stopWithIdle(pair, [{ id: "stop-idle/grpc-js", ...lastcallOverGrpcJs, goal: atMost(1.5) }]),
  // With channelz off, grpc-js's `forceShutdown` ends nothing.
  Scenario.stopWithCalls({ ...pair, "grpc-js": { ...grpcJs, channelz: true } }, [{
    id: "stop-in-flight/millis",
    ...lastcallOverGrpcJs,
    goal: atMost(150)
  }]),
  Scenario.heapOver(pair, {
    call: { id: "heap/call", what: "open RPC", ...lastcallOverGrpcJs, goal: atMost(2_048) },
    connection: { id: "heap/connection", what: "idle connection", ...lastcallOverGrpcJs }
  }),
  Scenario.startCold({
    ...pair,
    "grpc-js, bundled": { ...grpcJs, isBundled: true },
    "Lastcall, bundled": { ...lastcall, isBundled: true }
  }, [
    { id: "cold-start/grpc-js", ...lastcallOverGrpcJs, goal: atMost(1.8) },
    { id: "cold-start/bundled", subject: "Lastcall, bundled", base: "grpc-js, bundled" },
    { id: "cold-start/bundled-alone", subject: "Lastcall, bundled", base: "grpc-js" }
  ])
]

/** The row that tells how noisy the machine was: the same server twice. */
export const controlId = "unary/control"

interface Profiled {
  readonly id: string
  readonly title: string
  readonly unit: "call" | "message"
  /** Of Lastcall or of its candidate, and of bare grpc-js. */
  readonly profile: (run: Run, isCandidate: boolean) => ReturnType<typeof Profile.pairs>
}

const ofServer = (
  id: string,
  title: string,
  unit: "call" | "message",
  workload: (run: Run) => Load.Workload,
  options: Partial<Contender> = {}
): Profiled => ({
  id,
  title,
  unit,
  profile: (run, isCandidate) =>
    Profile.pairs(
      () => Profile.ofServer(run, { ...lastcall, ...options, isCandidate }, workload(run)),
      () => Profile.ofServer(run, { ...grpcJs, ...options }, workload(run))
    )
})

const ofClient = (id: string, title: string, unit: "call" | "message", method: ClientSpec["method"]): Profiled => ({
  id,
  title,
  unit,
  profile: (run, isCandidate) =>
    Profile.pairs(
      () => Profile.ofClient(run, { ...lastcall, isCandidate }, method),
      () => Profile.ofClient(run, grpcJs, method)
    )
})

/** What is profiled, so that the next step is known. */
export const profiled: ReadonlyArray<Profiled> = [
  ofServer("unary", "Unary, sync handler, identity codec", "call", () => Load.unary),
  ofServer(
    "server-stream",
    "Server stream, identity codec",
    "message",
    ({ streamSize }) => Load.serverStream(streamSize)
  ),
  ofServer(
    "server-stream-es",
    "Server stream, protobuf-es codec",
    "message",
    ({ streamSize }) => Load.serverStream(streamSize),
    proto
  ),
  ofServer("client-stream", "Client stream", "message", ({ streamSize }) => Load.clientStream(streamSize)),
  ofServer("bidi", "Bidi ping-pong", "message", () => Load.bidi),
  ofClient("client", "A client's unary calls, identity codec", "call", "Unary"),
  ofClient("client-read", "A client that reads a stream, identity codec", "message", "ServerStream")
]
