import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { archive } from '../../src/archive/archive.ts'
import { COLUMNS } from '../../src/columns.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { history } from '../../src/simulate/history.ts'
import { recorded } from '../outside.ts'
import { saying } from '../review/suite.ts'
import { NOTHING, prediction, tempDir, transaction } from '../rows.ts'
import { environment } from './environment.ts'

const SCRIPT = fileURLToPath(new URL('archive.py', import.meta.url))

test('pandas and pyarrow read an archive that was added to, with each value as the database had it', async () => {
  const env = await environment('2.14.1')
  await using dir = await tempDir()
  const [store, reviews] = [sqliteStore(dir.file('fraud.db')), sqliteReviews(dir.file('fraud.db'))]
  const plain = [...history({ rows: 700, seed: 3 })].map((row, n) =>
    prediction(n, { ...transaction(n, { ...row, current_time: Date.UTC(2025, 1, 1) + n * 1001 }), score: n / 7 }),
  )
  const odd = prediction(900, {
    ...transaction(900, {
      ...NOTHING,
      cc_num: 9_223_372_036_854_775_807n,
      current_time: Date.UTC(2025, 11, 31, 23, 59, 59, 999),
    }),
    ...{ merchant: 'fraud_日本 "=1+1"\n', amt: 0.1 + 0.2, lat: -0, cc_num: 9_223_372_036_854_775_807n },
  })
  await store.insert([...plain, odd])
  await reviews.say([saying(plain[5]!, { note: 'é "1"', at: 1_767_400_000_001 })])
  await reviews.say([saying(odd, { verdict: 'legit', at: 1_767_400_000_002 })])
  const before = recorded(dir.file('fraud.db')).toSorted((a, b) => Number(a.event_time) - Number(b.event_time))
  const folder = dir.file('archive')
  await archive({ reviews, folder, before: Date.UTC(2026, 3), written: 200 }) // a group each
  await Promise.all([store.close(), reviews.close()])

  const text = execFileSync(env.python, [SCRIPT, `${folder}/predictions-2025.parquet`], {
    encoding: 'utf8',
    maxBuffer: 1e9,
  })
  const found = JSON.parse(text)
  expect(found).toMatchObject({ groups: 4, rows: 701 })
  expect(found.types).toMatchObject({ cc_num: 'int64', event_time: 'datetime64[ms, UTC]', amt: 'float64' })
  for (const [i, row] of before.entries())
    for (const name of COLUMNS) {
      const [value, exact] = [row[name] ?? null, found.exact[i][name]]
      if (name === 'trans_date_trans_time') expect(Number(exact)).toBe(Date.parse(`${value}Z`))
      else if (typeof value === 'number') expect([name, Number(exact)]).toEqual([name, value])
      else expect([name, exact]).toEqual([name, value === null ? null : String(value)])
    }
  expect(JSON.parse(found.pandas[5].reviews)).toMatchObject([{ verdict: 'fraud', note: 'é "1"' }])
}, 900_000)
