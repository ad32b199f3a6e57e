import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What is run for each change: TESTS, as mutation.ts says, in that order: the quick ones first. */
const include = process.env.TESTS!.split(' ')
class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]) {
    const place = ({ moduleId }: TestSpecification) => include.findIndex((name) => moduleId.endsWith(name))
    return files.toSorted((a, b) => place(a) - place(b))
  }
}
export default defineConfig({
  test: {
    include,
    sequence: { sequencer: InOrder },
    setupFiles: ['test/mutation/quick.ts'],
    testTimeout: 20_000, // ten times what the longest takes: one that hangs is red
    hookTimeout: 20_000,
  },
})
