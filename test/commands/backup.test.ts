import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { audit } from '../../src/commands/audit.ts'
import { backup } from '../../src/commands/backup.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { disposable, isFraud, outside, recorded } from '../outside.ts'
import { held, LONG_CARD, prediction, row, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const sqlite = (path: string) => ({ engine: 'sqlite' as const, path })
const postgres = (url: string) => ({ engine: 'postgres' as const, url: new URL(url) })
const kafka = { engine: 'kafka' as const, brokers: ['a:9092'], tls: false, checkHosts: true }

/** A worker's files, with three transactions and one prediction. */
async function place() {
  const dir = await tempDir()
  const [topicsFile, storeFile] = [dir.file('topics.db'), dir.file('fraud.db')]
  const topics = await sqliteTopics({ path: topicsFile })
  const store = sqliteStore(storeFile)
  await topics.append({
    transactions: [1, 2, 3].map((n) => transaction(n, { cc_num: LONG_CARD })),
    predictions: [prediction(1)],
  })
  await store.insert([prediction(1)])
  return {
    dir,
    topics,
    places: { topics: sqlite(topicsFile), database: sqlite(storeFile) },
    async [Symbol.asyncDispose]() {
      await topics.close()
      await store.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}
const query = (file: string, sql: string) => {
  using db = disposable(new DatabaseSync(file))
  return db.prepare(sql).all()
}

test('both files are copied whole, and say how far they go', async () => {
  await using at = await place()
  const folder = at.dir.file('backups/2026-11-22')
  const lines = await backup(folder, at.places)
  expect(lines).toEqual([
    expect.stringMatching(/topics\.db: 0\.\d MB, transactions up to 3, predictions up to 1$/),
    expect.stringMatching(/fraud\.db: 0\.\d MB, 1 predictions, the newest of 2026-01-02 03:04:07 UTC$/),
    expect.stringMatching(/^to put it back: stop the worker, npm run restore -- .*backups\/2026-11-22, start$/),
  ])
  expect(readdirSync(folder).toSorted()).toEqual(['fraud.db', 'topics.db'])
  mkdirSync(at.dir.file('archive'))
  expect(await backup(at.dir.file('c'), at.places)).toContainEqual(
    expect.stringMatching(/archive is not in it: copy it too/),
  )
  expect(recorded(`${folder}/fraud.db`)).toMatchObject([{ trans_num: 'trans-1' }])
  const copy = await sqliteTopics({ path: `${folder}/topics.db` })
  expect(await held(copy, 'transactions')).toEqual(await held(at.topics, 'transactions'))
  await copy.close()
})

test('offsets are not used twice in a copy, though records were removed', async () => {
  await using at = await place()
  await at.topics
    .reader('transactions', 'score')
    .read(3, AbortSignal.timeout(1000))
    .then((batch) => batch.commit(2))
  query(at.places.topics.path, 'DELETE FROM transactions')
  await backup(at.dir.file('b'), at.places)
  const file = at.dir.file('b/topics.db')
  expect(query(file, 'PRAGMA user_version')).toEqual(query(at.places.topics.path, 'PRAGMA user_version'))
  expect(query(file, 'SELECT * FROM position')).toEqual(query(at.places.topics.path, 'SELECT * FROM position'))
  expect(query(file, 'SELECT * FROM sqlite_sequence')).toEqual(
    query(at.places.topics.path, 'SELECT * FROM sqlite_sequence'),
  )
  const copy = await sqliteTopics({ path: file })
  await copy.append({ transactions: [transaction(4)] })
  expect((await Array.fromAsync(copy.scan('transactions'))).map(({ id }) => id)).toEqual(['4'])
  await copy.close()
})

test('a file that is there is never written over', async () => {
  await using at = await place()
  const folder = at.dir.file('b')
  mkdirSync(folder)
  writeFileSync(`${folder}/fraud.db`, 'mine')
  await expect(backup(folder, at.places)).rejects.toThrow(`${folder}/fraud.db is there already: name another folder`)
  expect(readdirSync(folder)).toEqual(['fraud.db'])
  expect(statSync(`${folder}/fraud.db`).size).toBe(4)
  await expect(backup(at.dir.path, at.places)).rejects.toThrow('is there already')
})

test('what a copy that was cut off has left is no obstacle', async () => {
  await using at = await place()
  mkdirSync(at.dir.file('b'))
  writeFileSync(at.dir.file('b/topics.db.part'), 'half of it')
  await backup(at.dir.file('b'), at.places)
  expect(readdirSync(at.dir.file('b')).toSorted()).toEqual(['fraud.db', 'topics.db'])
})

test.for(['', '-wal'])('nothing is begun without room for all of it, the file%s too', async (end) => {
  await using at = await place()
  const large = at.dir.file('large.db')
  for (const file of [large, `${large}${end}`]) writeFileSync(file, '')
  truncateSync(`${large}${end}`, 8e12) // all of it a hole
  await expect(backup(at.dir.file('b'), { ...at.places, database: sqlite(large) })).rejects.toThrow(
    /b has [\d.]+ MB free, and the copy may need 80000\d\d\.\d MB: make room, or name a folder on another disk$/,
  )
  expect(readdirSync(at.dir.file('b'))).toEqual([])
})

test.for<[string, (file: string) => unknown]>([
  ['is cut off', (file) => truncateSync(file, statSync(file).size - 4096)],
  [
    'has what its tables cannot hold',
    (file) => {
      using db = disposable(new DatabaseSync(file, { defensive: false }))
      db.exec(`INSERT INTO note VALUES ('a', 'text'); PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = replace(sql, 'value TEXT', 'value INTEGER') WHERE name = 'note'`)
    },
  ],
])('a file that %s is no backup, and leaves nothing behind', async ([, harm]) => {
  await using at = await place()
  const broken = at.dir.file('broken.db')
  await sqliteTopics({ path: broken }).then((topics) => topics.close())
  query(broken, 'PRAGMA journal_mode = DELETE')
  harm(broken)
  for (const places of [
    { ...at.places, topics: sqlite(broken) },
    { ...at.places, database: sqlite(broken) },
  ])
    await expect(backup(at.dir.file('b'), places)).rejects.toThrow(`cannot copy ${broken}`)
  expect(readdirSync(at.dir.file('b'))).toEqual([])
})

test('a file that is not there is said, and not made', async () => {
  await using at = await place()
  const missing = at.dir.file('no/topics.db')
  await expect(backup(at.dir.file('b'), { ...at.places, topics: sqlite(missing) })).rejects.toThrow(
    `there is no ${missing} to copy: is this the folder that the worker is started in?`,
  )
  expect(readdirSync(at.dir.path)).not.toContain('no')
  const same = at.dir.file('other/topics.db')
  await expect(backup(at.dir.file('b'), { ...at.places, database: sqlite(same) })).rejects.toThrow(
    'both files are named topics.db',
  )
})

test('what is on a server is left to its own tools, in the right order', async () => {
  await using at = await place()
  const server = postgres('postgres://u:secret@db.example/fraud')
  expect(await backup('b', { topics: server, database: server })).toEqual([
    'topics and predictions are in PostgreSQL at db.example/fraud: one pg_dump copies both',
  ])
  expect(await backup('b', { topics: server, database: postgres('postgres://db.example/other') })).toEqual([
    'the topics are in PostgreSQL at db.example/fraud: copy them before the predictions: pg_dump --schema=topics',
    'the predictions are in PostgreSQL at db.example/other: copy them now, after the topics: pg_dump --table=predictions --table=reviews --table=exports --table=baselines',
  ])
  const [first, second] = await backup(at.dir.file('b'), { topics: kafka, database: at.places.database })
  expect(first).toBe('the topics are in Kafka at a:9092: they are not copied, replicas keep them (KAFKA_REPLICATION)')
  expect(second).toContain('b/fraud.db: 0.1 MB, 1 predictions')
  expect((await backup(at.dir.file('c'), { topics: at.places.topics, database: server }))[1]).toBe(
    'the predictions are in PostgreSQL at db.example/fraud: copy them now, after the topics: pg_dump --table=predictions --table=reviews --table=exports --table=baselines',
  )
})

test('of a worker at full load it is one moment: another worker goes on from there, and all is recorded and mailed', async () => {
  const rows = Array.from({ length: 50_000 }, (_, n) => row(n, { amt: n % 20 === 0 ? 1000 : 10 })) // it comes to fewer
  await using dir = await tempDir()
  await using world = await outside(rows, dir.path)
  Object.assign(world.env, { ALERT_DAILY_LIMIT: '100000' })
  const places = { topics: sqlite(dir.file('topics.db')), database: sqlite(dir.file('fraud.db')) }
  const folders = ['b1', 'b2', 'b3'].map((name) => dir.file(name))
  {
    await using worker = startWorker(dir.path, world.env)
    await waitFor('rows', () => world.recorded().length > 300)
    world.model.down = true // some wait
    for (const folder of folders) {
      await backup(folder, places)
      world.model.down = false
      await sleep(500)
    }
    worker.kill('SIGKILL')
    await worker.end
  }
  world.producer.next = rows.length // nothing new comes in
  for (const folder of folders) {
    const topics = await sqliteTopics({ path: `${folder}/topics.db` })
    const kept = (await held(topics, 'transactions')).map(({ trans_num }) => trans_num)
    const before = { audit: await check(folder), recorded: recorded(`${folder}/fraud.db`).length }
    expect(before.audit.holds, before.audit.lines.join('\n')).toBe(true)
    expect(before.recorded).toBeGreaterThan(0)
    const env = { ...world.env, TOPICS_URL: `sqlite:${folder}/topics.db`, DATABASE_URL: `sqlite:${folder}/fraud.db` }
    await using worker = startWorker(folder, env)
    const inDatabase = () => recorded(`${folder}/fraud.db`).map(({ trans_num }) => String(trans_num))
    await waitFor('all rows', () => new Set(kept).isSubsetOf(new Set(inDatabase())), 30_000)
    const alert = topics.reader('predictions', 'alert')
    await waitFor(
      'all mails',
      async () => (await alert.lag()) + (await topics.state('alert/outbox/')).size === 0,
      30_000,
    )
    expect(new Set(inDatabase()).size).toBe(inDatabase().length)
    const { lines, holds } = await check(folder)
    expect(holds, lines.join('\n')).toBe(true)
    for (const row of rows.filter((row) => isFraud(row) && kept.includes(String(row.trans_num))))
      expect(world.mailed(row.trans_num), String(row.trans_num)).toBeGreaterThan(0)
    worker.kill('SIGTERM')
    await worker.end
    await topics.close()
  }

  async function check(folder: string) {
    const topics = await sqliteTopics({ path: `${folder}/topics.db` })
    const store = sqliteStore(`${folder}/fraud.db`)
    const result = await audit({ topics, store, retentionDays: 7 })
    await topics.close()
    await store.close()
    return result
  }
})
