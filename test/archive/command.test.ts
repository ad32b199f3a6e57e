import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { expect, test } from 'vitest'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { seeded } from '../../src/simulate/random.ts'
import { recorded } from '../outside.ts'
import { LONG_CARD, prediction, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const settings = { TOPICS_URL: 'sqlite:topics.db', DATABASE_URL: 'sqlite:fraud.db' }
const DAYS = 86_400_000
/** One is two years old, the others are of three years before. */
const old = (n: number) => {
  const at = Date.now() - (800 + (n % 3) * 365) * DAYS + n
  const { cc_num, ...row } = transaction(n, { cc_num: LONG_CARD + BigInt(n), current_time: at })
  return prediction(n, { ...row, cc_num, predicted_at: at, fetched_at: at })
}

async function place(count: number) {
  const dir = await tempDir()
  const rows = Array.from({ length: count }, (_, n) => old(n))
  const store = sqliteStore(dir.file('fraud.db'))
  await store.insert(rows)
  await store.close()
  return {
    ...dir,
    rows,
    run: async (...args: string[]) => {
      await using child = startWorker(dir.path, { ...settings, ROWS_KEEP_DAYS: '730' }, ...args)
      const { code } = await child.end
      return { code, text: child.text() }
    },
    /** How often each is in the table, and in the files. */
    async counted() {
      const names = (list: readonly Record<string, unknown>[]) => list.map(({ cc_num }) => String(cc_num))
      const files = readdirSync(dir.path, { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.endsWith('.parquet'),
      )
      const read = async (name: string) => parquetReadObjects({ file: await asyncBufferFromFile(dir.file(name)) })
      return {
        table: names(recorded(dir.file('fraud.db'))),
        files: names((await Promise.all(files.map(read))).flat()),
      }
    },
  }
}

test('killed again and again at any moment nothing is lost; run to its end each row is in the files once', async () => {
  await using at = await place(1200)
  const random = seeded(7)
  const all = at.rows.map(({ cc_num }) => String(cc_num)).sort()
  let kills = 0
  for (let ended = false; !ended; ) {
    await using child = startWorker(at.path, { ...settings, ROWS_KEEP_DAYS: '730' }, 'archive')
    const over = child.end.then(() => true)
    ended = await Promise.race([over, sleep(kills === 0 ? 100 : random.integer(300, 900 + kills * 300), false)])
    child.kill('SIGKILL')
    if (!ended) kills++
    await child.end
    const { table, files } = await at.counted()
    expect([...new Set([...table, ...files])].sort()).toEqual(all)
    expect(new Set(files).size).toBe(files.length)
  }
  writeFileSync(at.file('archive/predictions-2020.parquet.part'), 'half a file')
  expect(await at.run('archive')).toMatchObject({ code: 0, text: expect.stringContaining('0 rows from before') })
  const { table, files } = await at.counted()
  expect([table, files.sort()]).toEqual([[], all])
  expect(kills).toBeGreaterThan(0)
})

test('what was archived is accounted for, is not recorded again, and comes back with its verdict', async () => {
  await using at = await place(6)
  const topics = await sqliteTopics({ path: at.file('topics.db') })
  const lately = { fetched_at: Date.now() } // as where a reader is far behind: the topics keep what is old
  await topics.append({
    transactions: at.rows.map((row) => ({ ...row, ...lately })),
    predictions: at.rows,
  })
  for (const [topic, reader] of [
    ['transactions', 'score'],
    ['predictions', 'alert'],
    ['predictions', 'record'],
  ] as const)
    await topics
      .reader(topic, reader)
      .read(10, AbortSignal.timeout(5000))
      .then((batch) => batch.commit(6))
  await topics.close()
  const reviews = sqliteReviews(at.file('fraud.db'))
  const verdict = { verdict: 'fraud' as const, note: 'called', reviewer: 'anna', via: 'page' as const, at: 5000 }
  const { trans_num, event_time } = at.rows[4]!
  await reviews.say([{ trans_num, event_time, ...verdict }])
  await reviews.close()
  const before = recorded(at.file('fraud.db'))
  expect(await at.run('archive')).toMatchObject({ code: 0, text: expect.stringContaining('6 rows from before') })
  expect(recorded(at.file('fraud.db'))).toEqual([])
  expect(await at.run('audit')).toMatchObject({ code: 0, text: expect.stringContaining('6 recorded') })
  expect((await at.run('replay', '--stage', 'record')).text).toContain('0 written, 6 there already')
  expect(recorded(at.file('fraud.db'))).toEqual([])
  for (const name of readdirSync(at.file('archive')).filter((name) => name.endsWith('.parquet')))
    expect(await at.run('archive', '--restore', `archive/${name}`)).toMatchObject({ code: 0 })
  expect(recorded(at.file('fraud.db'))).toEqual(before)
  for (const name of readdirSync(at.file('archive'))) rmSync(at.file(`archive/${name}`))
  expect(await at.run('audit')).toMatchObject({ code: 0 })
})

test('nothing moves without ROWS_KEEP_DAYS', async () => {
  await using at = await place(1)
  await using none = startWorker(at.path, settings, 'archive')
  expect(await none.end).toMatchObject({ code: 2 })
  expect(none.text()).toContain('ROWS_KEEP_DAYS: is not set')
  expect(recorded(at.file('fraud.db'))).toHaveLength(1)
})

test('a worker moves what is old by itself', async () => {
  await using at = await place(3)
  await using worker = startWorker(at.path, { ...settings, ROWS_KEEP_DAYS: '730', PORT: '0' })
  await waitFor('the rows to be moved', () => worker.text().includes('archive: 3 rows from before'))
  worker.kill('SIGTERM')
  expect(await worker.end).toMatchObject({ code: 0 })
  const { table, files } = await at.counted()
  expect(files.sort()).toEqual(at.rows.map(({ cc_num }) => String(cc_num)).sort())
  expect(table.filter((card) => files.includes(card))).toEqual([])
})
