import pg from 'pg'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { postgresStore } from '../../src/engines/postgres/store.ts'
import { postgresTopics } from '../../src/engines/postgres/topics.ts'
import { reason } from '../../src/io/errors.ts'
import { isFraud, outside, someRows } from '../outside.ts'
import { look, startPostgres } from '../postgres.ts'
import { held, listeningLog, prediction, tempDir, transaction, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { startPooler } from './pooler.ts'

// A real PgBouncer before a real PostgreSQL.
const server = await startPostgres({ settings: { fsync: 'off' } })
afterAll(() => server[Symbol.asyncDispose]())

async function pooled(settings: Record<string, string | number>) {
  const near = await server.database()
  const pooler = await startPooler(near, settings)
  onTestFinished(() => pooler[Symbol.asyncDispose]())
  return { near, url: pooler.url }
}
/** Other clients of the same pool: so many that its connections are always handed around, or one that has left them behind. */
async function used(url: URL, clients: number) {
  await Promise.all(Array.from({ length: clients }, () => through(url, 'SELECT pg_sleep(0.1)')))
}
async function through(url: URL, text: string) {
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  return (await client.query(text).finally(() => client.end())).rows
}
const IGNORED = 'extra_float_digits,options,statement_timeout,lock_timeout,idle_in_transaction_session_timeout'
const REFUSED = /this is a pooler in transaction mode: connect directly, or use session mode$/

test.for([
  ['as it comes', {}, 0],
  ['with one connection to the server', { default_pool_size: 1 }, 0],
  ['with five that are free', {}, 5],
  ['with five that are handed out in turn', { server_round_robin: 1 }, 5],
  ['with two that are handed out in turn', { server_round_robin: 1 }, 2],
  ['with three that are handed out in turn', { server_round_robin: 1 }, 3],
  ['that swallows what it does not know', { ignore_startup_parameters: IGNORED }, 2],
  ['in statement mode', { pool_mode: 'statement' }, 2],
] as const)('a pooler in transaction mode %s is refused for topics in one line', async ([, settings, others]) => {
  const { near, url } = await pooled({ pool_mode: 'transaction', ...settings })
  await used(url, others)
  const { log } = listeningLog()
  const refused = postgresTopics({ url, log }).then(() => 'opened', reason)
  expect(await refused).toMatch(REFUSED)
  expect(await look(near, "SELECT count(*) AS n FROM pg_namespace WHERE nspname = 'topics'")).toEqual([{ n: 0n }])
})

test('the worker ends with exit 2 and that line, and doctor has it too', async () => {
  await using dir = await tempDir()
  await using world = await outside(someRows(3), dir.path)
  const { url } = await pooled({ pool_mode: 'transaction' })
  const env = { ...world.env, TOPICS_URL: url.href, DATABASE_URL: url.href, STAGES: 'fetch,alert,record' }
  await using worker = startWorker(dir.path, env)
  expect((await worker.end).code).toBe(2)
  expect(worker.text()).toMatch(/^TOPICS_URL: got PostgreSQL at 127.*: this is a pooler in transaction mode: connect/m)
  expect(world.producer.calls).toBe(0)
  await using doctor = startWorker(dir.path, env, 'doctor', '--offline')
  expect((await doctor.end).code).toBe(1)
  expect(doctor.text()).toMatch(/^WRONG +topics .*pooler in transaction mode: connect directly/m)
  expect(doctor.text()).toMatch(/^ok +database /m)
})

test('the database may be behind one: a write needs no session, and leaves nothing in it', async () => {
  const { near, url } = await pooled({ pool_mode: 'transaction', default_pool_size: 1 })
  const store = postgresStore(url)
  onTestFinished(() => store.close())
  await store.insert([prediction(1), prediction(2)])
  expect(await store.missing([prediction(2), prediction(3)])).toHaveLength(1)
  expect(await look(near, 'SELECT count(*) AS n FROM predictions')).toEqual([{ n: 2n }])
  expect(await through(url, "SELECT current_setting('statement_timeout') AS limit")).toEqual([{ limit: '0' }])
})

test('PgBouncer in session mode, as it comes: topics and database work, and keep their deadlines', async () => {
  const { near, url } = await pooled({ pool_mode: 'session' })
  const { log } = listeningLog()
  const topics = await postgresTopics({ url, log })
  onTestFinished(() => topics.close())
  await topics.append({ transactions: [transaction(1)] })
  const batch = await topics.reader('transactions', 'score').read(5, AbortSignal.timeout(10_000))
  await batch.commit(1, { predictions: [prediction(1)] })
  expect(await held(topics, 'predictions')).toHaveLength(1)
  const limits = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'client-predict'"
  expect((await look(near, limits))[0]!.n).toBeGreaterThan(0n)
  const second = await postgresTopics({ url, log }) // connections that were used before
  onTestFinished(() => second.close())
  expect(await held(second, 'transactions')).toHaveLength(1)
})

test('PgBouncer in session mode, as it comes: the whole worker', async () => {
  await using dir = await tempDir()
  const rows = someRows(30)
  await using world = await outside(rows, dir.path)
  const { near, url } = await pooled({ pool_mode: 'session' })
  await using worker = startWorker(dir.path, { ...world.env, TOPICS_URL: url.href, DATABASE_URL: url.href })
  const recorded = async () => (await look(near, 'SELECT 1 FROM predictions').catch(() => [])).length
  await waitFor('all rows', async () => (await recorded()) === rows.length, 30_000)
  await waitFor('all mails', () => rows.filter(isFraud).every((r) => world.mailed(r.trans_num) === 1))
  worker.kill('SIGTERM')
  expect((await worker.end).code).toBe(0)
})
