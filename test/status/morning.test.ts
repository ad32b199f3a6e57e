import { expect, test } from 'vitest'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { morning } from '../../src/status/morning.ts'
import { outside } from '../outside.ts'
import { LONG_CARD, prediction, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const now = Date.UTC(2026, 4, 6, 5, 30)
const HOUR = 3_600_000

async function place() {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(await tempDir())
  const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
  const store = stack.adopt(sqliteStore(dir.file('fraud.db')), (s) => s.close())
  const reviews = stack.adopt(sqliteReviews(dir.file('fraud.db')), (r) => r.close())
  const options = { reviews, topics, zone: 'Europe/Paris', model: 'rf/7', file: dir.file('fraud.db'), reserve: 0 }
  const fine = async () => [{ name: 'the model', wrong: undefined, cure: '' }]
  return {
    dir,
    topics,
    store,
    options: { ...options, conditions: fine },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

test('says in a few lines what there was, what is open, what was missed, what is wrong, and how it grows', async () => {
  await using p = await place()
  const one = (n: number, hours: number, changes = {}) =>
    prediction(n, {
      event_time: now - hours * HOUR - 1,
      predicted_at: now - hours * HOUR,
      cc_num: LONG_CARD,
      ...changes,
    })
  await p.store.insert([
    one(1, 2, { prediction: 1, amt: 1200.5 }),
    one(2, 3, { prediction: 1, amt: 90 }),
    one(3, 4, { is_fraud: 1, amt: 55 }),
    one(4, 80, { prediction: 1, amt: 5 }),
    one(5, 30),
  ])
  await p.topics.append({ 'dead-letters': [{ stage: 'score', at: now, reason: 'bad', record: transaction(9) }] })
  const notice = await morning(p.options)(now - 24 * HOUR, now)
  expect(notice.subject).toBe('Fraud summary of 2026-05-06 07:30: 2 alarms, 3 open ($1,295.50)')
  expect(notice.lines).toEqual([
    'From 2026-05-05 07:30 to 2026-05-06 07:30, Europe/Paris.',
    'Alarms: 2 alarms, $1,290.50, of 3 payments judged. People called 0 fraud and 0 no fraud.',
    'Open: 2 alarms, $1,290.50: a day old at most; 1 alarm, $5.00: up to a week. The oldest is of 2026-05-02 23:29.',
    'Missed by the model: 1 payment, $55.00, by what the producer says (is_fraud).',
    'Trouble: none now.',
    '1 row set aside: npm run dead-letters lists them.',
    expect.stringMatching(/^Growth: 5 rows, 0\.\d MB; 1 a day; .* free; enough for ten years and more\.$/),
  ])
  expect(JSON.stringify(notice)).not.toMatch(/\d{11}/)
})

test('what cannot be asked is said, and the rest comes all the same', async () => {
  await using p = await place()
  const reviews = {
    days: async () => Promise.reject(new Error('no connection')),
    grown: async () => Promise.reject(new Error('no connection')),
  }
  const conditions = async () => [{ name: 'the database', wrong: 'cannot reach it.', cure: '' }]
  const notice = await morning({ ...p.options, reviews, conditions, model: 'simulated' })(now - HOUR, now)
  expect(notice.subject).toBe('[simulated] Fraud summary of 2026-05-06 07:30: not all is known')
  expect(notice.lines.slice(1)).toEqual([
    'Alarms: not known, no connection',
    'Trouble: the database: cannot reach it.',
    'Growth: not known, no connection',
  ])
})

test('the worker mails it at its time, once, however often it is started', async () => {
  await using dir = await tempDir()
  await using world = await outside([], dir.path)
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  await topics.append({}, { 'alert/daily': { day: '2026-05-05', at: now } }) // what a worker has noted that ran then
  await topics.close()
  const env = { ...world.env, DAILY_SUMMARY: '00:00', TIME_ZONE: 'Europe/Paris' }
  for (const _ of [1, 2]) {
    await using worker = startWorker(dir.path, env)
    await waitFor('the mail', () => world.smtp.mails.length > 0 && worker.text().includes('status page'))
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  }
  expect(world.smtp.mails).toHaveLength(1)
  expect(world.smtp.mails[0]).toMatch(/^Fraud summary of 20\d\d-.*: 0 alarms, 0 open\n/)
})
