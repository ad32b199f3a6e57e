import { defineConfig } from 'vitest/config'

/** What is run for each mutant: TESTS, or all that stand beside what stryker.json names. */
const include = (process.env.TESTS ?? 'test/{run,topic,alert}/**/*.test.ts').split(' ')
export default defineConfig({ test: { include, testTimeout: 120_000, hookTimeout: 120_000 } })
