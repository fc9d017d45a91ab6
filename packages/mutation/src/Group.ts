/** Which sources are mutated, and which tests have to notice. */

export interface Group {
  readonly name: string
  readonly sources: ReadonlyArray<string>
  /** Globs of test files, from the root of the repository. */
  readonly tests: ReadonlyArray<string>
  /** More of them, which take longer: they see only what survived the others. */
  readonly more?: ReadonlyArray<string>
  /** Those that are no use here. */
  readonly except?: ReadonlyArray<string>
  /** The code runs in child processes, where nobody sees what a test covers: then all tests run for each mutant. */
  readonly inChildren?: boolean
}

const core = (...modules: ReadonlyArray<string>) => modules.map((module) => `packages/core/src/${module}.ts`)
const grpc = (...modules: ReadonlyArray<string>) => modules.map((module) => `packages/grpc/src/${module}.ts`)

/** It runs programs of its own, for seconds. */
const processes = ["packages/core/test/Lifecycle.process.test.ts", "packages/core/test/NodeWatchdog.test.ts"]

export const groups: ReadonlyArray<Group> = [
  {
    name: "kernel",
    sources: core("StopBudget", "InFlight", "StopPolicy", "GracefulStop", "internal/monotonic"),
    tests: ["packages/core/test/{GracefulStop,InFlight,StopBudget,StopPolicy}.test.ts"],
    more: [
      "packages/core/test/{Lifecycle.*,StopEvent,Consumer,properties}.test.ts",
      "packages/testing/test/StopLaws.test.ts"
    ],
    except: processes
  },
  {
    name: "process",
    sources: core("Lifecycle"),
    tests: ["packages/core/test/Lifecycle.*.test.ts"],
    more: ["packages/core/test/{properties,Stop*,Consumer}.test.ts"],
    except: processes
  },
  {
    name: "what stands on it",
    sources: core(
      "StopRegistry",
      "Consumer",
      "ResourcePool",
      "NodeSignals",
      "NodeHttp",
      "LiveLine",
      "StopEvent",
      "StopReport",
      "StopMetrics",
      "LifecycleConfig",
      "StopSchema"
    ),
    tests: ["packages/core/test/{Consumer,Resource,Node,LiveLine,Stop,Lifecycle.report,Lifecycle.config}*.test.ts"],
    except: processes
  },
  {
    name: "watchdog",
    sources: core("NodeWatchdog"),
    tests: ["packages/core/test/NodeWatchdog.test.ts"],
    inChildren: true
  },
  {
    name: "grpc's streams of messages",
    sources: grpc("internal/requestReader", "internal/responseWindow"),
    tests: ["packages/grpc/test/{requestReader,responseWindow}.test.ts"],
    more: ["packages/grpc/test/GrpcServer.{kinds,broken,force}.test.ts"]
  },
  {
    name: "grpc's drain",
    sources: grpc("GrpcDrain"),
    tests: ["packages/grpc/test/GrpcDrain.test.ts"],
    more: ["packages/grpc/test/GrpcServer.{inFlight,lifecycle}.test.ts"]
  },
  {
    name: "grpc's health",
    sources: grpc("internal/health", "GrpcHealth"),
    tests: ["packages/grpc/test/{health,GrpcHealth}.test.ts"],
    more: ["packages/grpc/test/GrpcClientHealth.test.ts"]
  },
  {
    name: "grpc's calls",
    sources: grpc("internal/rpc"),
    tests: ["packages/grpc/test/rpc.test.ts"],
    more: [
      "packages/grpc/test/{GrpcServer.{broken,force,inFlight,kinds},GrpcMiddleware,GrpcMetadata,GrpcLimits,GrpcPeer}.test.ts",
      "packages/grpc/test/headerFields.test.ts"
    ]
  },
  {
    name: "grpc's connections",
    sources: grpc("internal/connections"),
    tests: ["packages/grpc/test/connections.test.ts"],
    more: ["packages/grpc/test/{GrpcServer.transport,GrpcLimits}.test.ts"]
  },
  {
    name: "grpc-js's handlers",
    sources: grpc("internal/native"),
    tests: ["packages/grpc/test/native.test.ts"],
    more: ["packages/grpc/test/{GrpcService.native,GrpcServer.broken,headerFields}.test.ts"]
  },
  {
    name: "headers",
    sources: grpc("internal/headerFields"),
    tests: ["packages/grpc/test/{headerFields,GrpcMetadata}.test.ts"]
  },
  {
    name: "grpc's server",
    sources: grpc("GrpcServer"),
    tests: [
      "packages/grpc/test/GrpcServer.{admission,force,lifecycle,listeners,slowBind,start,transport}.test.ts",
      "packages/grpc/test/{GrpcDrain,GrpcListener.tcp}.test.ts"
    ],
    more: [
      "packages/grpc/test/{GrpcCredentials.rotation,GrpcLimits,GrpcMiddleware,GrpcService.native}.test.ts"
    ]
  },
  {
    name: "grpc's middleware",
    sources: grpc("GrpcMiddleware", "internal/serverSpan"),
    tests: ["packages/grpc/test/GrpcMiddleware.test.ts"],
    more: ["packages/grpc/test/{GrpcServer.{kinds,broken,force},GrpcClient.middleware}.test.ts"]
  },
  {
    name: "grpc's limits",
    sources: grpc("GrpcLimits", "internal/checkedDuration"),
    tests: ["packages/grpc/test/{GrpcLimits,GrpcMiddleware,GrpcCredentials,clientOptions}.test.ts"]
  },
  {
    name: "grpc's metadata",
    sources: grpc("GrpcMetadata"),
    tests: ["packages/grpc/test/{GrpcMetadata,GrpcClient.metadata}.test.ts"]
  },
  {
    name: "grpc's errors",
    sources: grpc("GrpcError", "internal/status"),
    tests: ["packages/grpc/test/{GrpcError*,status}.test.ts"],
    more: ["packages/grpc/test/{GrpcServer.{kinds,broken},GrpcClient,GrpcMetadata}.test.ts"]
  },
  {
    name: "a channel's options",
    sources: grpc(
      "internal/clientAddress",
      "internal/clientOption",
      "internal/clientOptions",
      "internal/clientServiceConfig"
    ),
    tests: ["packages/grpc/test/{clientOptions,GrpcChannel.address}.test.ts"],
    more: ["packages/grpc/test/{GrpcChannel.{hedging,retry,loadBalancing,connectivity},GrpcChannel}.test.ts"]
  },
  {
    name: "grpc's credentials",
    sources: grpc(
      "GrpcCredentials",
      "GrpcPeer",
      "internal/alternativeNames",
      "internal/spiffeId",
      "internal/tlsServer"
    ),
    tests: ["packages/grpc/test/{GrpcCredentials*,GrpcPeer}.test.ts"],
    more: ["packages/grpc/test/{GrpcChannel.certificates,GrpcServer.transport}.test.ts"]
  }
]
