import type { Statement } from '../../review/figures.ts'
import type { Reviews } from '../../review/reviews.ts'
import { answeredBy } from '../../review/sqlite.ts'
import { WORK } from '../../review/work.ts'
import { migrate, openPostgres, type Rows } from './client.ts'
import { migrations } from './store.ts'

/** Of the table in a PostgreSQL database, on connections of their own. */
export function postgresReviews(url: URL): Reviews {
  const db = openPostgres(url, { connections: 2 })
  let migrated: Promise<void> | undefined
  return {
    ...answeredBy(async (name, given) => {
      migrated ??= migrate(db, 'predictions', migrations('predictions'))
      await migrated.catch((error) => {
        migrated = undefined
        throw error
      })
      return db.transaction(async (query) => {
        const work = (WORK[name] as (...given: unknown[]) => Generator<Statement, unknown, Rows>)(...given)
        let step = work.next()
        while (!step.done) step = work.next(await query(step.value[0], [...(step.value[1] ?? [])]))
        return step.value
      })
    }),
    close: () => db.close(),
  }
}
