import { spawnSync } from 'node:child_process'
import { type EngineName, openEngine } from '../test/accept/engines.ts'

// The other acceptance on fresh, empty engines: node .ci/accept.ts postgres|kafka [more arguments for it]
const [engine, ...more] = process.argv.slice(2)
await using places = await openEngine(engine as EngineName, '.')
const { TOPICS_URL, DATABASE_URL } = places.env
const tool = ['../shared/tools/accept.mjs', '--topics', TOPICS_URL, '--store', DATABASE_URL, ...more]
process.exitCode = spawnSync(process.execPath, tool, { stdio: 'inherit' }).status ?? 1
