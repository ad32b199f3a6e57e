import { copyFileSync, readFileSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { Refusal, reason } from '../../src/io/errors.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Store } from '../../src/record/store.ts'
import { listeningLog, prediction, tempDir } from '../rows.ts'
import { storeSuite } from './suite.ts'

/** Looks into a SQLite file past the code that owns it. */
function sql(file: string, text: string): Record<string, unknown>[] {
  using db = new DatabaseSync(file)
  const statement = db.prepare(text)
  statement.setReadBigInts(true)
  return statement.all().map((row) => ({ ...row }))
}

storeSuite('SQLite', async () => {
  const dir = await tempDir()
  return {
    open: async () => sqliteStore(dir.file('fraud.db')),
    sql: async (text) => sql(dir.file('fraud.db'), text),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
})

test('the table is strict, its types and its key are those of the design', async () => {
  await using dir = await tempDir()
  const file = dir.file('new/folder/fraud.db')
  await sqliteStore(file).close()
  const columns = sql(file, 'SELECT name, type, "notnull", pk FROM pragma_table_info(\'predictions\')')
  const named = (test: (column: Record<string, unknown>) => boolean) => columns.filter(test).map(({ name }) => name)
  expect(named(({ type }) => type === 'INTEGER')).toEqual(
    'cc_num zip city_pop unix_time is_fraud prediction event_time fetched_at predicted_at fraud_confirmed reviewed_at'.split(
      ' ',
    ),
  )
  expect(named(({ type }) => type === 'REAL')).toEqual(
    'amt lat long merch_lat merch_long score sampled threshold'.split(' '),
  )
  expect(named(({ type }) => type !== 'INTEGER' && type !== 'REAL' && type !== 'TEXT')).toEqual([])
  expect(named(({ notnull }) => notnull === 1n)).toEqual(
    'trans_date_trans_time cc_num amt trans_num unix_time prediction event_time fetched_at predicted_at'.split(' '),
  )
  expect(columns.filter(({ pk }) => pk !== 0n)).toMatchObject([
    { name: 'trans_num', pk: 1n },
    { name: 'event_time', pk: 2n },
  ])
  expect(sql(file, "SELECT strict FROM pragma_table_list('predictions')")).toEqual([{ strict: 1n }])
  expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 5n }])
})

test('a database of a newer program is refused, and left as it is', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  await sqliteStore(file).close()
  sql(file, 'PRAGMA user_version = 6')
  let refusal = ''
  try {
    sqliteStore(file)
  } catch (error) {
    refusal = reason(error)
  }
  expect(refusal).toBe(
    `cannot open ${file}: it has schema version 6 and this program knows version 5: update the program, or move the file away`,
  )
  expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 6n }])
})

test('a failure names the file, a refusal the column and never the value', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  const store = sqliteStore(file)
  try {
    const zip = '4111111111111111' as unknown as number
    await expect(store.insert([prediction(1, { zip: `${zip}x` as unknown as number })])).rejects.toThrow(
      /^the database refused the row: cannot store TEXT value in INTEGER column predictions\.zip$/,
    )
    sql(file, 'DROP TABLE predictions')
    await expect(store.insert([prediction(1)]).catch(reason)).resolves.toBe(
      `cannot record in ${file}: no such table: predictions`,
    )
  } finally {
    await store.close()
  }
})

test('a file that another program has locked is no mistake at the start and an outage later', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  let store: Store | undefined
  try {
    {
      using other = new DatabaseSync(file)
      other.exec('BEGIN EXCLUSIVE')
      store = sqliteStore(file)
      const failure = await store.insert([prediction(1)]).catch((error) => error)
      expect(reason(failure)).toBe(`cannot record in ${file}: cannot open ${file}: database is locked`)
      expect(failure).not.toBeInstanceOf(Refusal)
    }
    await store.insert([prediction(1)])
    expect(sql(file, 'SELECT trans_num FROM predictions')).toEqual([{ trans_num: 'trans-1' }])
  } finally {
    await store?.close()
  }
})

// Closing a file that is open elsewhere in the process gives up every lock that the process has on it: an older sqlite3 that
// looks in, and closes, would then take the -wal away from under the worker.
test.skipIf(process.platform !== 'linux')('a write that failed gives up no lock of the file', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  const { log } = listeningLog()
  const store = sqliteStore(file, { log })
  try {
    await store.insert([prediction(1)])
    using desk = new DatabaseSync(file)
    desk.exec('SELECT 1 FROM predictions')
    using other = new DatabaseSync(file)
    other.exec('BEGIN IMMEDIATE')
    await expect(store.insert([prediction(2)])).rejects.toThrow()
    other.exec('ROLLBACK')
    await store.insert([prediction(3)])
    const locks = readFileSync('/proc/locks', 'utf8').split('\n')
    const ours = locks.filter((line) => line.includes(` ${process.pid} `) && line.includes(`:${statSync(file).ino} `))
    expect(ours).toEqual([expect.stringContaining('READ')])
  } finally {
    await store.close()
  }
})

