import { createHash } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { startPostgres } from '../test/postgres.ts'
import { prediction, tempDir, waitFor } from '../test/rows.ts'
import { program, start, unpack } from '../test/upgrade/earlier.ts'
import { startWorker } from '../test/worker.ts'

// How long the first start takes over a database that the first program with a table filled, and whether every value stays:
// node bench/migrate.ts [--rows 600000] [--postgres]

const { values: given } = parseArgs({
  options: { rows: { type: 'string', default: '600000' }, postgres: { type: 'boolean', default: false } },
})
const rows = Number(given.rows)
const FIRST = 'november-23' // schema 1
await using dir = await tempDir()
const old = program(FIRST, dir.file('old'))
if (!old) throw new Error('the history is not there: git fetch --unshallow')

type Place = { url: string; run(text: string): Promise<void>; each(text: string): AsyncIterable<object> }
async function sqlite(): Promise<Place> {
  unpack(FIRST, dir.path)
  const using = <T>(work: (db: DatabaseSync) => T): T => {
    const db = new DatabaseSync(dir.file('fraud.db'), { timeout: 60_000 })
    try {
      return work(db)
    } finally {
      db.close()
    }
  }
  return {
    url: `sqlite:${dir.file('fraud.db')}`,
    run: async (text) => using((db) => db.exec(text)),
    async *each(text) {
      const db = new DatabaseSync(dir.file('fraud.db'), { readOnly: true, timeout: 60_000 })
      const all = db.prepare(text)
      all.setReadBigInts(true)
      yield* all.iterate()
      db.close()
    },
  }
}
async function postgres(url: URL): Promise<Place> {
  const client = stack.adopt(new pg.Client({ connectionString: url.href }), (c) => c.end())
  await client.connect()
  return {
    url: url.href,
    run: async (text) => void (await client.query(text)),
    async *each(text) {
      await client.query('BEGIN')
      await client.query(`DECLARE rows CURSOR FOR ${text}`)
      for (;;) {
        const { rows } = await client.query('FETCH 5000 FROM rows')
        if (rows.length === 0) break
        yield* rows
      }
      await client.query('COMMIT')
    },
  }
}

await using stack = new AsyncDisposableStack()
const server = given.postgres ? stack.use(await startPostgres()) : undefined
const place = server ? await postgres(await server.database()) : await sqlite()
const env = {
  ...{ NODE_ENV: 'test', STAGES: 'record', LOG_LEVEL: 'info', DATABASE_URL: place.url },
  TOPICS_URL: `sqlite:${dir.file('topics-new.db')}`,
}
if (server) {
  await using _first = start(old, dir.path, { ...env, TOPICS_URL: `sqlite:${dir.file('topics-old.db')}`, STAGES: '' })
  const made = () =>
    place.run('SELECT 1 FROM predictions').then(
      () => true,
      () => false,
    )
  await waitFor('the table of the first program', made)
}

const { threshold, sampled, fraud_confirmed, reviewed_at, reviewed_by, ...row } = prediction(0) as Record<
  string,
  unknown
>
const columns = [...Object.keys(row), 'fraud_confirmed', 'reviewed_at', 'reviewed_by']
const quoted = (value: unknown) => (typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : (value ?? 'NULL'))
const made: Record<string, string> = {
  trans_num: "'old-' || n",
  event_time: '1760000000000 + n * 60',
  cc_num: '4992346398065154184 - n % 1000',
  amt: 'n * 0.1',
  merchant: "'fraud_Söhne ' || n",
  is_fraud: 'CASE WHEN n % 3 = 0 THEN NULL ELSE n % 2 END',
  prediction: 'CASE WHEN n % 125 = 0 THEN 1 ELSE 0 END',
  fraud_confirmed: 'CASE WHEN n % 250 = 0 THEN 1 WHEN n % 251 = 0 THEN 0 END',
  reviewed_at: 'CASE WHEN n % 250 = 0 THEN 1760000000000 + n END',
  reviewed_by: "CASE WHEN n % 250 = 0 THEN 'anna' END",
}
const series = given.postgres
  ? `generate_series(0, ${rows - 1}) AS s (n)`
  : `(WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < ${rows - 1}) SELECT n FROM s)`
await place.run(
  `INSERT INTO predictions (${columns}) SELECT ${columns.map((c) => made[c] ?? quoted(row[c]))} FROM ${series}`,
)
async function hashed() {
  const hash = createHash('sha256')
  let count = 0
  for await (const one of place.each(
    `SELECT ${columns} FROM predictions WHERE trans_num LIKE 'old-%' ORDER BY trans_num, event_time`,
  )) {
    hash.update(JSON.stringify(one, (_, value) => (typeof value === 'bigint' ? `${value}` : value)))
    count++
  }
  return `${count} rows ${hash.digest('hex').slice(0, 16)}`
}
const before = await hashed()
console.log(`before: ${before}`)

const began = performance.now()
{
  await using worker = startWorker(dir.path, { ...env, STAGES: '' }) // the table is looked at with the first rows that come
  const done = () =>
    place.run('SELECT threshold FROM predictions LIMIT 1').then(
      () => true,
      () => false,
    )
  await waitFor('the new columns', done, 600_000)
  console.log(`the new program had its tables after ${((performance.now() - began) / 1000).toFixed(1)} s`)
  console.log(
    worker
      .text()
      .match(/.*are made now.*/g)
      ?.join('\n') ?? 'the log says nothing of how long it takes',
  )
}
const after = await hashed()
console.log(`after: ${after}: ${after === before ? 'every value as it was' : 'NOT THE SAME'}`)
await using older = start(old, dir.path, { ...env, TOPICS_URL: `sqlite:${dir.file('topics-old.db')}`, STAGES: '' })
const said = await waitFor('the older program', () => /^.*schema version.*$/m.exec(older.text())?.[0])
console.log(`the older program says: ${said}`)
process.exitCode = after === before ? 0 : 1
