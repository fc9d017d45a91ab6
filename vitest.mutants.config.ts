/** `pnpm mutants`: the kernel with one mistake each, written by hand; the promises must notice. */
import { defineConfig } from "vitest/config"
import { mutants } from "./vitest.config.ts"

export default defineConfig({ test: { include: [mutants], testTimeout: 20_000, silent: "passed-only" } })
