import { rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { disposable, outside, someRows } from '../outside.ts'
import { look, type Server, startPostgres } from '../postgres.ts'
import { body, freePort, httpServer, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { client, formOf } from './place.ts'

type Run = (...args: string[]) => Promise<string>
/** A database that can be asked, copied, put back, and lost. */
type Kept = {
  url: string
  sql(text: string): Promise<Record<string, unknown>[]>
  backup(run: Run): Promise<unknown>
  restore(run: Run): Promise<unknown>
  lose(): Promise<unknown>
}

function sqlite(file: string, folder: string): Kept {
  return {
    url: `sqlite:${file}`,
    async sql(text) {
      using db = disposable(new DatabaseSync(file))
      const statement = db.prepare(text)
      statement.setReadBigInts(true)
      return statement.all().map((row) => ({ ...row }))
    },
    backup: (run) => run('backup', folder),
    restore: (run) => run('restore', folder, '--replace'),
    lose: async () => {
      for (const end of ['', '-wal', '-shm', '.mark']) rmSync(`${file}${end}`, { force: true })
    },
  }
}

async function postgres(server: Server): Promise<Kept> {
  const url = await server.database()
  const name = url.pathname.slice(1)
  return {
    url: url.href,
    sql: (text) => look(url, text),
    backup: () => server.sql(`CREATE DATABASE ${name}_copy TEMPLATE ${name} OWNER ${url.username}`),
    async restore() {
      await server.sql(`DROP DATABASE ${name}`)
      await server.sql(`ALTER DATABASE ${name}_copy RENAME TO ${name}`)
    },
    lose: () => look(url, 'DROP TABLE predictions, reviews, exports, client_predict_schema'),
  }
}

const LABELS = `SELECT trans_num, event_time, fraud_confirmed, reviewed_at, reviewed_by FROM predictions
  WHERE reviewed_at IS NOT NULL ORDER BY event_time, trans_num`
const REVIEWS = 'SELECT trans_num, event_time, verdict, note, reviewer, via, at FROM reviews ORDER BY id'
/** Rows whose columns are not what was said of them last. */
const UNLIKE = `SELECT count(*) AS n FROM predictions AS p LEFT JOIN (
    SELECT * FROM reviews AS r WHERE NOT EXISTS (SELECT 1 FROM reviews AS later
      WHERE later.trans_num = r.trans_num AND later.event_time = r.event_time AND later.id > r.id)
  ) AS r ON r.trans_num = p.trans_num AND r.event_time = p.event_time
  WHERE coalesce(p.fraud_confirmed, 2) <> CASE r.verdict WHEN 'fraud' THEN 1 WHEN 'legit' THEN 0 ELSE 2 END
  OR coalesce(p.reviewed_at, 0) <> coalesce(r.at, 0) OR coalesce(p.reviewed_by, '') <> coalesce(r.reviewer, '')`

describe('in a real worker that records 200 rows a second', () => {
  let server: Server
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(() => server[Symbol.asyncDispose](), 60_000)

  test.for(['SQLite', 'PostgreSQL'])(
    'no verdict is lost: killed among 500 of them, put back from a backup, or made anew and imported, in %s',
    { timeout: 400_000 },
    async (engine) => {
      await using dir = await tempDir()
      await using world = await outside([], dir.path)
      let next = 0
      const rows = someRows(20_000)
      await using producer = await httpServer((_, response) => {
        response.end(body(rows.slice(next, next + 20)))
        next += 20
      })
      const db = engine === 'SQLite' ? sqlite(dir.file('fraud.db'), dir.file('backup')) : await postgres(server)
      const port = await freePort()
      const pace = { PRODUCER_URL: producer.url.href, PRODUCER_RATE_PER_MIN: '600' } // 20 rows, ten times a second
      const settings = { ...world.env, ...pace, DATABASE_URL: db.url, PORT: `${port}` }
      const run: Run = async (...args) => {
        await using command = startWorker(dir.path, { ...settings, PORT: '0' }, ...args)
        const { code } = await command.end
        expect({ args, code, text: code === 0 ? '' : command.text() }).toEqual({ args, code: 0, text: '' })
        return command.text()
      }
      const answered: string[] = []
      for (const until of [170, 340, 510]) {
        await using worker = startWorker(dir.path, settings)
        const c = client(`http://127.0.0.1:${port}`)
        const queue = () => c.get('/desk').catch(() => ({ status: 0, text: '' }))
        await waitFor('alarms', async () => /checkbox/.test((await queue()).text))
        const say = async (path: string) => {
          const { text } = await c.get(path)
          const verdict = ['fraud', 'legit', 'unsure'][answered.length % 3]!
          const { status } = await c.post(path, { ...formOf(text, path), verdict, note: path })
          if (status === 303) answered.push(path)
          if (answered.length >= until) worker.kill('SIGKILL')
        }
        while (worker.running() && answered.length < until) {
          const ids = [...(await queue()).text.matchAll(/name="of" value="([^~"]+)~/g)].map(([, id]) => `/desk/${id}`)
          await Promise.all(ids.slice(0, 40).map((path) => say(path).catch(() => {}))) // those that are cut off are not answered
        }
        worker.kill('SIGKILL')
        await worker.end
      }
      const reviews = await db.sql(REVIEWS)
      const notes = reviews.map(({ note }) => note)
      expect(answered.length).toBeGreaterThanOrEqual(510)
      expect(new Set(notes).size).toBe(notes.length)
      expect(answered.filter((path) => !notes.includes(path))).toEqual([])
      expect(await db.sql(UNLIKE)).toEqual([{ n: 0n }])

      const labels = await db.sql(LABELS)
      const equal = async () => {
        expect(await db.sql(LABELS)).toEqual(labels)
        expect(await db.sql(REVIEWS)).toEqual(reviews)
        expect(await db.sql(UNLIKE)).toEqual([{ n: 0n }])
      }
      await db.backup(run)
      writeFileSync(dir.file('labels.csv'), await run('label', 'export'))
      await db.lose()
      await db.restore(run)
      await equal()

      await db.sql('DELETE FROM predictions') // and the verdicts stay
      await run('replay', '--stage', 'record')
      await run('label', 'import', 'labels.csv')
      await equal()

      await db.lose()
      await run('replay', '--stage', 'record')
      await run('label', 'import', 'labels.csv')
      await equal()
    },
  )
})
