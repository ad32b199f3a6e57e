import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { short } from '../../src/alert/sent.ts'
import { audit } from '../../src/commands/audit.ts'
import { retryLetters } from '../../src/commands/dead-letters.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { ReaderName, Writes } from '../../src/topic/topic.ts'
import { identity, type Prediction, type Transaction } from '../../src/transaction.ts'
import { disposable, outside } from '../outside.ts'
import { LONG_CARD, prediction, row, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const DAY = 86_400_000
const HOUR = 3_600_000
const NOW = Date.UTC(2026, 10, 22, 12)
const t = (n: number, changes: Partial<Transaction> = {}): Transaction => ({
  ...transaction(n),
  fetched_at: NOW - HOUR + n,
  ...changes,
})
const p = (n: number, changes: Partial<Prediction> = {}): Prediction => ({
  ...prediction(n),
  fetched_at: NOW - HOUR + n,
  predicted_at: NOW - HOUR + n + 1,
  ...changes,
})
const fraud = (n: number) => p(n, { prediction: 1 })
const letter = (stage: 'score' | 'record', record: Transaction) => ({ stage, at: NOW, reason: 'no reason', record })
const upTo = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i + 1))

type Mails = {
  waiting?: Prediction[]
  letters?: object[]
  sent?: Prediction[]
  total?: object
  waits?: object
}
const alarms = (rows: object) => Object.fromEntries(Object.entries(rows).map(([key, row]) => [`alert/${key}`, row]))

