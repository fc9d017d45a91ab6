import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts", "examples/*/test/**/*.test.ts"],
    sequence: { concurrent: false },
    // By default one core of two is left idle.
    maxWorkers: 2,
    testTimeout: 20_000,
    silent: "passed-only"
  }
})
