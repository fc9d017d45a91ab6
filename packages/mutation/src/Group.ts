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
    more: ["packages/core/test/{Lifecycle.*,StopEvent,Consumer,properties}.test.ts"],
    except: processes
  },
  {
    name: "process",
    sources: core(
      "Lifecycle",
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
    tests: ["packages/core/test/[A-Z]*.test.ts"],
    more: ["packages/core/test/properties.test.ts"],
    except: processes
  },
  {
    name: "watchdog",
    sources: core("NodeWatchdog"),
    tests: ["packages/core/test/NodeWatchdog.test.ts"],
    inChildren: true
  },
  {
    name: "grpc's stop",
    sources: grpc(
      "GrpcServer",
      "GrpcDrain",
      "GrpcHealth",
      "internal/connections",
      "internal/rpc",
      "internal/requestReader",
      "internal/responseWindow",
      "internal/native",
      "internal/health"
    ),
    tests: [
      "packages/grpc/test/GrpcServer.*.test.ts",
      "packages/grpc/test/GrpcService.*.test.ts",
      "packages/grpc/test/GrpcDrain.test.ts",
      "packages/grpc/test/GrpcHealth.test.ts",
      "packages/grpc/test/GrpcLimits.test.ts"
    ]
  }
]
