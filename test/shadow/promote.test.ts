import { afterAll, test } from 'vitest'
import { type Server, startPostgres } from '../postgres.ts'
import { promoteUnderLoad } from './promotions.ts'

let server: Server | undefined
afterAll(() => server?.[Symbol.asyncDispose]())
async function database() {
  server ??= await startPostgres()
  const { href } = await server.database()
  return { TOPICS_URL: href, DATABASE_URL: href }
}

test.for<[string, () => Promise<Record<string, string>>, number]>([
  ['SQLite', async () => ({}), 1],
  ['PostgreSQL, with two scorers', database, 2],
])(
  '20 promotions under load in %s: each row is stamped once, by whom it was judged; the audit holds',
  async ([, where, workers]) => promoteUnderLoad(await where(), workers),
)