/** What a worker leaves behind: topics with positions and the mails' rows, and the database. */
async function place({
  score = 0,
  record = 0,
  alert = 0,
  mails: { waiting = [], letters = [], sent = [], ...mails } = {},
  store: rows = [] as Prediction[],
  ...writes
}: Writes & {
  score?: number
  record?: number
  alert?: number
  mails?: Mails
  store?: Prediction[]
}) {
  const dir = await tempDir()
  const [topicsFile, storeFile] = [dir.file('topics.db'), dir.file('fraud.db')]
  const topics = await sqliteTopics({ path: topicsFile })
  const store = sqliteStore(storeFile)
  await topics.append(writes)
  await store.insert(rows)
  const move = async (reader: ReaderName, count: number, notes = {}) => {
    const read = topics.reader(reader === 'score' ? 'transactions' : 'predictions', reader as never)
    if (count > 0) await (await read.read(count, AbortSignal.timeout(1000))).commit(count, {}, notes)
  }
  await move('score', score)
  await move('record', record)
  await move('alert', alert)
  await topics.append(
    {},
    alarms({
      ...Object.fromEntries(waiting.map((fraud) => [`outbox/${identity(fraud)}`, fraud])),
      ...Object.fromEntries(letters.map((draft, i) => [`letter/${i}`, draft])),
      ...(sent.length > 0 && { 'sent/1': { at: NOW, of: sent.map((fraud) => short(identity(fraud))) } }),
      ...mails,
    }),
  )
  const sql = (file: string, text: string) => {
    using db = disposable(new DatabaseSync(file))
    db.exec(text)
  }
  return {
    topics,
    store,
    move,
    audit: (more = {}) => audit({ topics, store, retentionDays: 7, now: () => NOW, ...more }),
    inTopics: (text: string) => sql(topicsFile, text),
    inStore: (text: string) => sql(storeFile, text),
    async [Symbol.asyncDispose]() {
      await topics.close()
      await store.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** Of 1,200 transactions 1,100 are judged, the last of these refused, 1,000 recorded, and 12 frauds; 9 are mailed. */
const busy = () =>
  place({
    transactions: upTo(1200, (n) => t(n)),
    predictions: upTo(1099, (n) => (n % 100 === 0 ? fraud(n) : n === 1098 || n === 1099 ? fraud(n) : p(n))),
    'dead-letters': [letter('score', t(1100)), letter('record', p(5))],
    store: upTo(1000, (n) => (n % 100 === 0 ? fraud(n) : p(n))).filter(({ trans_num }) => trans_num !== 'trans-5'),
    score: 1100,
    record: 1000,
    alert: 1000,
    mails: { sent: [fraud(1098)], waiting: [fraud(100), fraud(200)], total: { frauds: 11, mailed: 9 } },
  })
describe('the account', () => {
  test('holds: every transaction is judged, waits or is set aside, every prediction recorded, every fraud mailed', async () => {
    await using at = await busy()
    expect(await at.audit()).toEqual({
      holds: true,
      lines: [
        'fetched    1,200 = 1,099 predicted + 100 waiting + 1 set aside',
        'predicted  1,099 = 999 recorded + 99 waiting + 1 set aside',
        'frauds        12 = 9 mailed + 3 waiting',
        'ever          11 = 9 mailed + 2 waiting',
        '(frauds: those that are still kept; ever: each once, since the topics are there)',
        'the account holds, over what the topics keep (since 2026-11-22 11:00:00 UTC)',
      ],
    })
  })
  test('holds where there is nothing at all, and says so', async () => {
    await using at = await place({})
    const { holds, lines } = await at.audit()
    expect(holds).toBe(true)
    expect(lines.at(-1)).toBe('the account holds, over what the topics keep (no transactions)')
  })
  test('holds where nothing of the mails is noted, and counts no frauds for ever then', async () => {
    await using at = await place({ transactions: [t(1)], predictions: [fraud(1)], score: 1, alert: 1 })
    const { holds, lines } = await at.audit()
    expect(holds).toBe(true)
    expect(lines.join('\n')).not.toContain('ever')
    expect(lines[2]).toBe('frauds     1 = 1 mailed + 0 waiting')
  })
  test('holds when a dead letter is put back, or discarded', async () => {
    await using at = await place({
      transactions: [t(1), t(2)],
      'dead-letters': [letter('score', t(1)), letter('score', t(2)), { retried: '2', at: NOW }],
      score: 2,
    })
    await retryLetters(at.topics, at.store, ['1'])
    expect((await at.audit()).lines[0]).toBe('fetched    3 = 0 predicted + 1 waiting + 2 set aside')
    await at.topics.append({ predictions: [p(1)] })
    await at.move('score', 1)
    expect(await at.audit()).toMatchObject({
      holds: true,
      lines: { 0: 'fetched    3 = 1 predicted + 0 waiting + 2 set aside' },
    })
  })
  test('counts an identity as often as it came', async () => {
    await using at = await place({ transactions: [t(1), t(1), t(1)], predictions: [p(1), p(1)], score: 3 })
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines[0]).toBe('fetched    3 = 2 predicted + 0 waiting + 0 set aside + 1 LOST')
    await at.topics.append({ predictions: [p(1)] })
    expect((await at.audit()).holds).toBe(true)
  })
  test('finds each row that is lost among odd names that repeat, wherever pages of the topics begin', async () => {
    const odd = ['"', '\\", "event_time":1', '🙂\u2028', '0123', '1e3', "'--"]
    const changes = (n: number) => ({ trans_num: odd[n % 7] ?? `${n}`, event_time: n - (n % 2), cc_num: LONG_CARD })
    const rows = upTo(2200, (n) => p(n, changes(n)))
    const unjudged = [1, 1000, 1001, 2000, 2200]
    const predictions = rows.filter((_, i) => !unjudged.includes(i + 1))
    const unrecorded = [1000, 1001, 1500, 2000].map((offset) => predictions[offset - 1]!)
    await using at = await place({
      transactions: upTo(2200, (n) => t(n, changes(n))),
      predictions,
      'dead-letters': [letter('score', t(1000, changes(1000))), letter('record', unrecorded[2]!)],
      store: predictions.filter((row) => !unrecorded.some((one) => identity(one) === identity(row))),
      score: 2200,
      record: predictions.length,
    })
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines.slice(0, 2)).toEqual([
      'fetched    2,200 = 2,195 predicted + 0 waiting + 1 set aside + 4 LOST',
      'predicted  2,195 = 2,191 recorded + 0 waiting + 1 set aside + 3 LOST',
    ])
    expect(lines.flatMap((line) => /^(?:transactions|predictions) \d+/.exec(line) ?? [])).toEqual([
      ...['transactions 1', 'transactions 1001', 'transactions 2000', 'transactions 2200'],
      ...['predictions 1000', 'predictions 1001', 'predictions 2000'],
    ])
  })
  test('takes a dead letter for one transaction, though its identity repeats', async () => {
    await using at = await place({ transactions: [t(1), t(1)], 'dead-letters': [letter('score', t(1))], score: 2 })
    expect((await at.audit()).lines[0]).toBe('fetched    2 = 0 predicted + 0 waiting + 1 set aside + 1 LOST')
  })
  test('counts a fraud that waits beyond the position once', async () => {
    const mails = { waiting: [fraud(2)], total: { frauds: 1, mailed: 0 } }
    await using at = await place({ predictions: [fraud(1), fraud(2)], mails })
    expect((await at.audit()).lines.slice(2, 4)).toEqual([
      'frauds     2 = 0 mailed + 2 waiting',
      'ever       1 = 0 mailed + 1 waiting',
    ])
  })
  test('is found with little memory: both topics side by side, the database asked for 500 at a time', async () => {
    await using at = await busy()
    const come = { transactions: 0, predictions: 0, 'dead-letters': 0 }
    let [apart, asked] = [0, 0]
    const topics: Topics = {
      ...at.topics,
      async *scan(topic) {
        for await (const entry of at.topics.scan(topic)) {
          come[topic]++
          if (come.transactions < 1099) apart = Math.max(apart, Math.abs(come.transactions - come.predictions))
          yield entry
        }
      },
    }
    const missing = (rows: readonly Prediction[]) => {
      asked = Math.max(asked, rows.length)
      return at.store.missing(rows)
    }
    expect((await at.audit({ topics, store: { ...at.store, missing } })).holds).toBe(true)
    expect([apart, asked]).toEqual([1, 500])
  })
  test('holds where older transactions are no longer kept, or their predictions, and says of how many', async () => {
    const old = NOW - 7 * DAY + HOUR
    await using at = await place({
      transactions: [t(2, { fetched_at: old }), t(3), t(4)],
      predictions: [p(1), p(3), p(4)],
      store: [p(1), p(3), p(4)],
      score: 3,
      record: 3,
    })
    expect((await at.audit()).lines.slice(0, 4)).toEqual([
      'fetched    2 = 2 predicted + 0 waiting + 0 set aside',
      'predicted  3 = 3 recorded + 0 waiting + 0 set aside',
      'frauds     0 = 0 mailed + 0 waiting',
      '(1 of the predictions: of transactions that are no longer kept, or were judged meanwhile)',
    ])
    expect((await at.audit({ now: () => NOW - 1 })).lines[0]).toContain('1 LOST') // a little younger it is missed
  })
  test('counts frauds that the mails wait for longer than the topics keep them', async () => {
    await using at = await place({ mails: { waiting: [fraud(1)], total: { frauds: 1, mailed: 0 } } })
    expect(await at.audit()).toMatchObject({
      holds: true,
      lines: { 2: 'frauds     1 = 0 mailed + 1 waiting', 3: 'ever       1 = 0 mailed + 1 waiting' },
    })
  })
})

describe('a fraud that has waited for longer than an hour', () => {
  const late = (n: number) => p(n, { prediction: 1, predicted_at: NOW - HOUR - n * 60_000 })
  const predictions = [late(1), fraud(2), late(3)]
  const frauds = { transactions: [t(1), t(2), t(3)], predictions, score: 3, record: 3, store: predictions }
  test('is named, and the account does not hold: in no mail, in one that is not taken over, or no longer kept', async () => {
    await using at = await place({
      ...frauds,
      mails: { waiting: [late(3)], letters: [{ at: NOW - 60_000, of: [identity(late(3))] }] },
    })
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines.slice(3, -1)).toEqual([
      'predictions 1 (trans-1) is a fraud of 2026-11-22 10:59:00 UTC, in no mail yet, and no reason is noted',
      'predictions 3 (trans-3) is a fraud of 2026-11-22 10:57:00 UTC, in a mail of 2026-11-22 11:59:00 UTC that was not taken over, and no reason is noted',
      'frauds: 2 have waited longer than an hour, the oldest since 2026-11-22 10:57:00 UTC without a reason: is a worker running, with alert in STAGES? What does it log, what says npm run doctor?',
    ])
    const gone = await place({ mails: { waiting: [late(1)], total: { frauds: 1, mailed: 0 } } })
    expect((await gone.audit()).lines.join('\n')).toMatch(
      /^a prediction that is no longer kept \(trans-1\) is a fraud of /m,
    )
    await gone[Symbol.asyncDispose]()
  })
  test('holds with the reason that the worker has noted, without a card number', async () => {
    const waits = { why: '421 4.3.2 busy, no 4539578763621486 here', since: NOW - 2 * HOUR }
    await using at = await place({ ...frauds, mails: { waits } })
    expect(await at.audit()).toMatchObject({
      holds: true,
      lines: {
        3: 'frauds: 2 have waited longer than an hour, the oldest since 2026-11-22 10:57:00 UTC: 421 4.3.2 busy, no …1486 here (since 2026-11-22 10:00:00 UTC)',
      },
    })
  })
  test('is none once it was mailed', async () => {
    await using at = await place({ ...frauds, alert: 3 })
    expect((await at.audit()).lines.slice(2, -1)).toEqual(['frauds     3 = 3 mailed + 0 waiting'])
  })
})

