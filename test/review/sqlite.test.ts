import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { prediction, tempDir } from '../rows.ts'
import { sqlitePlace } from './place.ts'
import { reviewSuite, saying } from './suite.ts'

reviewSuite('SQLite', sqlitePlace)

test('a file that is not there is no mistake, and is read when it comes', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  const reviews = sqliteReviews(file)
  await expect(reviews.recent(1)).rejects.toThrow(`cannot review in ${file}`)
  await using store = Object.assign(sqliteStore(file), { [Symbol.asyncDispose]: () => store.close() })
  await store.insert([prediction(1)])
  expect(await reviews.recent(1)).toHaveLength(1)
  await reviews.close()
})

test('while somebody else holds the lock a verdict waits, and nothing here does', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  await using store = Object.assign(sqliteStore(file), { [Symbol.asyncDispose]: () => store.close() })
  await store.insert([prediction(1)])
  const reviews = sqliteReviews(file)
  await reviews.recent(1)
  using other = new DatabaseSync(file)
  other.exec('BEGIN IMMEDIATE')
  const said = reviews.say([saying(prediction(1))])
  const start = performance.now()
  await sleep(300) // which a waiting loop would make longer
  expect(performance.now() - start).toBeLessThan(1500)
  other.exec('COMMIT')
  expect(await said).toMatchObject([{ review: { id: 1 } }])
  await reviews.close()
})
