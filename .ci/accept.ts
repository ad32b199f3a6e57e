import { spawnSync } from 'node:child_process'
import { startKafka } from '../test/kafka/broker.ts'
import { startPostgres } from '../test/postgres.ts'

// The acceptance tool on fresh, empty engines: node .ci/accept.ts postgres|kafka [more arguments for it]
const [engine, ...more] = process.argv.slice(2)
await using postgres = await startPostgres()
const store = (await postgres.database()).href
await using kafka = engine === 'kafka' ? await startKafka() : undefined
const topics = kafka ? `kafka://${kafka.brokers.join(',')}` : (await postgres.database()).href
const tool = ['../shared/tools/accept.mjs', '--topics', topics, '--store', store, ...more]
process.exitCode = spawnSync(process.execPath, tool, { stdio: 'inherit' }).status ?? 1