describe('the account does not hold, and it says where', () => {
  test('a prediction that is lost', async () => {
    await using at = await busy()
    at.inTopics('DELETE FROM predictions WHERE offset = 7')
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines[0]).toBe('fetched    1,200 = 1,098 predicted + 100 waiting + 1 set aside + 1 LOST')
    expect(lines[1]).toBe('predicted  1,098 = 998 recorded + 99 waiting + 1 set aside')
    expect(lines[4]).toBe(
      'transactions 7 (trans-7) has no prediction, and is in no dead letter: npm run replay -- --stage score --from 7 --to 7 --into lost.csv',
    )
    expect(lines.at(-1)).toMatch(/^the account does NOT hold, /)
  })
  test('a dead letter that is lost, of a transaction or of a prediction', async () => {
    await using at = await busy()
    at.inTopics('DELETE FROM "dead-letters"')
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines[0]).toBe('fetched    1,200 = 1,099 predicted + 100 waiting + 0 set aside + 1 LOST')
    expect(lines[1]).toBe('predicted  1,099 = 999 recorded + 99 waiting + 0 set aside + 1 LOST')
    expect(lines[4]).toContain('transactions 1100 (trans-1100) has no prediction')
    expect(lines[5]).toContain('predictions 5 (trans-5) is not in the database')
  })
  test('rows that are not in the database: the first 20, and the cure for all of them', async () => {
    await using at = await busy()
    at.inStore(
      "DELETE FROM predictions WHERE event_time > (SELECT event_time FROM predictions WHERE trans_num = 'trans-970')",
    )
    const { holds, lines } = await at.audit()
    expect(holds).toBe(false)
    expect(lines[1]).toBe('predicted  1,099 = 969 recorded + 99 waiting + 1 set aside + 30 LOST')
    const listed = lines.filter((line) => line.startsWith('predictions 9'))
    expect(listed).toHaveLength(20)
    expect(listed[0]).toBe(
      'predictions 971 (trans-971) is not in the database, nor in a dead letter: npm run replay -- --stage record --from 971 --to 971',
    )
    expect(lines).toContain('and 10 more; all of them: npm run replay -- --stage record --from 971 --to 1000')
  })
  test('a fraud that the mails have passed, and lost', async () => {
    await using at = await busy()
    await at.topics.append({}, alarms({ [`outbox/${identity(fraud(100))}`]: null }))
    expect(await at.audit()).toMatchObject({
      holds: false,
      lines: {
        3: 'ever          11 = 9 mailed + 1 waiting + 1 LOST',
        4: 'frauds: 1 were passed and are in no mail; look for rows with prediction = 1 that nobody was told of',
      },
    })
  })
  test('a fraud that was mailed twice', async () => {
    await using at = await busy()
    await at.topics.append({}, alarms({ total: { frauds: 11, mailed: 10 } }))
    expect((await at.audit()).lines.slice(3, 5)).toEqual([
      'ever          11 = 10 mailed + 2 waiting - 1 TWICE',
      'frauds: 1 were mailed more often than once',
    ])
  })
  test('without a card number', async () => {
    const trans_num = `${LONG_CARD}\n\u001b[31m`
    await using at = await place({ transactions: [t(1, { trans_num, cc_num: LONG_CARD })], score: 1 })
    const { lines } = await at.audit()
    expect(lines[3]).toContain('transactions 1 (…4184 [31m)')
    expect(lines.join('\n')).not.toContain(String(LONG_CARD).slice(0, 8))
  })
  test('by time where offsets are of partitions', async () => {
    await using at = await place({ predictions: upTo(44, (n) => p(n)), record: 1 })
    const { scan, snapshot } = at.topics
    const topics = {
      ...at.topics,
      async *scan(topic: 'predictions') {
        for (const part of [0, 1])
          for await (const { id, record } of scan(topic))
            if (Number(id) % 2 === part) yield { id: `${part}-${id}`, record }
      },
      snapshot: async () => ({ ...(await snapshot()), passed: () => true }),
    } as unknown as Topics
    const { lines } = await at.audit({ topics })
    expect(lines[4]).toBe(
      'predictions 0-2 (trans-2) is not in the database, nor in a dead letter: npm run replay -- --stage record --from 2026-11-22T11:00:00.003Z --to 2026-11-22T11:00:00.004Z',
    )
    expect(lines.at(-2)).toBe(
      'and 24 more; all of them: npm run replay -- --stage record --from 2026-11-22T11:00:00.002Z --to 2026-11-22T11:00:00.046Z',
    )
  })
})

