import { afterAll, expect, test } from 'vitest'
import { postgresReviews } from '../../../src/engines/postgres/reviews.ts'
import { postgresStore } from '../../../src/engines/postgres/store.ts'
import { look, startPostgres } from '../../postgres.ts'
import { reviewSuite } from '../../review/suite.ts'
import { postgresPlace } from './place.ts'

const server = await startPostgres()
afterAll(() => server[Symbol.asyncDispose](), 60_000)

reviewSuite('PostgreSQL', postgresPlace(server))

test('reviews outlive a table that was dropped, and nobody empties them', async () => {
  const url = await server.database()
  const [store, reviews] = [postgresStore(url), postgresReviews(url)]
  await store.insert([])
  await reviews.recent(1)
  await expect(look(url, 'TRUNCATE reviews')).rejects.toThrow('reviews are only ever added')
  await look(url, 'DROP TABLE predictions, client_predict_schema')
  await expect(reviews.recent(1)).rejects.toThrow()
  await Promise.all([store.close(), reviews.close()])
  await using again = Object.assign(postgresReviews(url), { [Symbol.asyncDispose]: () => again.close() })
  expect(await again.recent(1)).toEqual([])
})
