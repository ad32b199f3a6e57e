import { afterAll } from 'vitest'
import { postgresReviews } from '../../../src/engines/postgres/reviews.ts'
import { postgresStore } from '../../../src/engines/postgres/store.ts'
import { archiveSuite } from '../../archive/suite.ts'
import { look, startPostgres } from '../../postgres.ts'

const server = await startPostgres()
afterAll(() => server[Symbol.asyncDispose](), 60_000)

archiveSuite('PostgreSQL', async () => {
  const url = await server.database()
  return {
    async store() {
      const store = postgresStore(url)
      await store.insert([])
      return store
    },
    reviews: () => postgresReviews(url),
    sql: (text) => look(url, text),
    [Symbol.asyncDispose]: async () => {},
  }
})