describe('what comes and goes meanwhile', () => {
  /** Topics in which something happens just before a topic is walked. */
  const meanwhile = (topics: Topics, before: (topic: string) => Promise<void> | void): Topics => ({
    ...topics,
    async *scan(topic) {
      await before(topic)
      yield* topics.scan(topic)
    },
  })
  test('waits if it came after the position was taken, and is no error', async () => {
    await using at = await place({ transactions: [t(1)], predictions: [p(1)], store: [p(1)], score: 1, record: 1 })
    let n = 1
    const topics = meanwhile(at.topics, async () => {
      n++
      await at.topics.append({ transactions: [t(n)] })
      await at.move('score', 1)
      await at.topics.append({ predictions: [p(n)] })
      await at.move('record', 1)
    })
    const { holds, lines } = await at.audit({ topics })
    expect(lines.join('\n')).not.toContain('LOST')
    expect(holds).toBe(true)
  })
  test('is looked at again before it is called lost: its commit may not have got around yet', async () => {
    await using at = await place({ transactions: [t(1), t(2)], score: 2 })
    let walks = 0
    const topics = meanwhile(at.topics, () => {
      const late = { predictions: [p(1)], 'dead-letters': [letter('score', t(2))] }
      if (walks++ === 0) setTimeout(() => void at.topics.append(late), 500)
    })
    expect(await at.audit({ topics })).toMatchObject({
      holds: true,
      lines: { 0: 'fetched    2 = 1 predicted + 0 waiting + 1 set aside' },
    })
  })
  test('the mails note and move on between two looks: each fraud is mailed or waits', async () => {
    const predictions = [fraud(1), fraud(2), fraud(3)]
    await using at = await place({
      predictions,
      alert: 1,
      mails: { waiting: [fraud(1)], total: { frauds: 1, mailed: 0 } },
    })
    const { state } = at.topics
    const topics: Topics = {
      ...at.topics,
      async state(prefix) {
        const row = { [`outbox/${identity(fraud(3))}`]: fraud(3), [`outbox/${identity(fraud(1))}`]: null }
        const sent = { at: NOW, of: [fraud(1), fraud(2)].map((one) => short(identity(one))) }
        await at.move('alert', 2, alarms({ ...row, 'sent/2': sent, total: { frauds: 3, mailed: 2 } }))
        return state(prefix)
      },
    }
    expect(await at.audit({ topics })).toMatchObject({
      holds: true,
      lines: { 2: 'frauds     3 = 2 mailed + 1 waiting', 3: 'ever       3 = 2 mailed + 1 waiting' },
    })
  })

  test('a worker at full load, killed and stopped again and again, is never accused', async () => {
    const rows = Array.from({ length: 50_000 }, (_, n) => row(n, { amt: n % 20 === 0 ? 1000 : 10 })) // it comes to fewer
    await using dir = await tempDir()
    await using world = await outside(rows, dir.path)
    const env = { ...world.env, ALERT_DAILY_LIMIT: '100000', SCORE_BATCH_SIZE: '20', RECORD_BATCH_SIZE: '20' }
    const topics = await sqliteTopics({ path: dir.file('topics.db') })
    const store = sqliteStore(dir.file('fraud.db'))
    let audits = 0
    async function check(said: () => string) {
      const { lines, holds } = await audit({ topics, store, retentionDays: 7 })
      expect(holds, `${lines.join('\n')}\n${said()}`).toBe(true)
      audits++
      return lines
    }
    try {
      for (let lives = 0; lives < 4; lives++) {
        await using worker = startWorker(dir.path, env)
        const from = world.recorded().length
        await waitFor('rows', () => world.recorded().length > from)
        for (const until = Date.now() + 1500; Date.now() < until; await sleep(20)) await check(worker.text)
        if (lives === 3) world.producer.next = rows.length
        else worker.kill(lives % 2 ? 'SIGTERM' : 'SIGKILL')
        if (lives < 3) await worker.end
        else {
          const { calls } = world.producer
          await waitFor('what was under way', () => world.producer.calls > calls + 1, 30_000)
          await waitFor('the rest', async () => (await left(topics)) === 0, 30_000)
        }
        await check(worker.text)
      }
      const lines = await check(() => '')
      const [fetched, frauds] = [lines[0]!.slice(11).split(' = ')[0], lines[2]!.slice(11).split(' = ')[0]]
      expect(lines.slice(0, 4)).toEqual([
        `fetched    ${fetched} = ${fetched} predicted + 0 waiting + 0 set aside`,
        `predicted  ${fetched} = ${fetched} recorded + 0 waiting + 0 set aside`,
        `frauds     ${frauds} = ${frauds!.trim()} mailed + 0 waiting`,
        `ever       ${frauds} = ${frauds!.trim()} mailed + 0 waiting`,
      ])
      expect(audits).toBeGreaterThan(10)
    } finally {
      await topics.close()
      await store.close()
    }
  })
})

const left = async ({ reader, state }: Topics) =>
  (await state('alert/outbox/')).size +
  (await reader('transactions', 'score').lag()) +
  (await reader('predictions', 'alert').lag()) +
  (await reader('predictions', 'record').lag())
