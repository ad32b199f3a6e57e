import { DatabaseSync } from 'node:sqlite'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { tempDir } from '../rows.ts'
import type { Place } from './suite.ts'

/** A SQLite database of its own, for the suites that ask the same of each. */
export async function sqlitePlace(): Promise<Place> {
  const dir = await tempDir()
  const file = dir.file('fraud.db')
  return {
    store: async () => sqliteStore(file),
    reviews: () => sqliteReviews(file),
    async sql(text) {
      using db = new DatabaseSync(file)
      const statement = db.prepare(text)
      statement.setReadBigInts(true)
      return statement.all().map((row) => ({ ...row }))
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}
