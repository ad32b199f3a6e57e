import { defineConfig } from 'vitest/config'

/** Real processes, servers and disks on a machine that may be busy: what hangs is found all the same. */
export default defineConfig({ test: { testTimeout: 120_000, hookTimeout: 120_000 } })
