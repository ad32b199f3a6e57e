import type { Statement } from '../../review/figures.ts'
import type { Reviews } from '../../review/reviews.ts'
import { answeredBy } from '../../review/sqlite.ts'
import { WORK, WRITES } from '../../review/work.ts'
import { migrate, openPostgres, type Query, type Rows } from './client.ts'
import { migrations } from './store.ts'

/** One at a time, so that a number that is there has none before it that is still to come. */
const IN_ORDER = 'LOCK TABLE reviews IN SHARE ROW EXCLUSIVE MODE'

/** Of the table in a PostgreSQL database, on connections of their own. */
export function postgresReviews(url: URL): Reviews {
  const db = openPostgres(url, { connections: 4 })
  let migrated: Promise<void> | undefined
  return {
    ...answeredBy(async (name, given) => {
      migrated ??= migrate(db, 'predictions', migrations('predictions'))
      await migrated.catch((error) => {
        migrated = undefined
        throw error
      })
      const answer = async (query: Query) => {
        const work = (WORK[name] as (...given: unknown[]) => Generator<Statement, unknown, Rows>)(...given)
        let step = work.next()
        while (!step.done) step = work.next(await query(step.value[0], [...(step.value[1] ?? [])]))
        return step.value
      }
      if (!WRITES.includes(name)) return answer(db.query)
      return db.transaction(async (query) => {
        await query(IN_ORDER)
        return answer(query)
      })
    }),
    close: () => db.close(),
  }
}
