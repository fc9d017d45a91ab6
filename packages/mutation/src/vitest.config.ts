import { basename } from "node:path"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const { except, source, tests } = JSON.parse(process.env["LASTCALL_MUTATION"]!) as {
  readonly source: string
  readonly tests: Array<string>
  readonly except: Array<string>
}

/** The tests of the module come first: the first test that fails ends the run. */
class OwnFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const module = basename(source, ".ts")
    const isOther = ({ moduleId }: TestSpecification) => Number(!basename(moduleId).startsWith(module))
    return files.toSorted((a, b) => isOther(a) - isOther(b) || (a.moduleId < b.moduleId ? -1 : 1))
  }
}

export default defineConfig({
  test: {
    include: tests,
    exclude: except,
    sequence: { concurrent: false, sequencer: OwnFirst },
    setupFiles: ["packages/mutation/src/inChildren.ts"],
    testTimeout: 20_000
  }
})
