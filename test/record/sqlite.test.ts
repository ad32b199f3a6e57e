import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { Refusal } from '../../src/isolate.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Store } from '../../src/record/store.ts'
import { reason } from '../../src/stage.ts'
import { prediction, tempDir } from '../rows.ts'
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
  expect(named(({ type }) => type === 'REAL')).toEqual('amt lat long merch_lat merch_long score'.split(' '))
  expect(named(({ type }) => type !== 'INTEGER' && type !== 'REAL' && type !== 'TEXT')).toEqual([])
  expect(named(({ notnull }) => notnull === 1n)).toEqual(
    'trans_date_trans_time cc_num amt trans_num unix_time prediction event_time fetched_at predicted_at'.split(' '),
  )
  expect(columns.filter(({ pk }) => pk !== 0n)).toMatchObject([
    { name: 'trans_num', pk: 1n },
    { name: 'event_time', pk: 2n },
  ])
  expect(sql(file, "SELECT strict FROM pragma_table_list('predictions')")).toEqual([{ strict: 1n }])
  expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 1n }])
})

test('a database of a newer program is refused, and left as it is', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  await sqliteStore(file).close()
  sql(file, 'PRAGMA user_version = 2')
  let refusal = ''
  try {
    sqliteStore(file)
  } catch (error) {
    refusal = reason(error)
  }
  expect(refusal).toBe(
    `cannot open ${file}: it has schema version 2 and this program knows version 1: update the program, or move the file away`,
  )
  expect(sql(file, 'PRAGMA user_version')).toEqual([{ user_version: 2n }])
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