describe('a file of version 1', () => {
  /** As the first release made it. Never changed. */
  const VERSION_1 = `CREATE TABLE predictions (
    trans_date_trans_time TEXT NOT NULL, cc_num INTEGER NOT NULL, merchant TEXT, category TEXT, amt REAL NOT NULL, first TEXT,
    last TEXT, gender TEXT, street TEXT, city TEXT, state TEXT, zip INTEGER, lat REAL, long REAL, city_pop INTEGER, job TEXT,
    dob TEXT, trans_num TEXT NOT NULL, unix_time INTEGER NOT NULL, merch_lat REAL, merch_long REAL, is_fraud INTEGER,
    prediction INTEGER NOT NULL, score REAL, model TEXT, event_time INTEGER NOT NULL, fetched_at INTEGER NOT NULL,
    predicted_at INTEGER NOT NULL, fraud_confirmed INTEGER, reviewed_at INTEGER, reviewed_by TEXT,
    PRIMARY KEY (trans_num, event_time)
  ) STRICT; PRAGMA user_version = 1; PRAGMA journal_mode = WAL`
  const VERDICTS = [null, 0, 1, null]
  async function old(file: string, more = '') {
    const db = new DatabaseSync(file)
    db.exec(VERSION_1)
    for (const [n, fraud_confirmed] of VERDICTS.entries()) {
      const row = { ...prediction(n), fraud_confirmed, reviewed_at: n, reviewed_by: 'Zoë' }
      const columns = Object.keys(row)
      db.prepare(`INSERT INTO predictions (${columns}) VALUES (${columns.map(() => '?')})`).run(
        ...(Object.values(row) as string[]),
      )
    }
    db.exec(`INSERT INTO predictions SELECT trans_date_trans_time, ${2n ** 63n - 1n}, NULL, 'ü', 1e300, '', NULL, NULL, NULL,
      NULL, NULL, -1, 0.1, -0.0, 0, NULL, NULL, 'odd', ${-(2n ** 63n)}, NULL, NULL, 0, 1, 5e-324, '7', 0, 0, 0, NULL, NULL, NULL
      FROM predictions LIMIT 1; ${more}`)
    db.close()
    return sql(file, 'SELECT * FROM predictions ORDER BY rowid')
  }

  test('is opened with every value, and from then on takes no other verdict than 0, 1 or none', async () => {
    await using dir = await tempDir()
    const file = dir.file('fraud.db')
    const rows = await old(
      file,
      'ALTER TABLE predictions ADD COLUMN mine TEXT; CREATE INDEX mine ON predictions (model)',
    )
    const store = sqliteStore(file)
    await store.insert([prediction(9)])
    await store.close()
    const unsampled = rows.map((row) => ({ ...row, sampled: null, threshold: null }))
    expect(sql(file, "SELECT * FROM predictions WHERE trans_num <> 'trans-9' ORDER BY rowid")).toEqual(unsampled)
    expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 5n }])
    expect(sql(file, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }])
    expect(sql(file, "SELECT count(*) AS n FROM sqlite_schema WHERE name = 'mine'")).toEqual([{ n: 1n }])
    for (const verdict of ['0', '1', 'NULL']) sql(file, `UPDATE predictions SET fraud_confirmed = ${verdict}`)
    for (const verdict of ['2', '-1', '9223372036854775807'])
      expect(() => sql(file, `UPDATE predictions SET fraud_confirmed = ${verdict}`)).toThrow('CHECK constraint failed')
    await sqliteStore(file).close()
    sql(file, 'ALTER TABLE predictions ADD COLUMN later INTEGER') // as a later version may
  })

  test('with another verdict is refused, and left as it is', async () => {
    await using dir = await tempDir()
    const file = dir.file('fraud.db')
    const rows = await old(file, "UPDATE predictions SET fraud_confirmed = 7 WHERE trans_num = 'odd'")
    expect(() => sqliteStore(file)).toThrow(`cannot open ${file}`)
    await expect((async () => sqliteStore(file))().catch(reason)).resolves.toMatch(
      /fraud_confirmed is neither 0, 1 nor null in 1 row: correct them first$/,
    )
    expect(sql(file, 'SELECT * FROM predictions ORDER BY rowid')).toEqual(rows)
    expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 1n }])
    sql(file, 'UPDATE predictions SET fraud_confirmed = 1 WHERE fraud_confirmed = 7')
    await sqliteStore(file).close()
  })

  test('that is killed in the middle of its steps is of version 1, and is opened by the next', async () => {
    await using dir = await tempDir()
    const file = dir.file('fraud.db')
    await old(file)
    const { exec } = DatabaseSync.prototype
    DatabaseSync.prototype.exec = function (text) {
      if (text.includes('user_version = 5'))
        for (const part of ['', '-wal']) copyFileSync(`${file}${part}`, dir.file(`killed.db${part}`))
      exec.call(this, text)
    }
    try {
      await sqliteStore(file).close()
    } finally {
      DatabaseSync.prototype.exec = exec
    }
    copyFileSync(dir.file('killed.db'), dir.file('again.db'))
    expect(sql(dir.file('killed.db'), 'PRAGMA user_version')).toEqual([{ user_version: 1n }])
    await sqliteStore(dir.file('again.db')).close()
    expect(sql(dir.file('again.db'), 'PRAGMA user_version')).toEqual([{ user_version: 5n }])
  })
})
