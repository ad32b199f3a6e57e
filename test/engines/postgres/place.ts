import { postgresReviews } from '../../../src/engines/postgres/reviews.ts'
import { postgresStore } from '../../../src/engines/postgres/store.ts'
import { look, type startPostgres } from '../../postgres.ts'
import type { Place } from '../../review/suite.ts'

/** A database of its own on that server, for the suites that ask the same of each. */
export const postgresPlace =
  (server: Pick<Awaited<ReturnType<typeof startPostgres>>, 'database'>) => async (): Promise<Place> => {
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
  }
