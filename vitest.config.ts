import { defineConfig } from "vitest/config"

export const mutants = "packages/core/test/mutants.test.ts"

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts", "examples/*/test/**/*.test.ts"],
    // It takes long, and has its own command.
    exclude: [mutants],
    sequence: { concurrent: false },
    // By default one core of two is left idle.
    maxWorkers: 2,
    testTimeout: 20_000,
    silent: "passed-only"
  }
})
