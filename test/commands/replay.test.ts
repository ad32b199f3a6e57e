import { readFileSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { share } from '../../src/care/board.ts'
import { shareOf } from '../../src/care/words.ts'
import { FEATURES } from '../../src/columns.ts'
import { openOutput } from '../../src/commands/output.ts'
import { readRange } from '../../src/commands/range.ts'
import { type ReplayOptions, replay } from '../../src/commands/replay.ts'
import { Refusal } from '../../src/io/errors.ts'
import { DAY } from '../../src/io/time.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Reviews } from '../../src/review/reviews.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { mlflow } from '../../src/score/mlflow.ts'
import { seeded } from '../../src/simulate/random.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import type { Topics, Writes } from '../../src/topic/topic.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { disposable, fakeModel } from '../outside.ts'
import { held, LONG_CARD, listeningLog, prediction, tempDir, transaction, waitFor } from '../rows.ts'

const T0 = Date.UTC(2026, 10, 20)
const MINUTE = 60_000
const RULES = { truth: 'producer', reviewCost: 2 } as const
/** One a minute, judged half a minute later. */
const t = (n: number, changes: Partial<Transaction> = {}): Transaction => ({
  ...transaction(n),
  fetched_at: T0 + n * MINUTE,
  ...changes,
})
const p = (n: number, changes: Partial<Prediction> = {}): Prediction => ({
  ...prediction(n),
  fetched_at: T0 + n * MINUTE,
  predicted_at: T0 + n * MINUTE + 30_000,
  ...changes,
})
const upTo = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i + 1))

async function place(writes: Writes) {
  const dir = await tempDir()
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  const store = sqliteStore(dir.file('fraud.db'))
  const reviews = sqliteReviews(dir.file('fraud.db'))
  await topics.append(writes)
  const { log, text } = listeningLog()
  const stop = new AbortController()
  const look = (file = 'fraud.db', sql = 'SELECT * FROM predictions ORDER BY event_time') => {
    using db = disposable(new DatabaseSync(dir.file(file)))
    const select = db.prepare(sql)
    select.setReadBigInts(true)
    return select.all().map((found) => ({ ...found }))
  }
  const common = { topics, log, stop: stop.signal, batchSize: 10 }
  const own = {
    topics: { engine: 'sqlite' as const, path: dir.file('topics.db') },
    database: { engine: 'sqlite' as const, path: dir.file('fraud.db') },
  }
  return {
    dir,
    topics,
    store,
    reviews,
    log,
    text,
    stop,
    look,
    own,
    common,
    names: (file?: string) => look(file).map(({ trans_num }) => Number(String(trans_num).slice(6))),
    record: (more: Partial<ReplayOptions> = {}) =>
      replay({ ...common, stage: 'record', store, ...more } as ReplayOptions),
    /** With a model that takes amounts from 1000 on for fraud. */
    async score(into: string, more: Partial<ReplayOptions> = {}) {
      await using server = await fakeModel()
      const model = mlflow({ url: server.url, headers: {}, features: FEATURES, unixTimeUnit: 's', threshold: 0.5 })
      const sink = await openOutput(into, own, log)
      try {
        const judging = { reviews, rules: RULES }
        return await replay({
          ...common,
          stage: 'score',
          model,
          name: 'new/1',
          sink,
          ...judging,
          ...more,
        } as ReplayOptions)
      } finally {
        await sink.close()
      }
    },
    sink: (into: string | undefined) => openOutput(into, own, log),
    async [Symbol.asyncDispose]() {
      await topics.close()
      await store.close()
      await reviews.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}

describe('the range', () => {
  test.for<[string, string, object]>([
    ['12345', 'an offset', { offset: 12345n }],
    ['2026-11-20', 'a day', { time: T0 }],
    ['2026-11-20T10:00:00Z', 'a time', { time: T0 + 600 * MINUTE }],
    ['2026-11-20 10:00', 'a time with a space', { time: T0 + 600 * MINUTE }],
    ['2026-11-20T10:00:00.123+02:30', 'a time elsewhere', { time: T0 + 450 * MINUTE + 123 }],
  ])('understands %s, %s', ([text, , point]) => {
    expect(readRange(text, undefined)).toEqual({ from: point, to: undefined })
    expect(readRange(undefined, text)).toEqual({ from: undefined, to: point })
  })
  test.for(['', 'yesterday', '2026-02-30', '2026-13-01', '2026-11-20 25:00', '20.11.2026', '-5', '1e3'])(
    'refuses "%s"',
    (text) => {
      expect(() => readRange(text, undefined)).toThrow(`--from: got "${text}", wants an offset, or a time`)
      expect(() => readRange(undefined, text)).toThrow(`--to: got "${text}"`)
    },
  )
  test('refuses what is empty, and tells of Kafka', () => {
    expect(() => readRange('7', '6')).toThrow('--from 7 --to 6: nothing is between them')
    expect(() => readRange('2026-11-20', '2026-11-20')).toThrow('nothing is between them')
    expect(readRange('7', '7')).toEqual({ from: { offset: 7n }, to: { offset: 7n } })
    expect(readRange('7', '2026-11-20')).toMatchObject({ to: { time: T0 } })
    expect(() => readRange('3-17', undefined)).toThrow('give times')
  })
})

describe('predictions', () => {
  test('are written into the database again; what is there stays as it is, what people wrote too', async () => {
    await using at = await place({ predictions: upTo(25, (n) => p(n, { cc_num: LONG_CARD })) })
    await at.store.insert([p(3, { score: 0.99 })])
    at.look('fraud.db', "UPDATE predictions SET reviewed_by = 'Ada'")
    expect(await at.record()).toEqual({ lines: ['25 predictions: 24 written, 1 there already, 0 set aside'], left: 0 })
    expect(at.look()[2]).toMatchObject({ score: 0.99, reviewed_by: 'Ada' })
    expect(at.look()[3]).toMatchObject({ cc_num: LONG_CARD, score: 0.01 })
    expect(await at.record()).toEqual({ lines: ['25 predictions: 0 written, 25 there already, 0 set aside'], left: 0 })
    expect(at.names()).toEqual(upTo(25, Number))
  })
  test.for<[string | undefined, string | undefined, number[]]>([
    ['5', '7', [5, 6, 7]],
    ['24', undefined, [24, 25]],
    [undefined, '2', [1, 2]],
    ['2026-11-20T00:05:30Z', '2026-11-20T00:07:30Z', [5, 6]], // in from, no longer in to
    ['2026-11-20 00:24', undefined, [24, 25]],
    ['24', '2026-11-20 00:25', [24]],
    ['30', undefined, []],
  ])('from %s to %s', async ([from, to, expected]) => {
    await using at = await place({ predictions: upTo(25, (n) => p(n)) })
    expect(await at.record({ from, to })).toMatchObject({ left: 0 })
    expect(at.names()).toEqual(expected)
  })
  test('leave positions, topics and mails as they are', async () => {
    await using at = await place({ predictions: upTo(25, (n) => p(n, { prediction: 1 })), transactions: [t(1)] })
    const before = at.look('topics.db', "SELECT 'p', * FROM position UNION SELECT 'n', key, value, 0 FROM note")
    await at.record()
    await at.score(at.dir.file('x.csv'))
    expect(at.look('topics.db', "SELECT 'p', * FROM position UNION SELECT 'n', key, value, 0 FROM note")).toEqual(
      before,
    )
    expect(await held(at.topics, 'predictions')).toHaveLength(25)
    expect(await held(at.topics, 'dead-letters')).toEqual([])
  })
  test('that the database refuses are told, and the rest is written', async () => {
    const bad = p(4, { trans_num: `x${LONG_CARD}`, amt: 'much' as unknown as number })
    await using at = await place({ predictions: [...upTo(3, (n) => p(n)), bad, ...upTo(3, (n) => p(n + 4))] })
    const { lines, left } = await at.record()
    expect(left).toBe(1)
    expect(lines).toEqual([
      '7 predictions: 6 written, 0 there already, 1 set aside',
      expect.stringMatching(/^set aside: 4 \(x…4184\): the database refused the row: /),
    ])
    expect(at.look()).toHaveLength(6)
    expect(await held(at.topics, 'dead-letters')).toEqual([])
  })
  test('wait for a database that is down', async () => {
    await using at = await place({ predictions: upTo(25, (n) => p(n)) })
    let failures = 0
    const store = {
      ...at.store,
      insert: async (rows: readonly Prediction[]) => {
        if (failures++ < 2) throw new Error('the database is away')
        return at.store.insert(rows)
      },
    }
    expect((await at.record({ store } as Partial<ReplayOptions>)).lines).toEqual([
      '25 predictions: 25 written, 0 there already, 0 set aside',
    ])
    expect(at.text()).toContain('the database is away; retrying in')
  })
  test.for([1, 2])(
    'go on when the topics, of %i partitions, could not be read for a while, where they were',
    async (parts) => {
      await using at = await place({ predictions: upTo(25, (n) => p(n)) })
      let broke = false
      const source = parts === 1 ? at.topics : partitions(at.topics)
      const topics: Topics = {
        ...at.topics,
        async *scan(topic) {
          for await (const entry of source.scan(topic)) {
            if (!broke && entry.id.endsWith('15')) {
              broke = true
              throw new Error('the topics are away')
            }
            yield entry
          }
        },
      }
      expect((await at.record({ topics })).lines).toEqual(['25 predictions: 25 written, 0 there already, 0 set aside'])
      expect(at.text()).toContain('the topics are away; retrying in')
    },
  )
  test('are no longer written after the stop, which says where to go on', async () => {
    await using at = await place({ predictions: upTo(25, (n) => p(n)) })
    const store = {
      ...at.store,
      insert: async (rows: readonly Prediction[]) => {
        await at.store.insert(rows)
        at.stop.abort(new Error('stopped'))
      },
    }
    const { lines, left } = await at.record({ from: '2', store } as Partial<ReplayOptions>)
    expect(lines).toEqual([
      '10 predictions: 10 written, 0 there already, 0 set aside',
      'stopped before the end; go on with --from 12',
    ])
    expect(left).toBe(1)
    expect(at.names()).toEqual(upTo(10, (n) => n + 1))
  })
})

describe('transactions', () => {
  const rows = {
    transactions: upTo(25, (n) => t(n, { amt: n % 5 === 0 ? 1000 : 10, cc_num: LONG_CARD })),
    predictions: upTo(24, (n) => p(n, { prediction: n % 5 === 0 && n > 5 ? 1 : n < 3 ? 1 : 0 })),
  }
  test('are judged by another model into a CSV, with what has changed', async () => {
    await using at = await place(rows)
    const file = at.dir.file('new.csv')
    const { lines, left } = await at.score(file)
    expect([left, ...lines.slice(0, 2)]).toEqual([
      0,
      '25 transactions: 25 written, 0 there already, 0 set aside',
      'of 24: 21 as before, 1 newly fraud, 2 no longer fraud; 1 were not judged before',
    ])
    const [head, first, ...more] = readFileSync(file, 'utf8').trimEnd().split('\n')
    expect(head).toMatch(
      /^trans_date_trans_time,cc_num,.*,is_fraud,prediction,score,model,event_time,fetched_at,predicted_at$/,
    )
    expect(first).toContain(`,${LONG_CARD},"fraud_Kutch, Hermiston and Farrell",`)
    expect(first).toMatch(/,trans-1,.*,0,0,,new\/1,/)
    expect(more).toHaveLength(24)
    expect(statSync(file).mode & 0o077).toBe(0)
  })
  test('are no formulas there', async () => {
    await using at = await place({ transactions: [t(1, { merchant: '=1+1', long: -89.5 })] })
    await at.score(at.dir.file('x.csv'))
    expect(readFileSync(at.dir.file('x.csv'), 'utf8')).toMatch(/,'=1\+1,.*,-89.5,/)
  })
  test('are judged into another SQLite file; again only what is not there', async () => {
    await using at = await place(rows)
    const into = `sqlite:${at.dir.file('other.db')}`
    expect((await at.score(into, { to: '2026-11-20 00:11' })).lines.slice(0, 2)).toEqual([
      '10 transactions: 10 written, 0 there already, 0 set aside',
      'of 10: 7 as before, 1 newly fraud, 2 no longer fraud',
    ])
    expect((await at.score(into, { from: '6' })).lines[0]).toBe(
      '20 transactions: 15 written, 5 there already, 0 set aside',
    )
    expect(at.names('other.db')).toEqual(upTo(25, Number))
    expect(at.look('other.db')[4]).toMatchObject({
      trans_num: 'trans-5',
      cc_num: LONG_CARD,
      prediction: 1n,
      model: 'new/1',
    })
    expect(at.look()).toEqual([])
  })
  test('that the model refuses are told, and so are those that the place refuses', async () => {
    await using at = await place({ transactions: upTo(12, (n) => t(n)) })
    const model = {
      judge: async (transactions: readonly Transaction[]) => {
        if (transactions.some(({ trans_num }) => trans_num === 'trans-3'))
          throw new Refusal('the model answered 400: bad')
        return transactions.map(() => ({ prediction: 0 as const, score: null }))
      },
    }
    const sink = {
      insert: async (predictions: readonly Prediction[]) => {
        if (predictions.some(({ trans_num }) => trans_num === 'trans-7')) throw new Refusal('no seven')
        await at.store.insert(predictions)
      },
      missing: at.store.missing,
    }
    const { lines, left } = await at.score(at.dir.file('x.csv'), { model, sink } as unknown as Partial<ReplayOptions>)
    expect(lines.slice(0, 3)).toEqual([
      '12 transactions: 10 written, 0 there already, 2 set aside',
      'set aside: 3 (trans-3): the model answered 400: bad',
      'set aside: 7 (trans-7): no seven',
    ])
    expect(left).toBe(2)
    expect(at.names()).toEqual([1, 2, 4, 5, 6, 8, 9, 10, 11, 12])
    expect(await held(at.topics, 'dead-letters')).toEqual([])
  })
  test('wait for the place that they go to', async () => {
    await using at = await place(rows)
    let failures = 0
    const sink = {
      insert: async (predictions: readonly Prediction[]) => {
        if (failures++ < 1) throw new Error('the place is away')
        await at.store.insert(predictions)
      },
      missing: at.store.missing,
    }
    const { lines } = await at.score(at.dir.file('x.csv'), { sink } as unknown as Partial<ReplayOptions>)
    expect(lines[0]).toBe('25 transactions: 25 written, 0 there already, 0 set aside')
    expect(at.text()).toContain('the place is away; retrying in')
    expect(at.names()).toEqual(upTo(25, Number))
  })
  test('wait for a model that is down, until they are stopped', async () => {
    await using at = await place(rows)
    const model = { judge: () => Promise.reject(new Error('cannot reach the model')) }
    const replayed = at.score(at.dir.file('x.csv'), { model } as unknown as Partial<ReplayOptions>)
    await waitFor('a word about it', () => at.text().includes('cannot reach the model; retrying'))
    at.stop.abort(new Error('stopped'))
    expect(await replayed).toEqual({
      lines: ['0 transactions: 0 written, 0 there already, 0 set aside', 'stopped before the end; nothing was done'],
      left: 1,
    })
  })
})

describe('compared by truth', () => {
  const DAYS = 40
  type Known = Prediction & { verdict: 0 | 1 | 2 | null; where: 'both' | 'database' | 'topics' | 'nowhere' }
  /** Rows up to now, of which each is judged before in one place, both or none, and known by people, the producer or nobody. */
  function world(rows: number): Known[] {
    const random = seeded(17)
    const now = Date.now()
    return upTo(rows, (n) => ({
      ...p(n, {
        amt: random.pick([10, 50, 1000, 2000]),
        prediction: random.uniform() < 0.4 ? 1 : 0,
        is_fraud: random.pick([0, 0, 1, 1, null]),
        event_time: now - Math.floor((DAYS * DAY * (rows - n)) / rows) - 1000,
      }),
      verdict: random.pick([0, 1, 2, null, null, null]),
      where: random.pick(['both', 'both', 'database', 'topics', 'nowhere']),
    }))
  }
  const bare = ({ verdict, where, ...row }: Known): Prediction => row
  async function judged(rows: Known[]) {
    const inTopics = rows.filter(({ where }) => where === 'both' || where === 'topics').map(bare)
    const transactions = rows.map(({ prediction, score, model, predicted_at, ...row }) => bare(row as Known))
    const at = await place({ transactions, predictions: inTopics })
    const recorded = rows.filter(({ where }) => where === 'both' || where === 'database')
    await at.store.insert(recorded.map(bare))
    for (const { trans_num, verdict } of recorded.filter(({ verdict }) => verdict !== null))
      at.look(
        'fraud.db',
        `UPDATE predictions SET reviewed_at = 1, fraud_confirmed = ${verdict === 2 ? 'NULL' : verdict} WHERE trans_num = '${trans_num}'`,
      )
    return at
  }
  /** The same counts from the rows themselves, one after the other. */
  function byHand(rows: readonly Known[], truth: 'producer' | 'reviewer', delayDays: number) {
    const until = (Math.floor(Date.now() / DAY) + 1 - delayDays - (delayDays > 0 ? 1 : 0)) * DAY
    const count: Record<'caught' | 'missed' | 'alarms', [number, number]> = {
      ...{ caught: [0, 0], missed: [0, 0], alarms: [0, 0] },
    }
    for (const row of rows) {
      if (row.where === 'nowhere' || row.event_time >= until) continue
      const verdict = row.where === 'topics' ? null : row.verdict
      const was = verdict === 2 ? null : (verdict ?? (truth === 'producer' ? row.is_fraud : null))
      for (const [i, said] of [row.prediction, row.amt >= 1000 ? 1 : 0].entries())
        if (was === 1) count[said ? 'caught' : 'missed'][i]!++
        else if (was === 0 && said) count.alarms[i]!++
    }
    return count
  }
  const shown = (hits: number, of: number) => shareOf(share(hits, of))

  test.for<['producer' | 'reviewer', number, 'topics' | 'database']>([
    ['producer', 0, 'topics'],
    ['producer', 10, 'topics'],
    ['reviewer', 7, 'topics'],
    ['producer', 3, 'database'],
    ['reviewer', 0, 'database'],
  ])(
    'by the %s, ripe after %i days, from the %s: what the rows say, one by one',
    async ([truth, delayDays, source]) => {
      const rows = world(900)
      await using at = await judged(rows)
      const rules = { truth, delayDays, reviewCost: 2 }
      const { lines, left } = await at.score(at.dir.file('new.csv'), { rules, source } as Partial<ReplayOptions>)
      expect(left).toBe(0)
      const seen = source === 'topics' ? rows : rows.filter(({ where }) => where === 'both' || where === 'database')
      const { caught, missed, alarms } = byHand(seen, truth, delayDays)
      expect(lines[0]).toBe(`${seen.length} transactions: ${seen.length} written, 0 there already, 0 set aside`)
      const text = lines.join('\n')
      expect(text).toContain(`  frauds caught  ${caught.join(' → ')} of ${caught[0] + missed[0]}`)
      expect(text).toContain(`  frauds missed  ${missed.join(' → ')}`)
      expect(text).toContain(
        `  false alarms   ${alarms.join(' → ')}, precision ${([0, 1] as const).map((i) => shown(caught[i], caught[i] + alarms[i])).join(' → ')}`,
      )
      if (truth === 'reviewer') expect(text).not.toContain(`missed ${shown(missed[0], missed[0] + caught[0])}`)
      else
        expect(text).toContain(
          `, missed ${([0, 1] as const).map((i) => shown(missed[i], missed[i] + caught[i])).join(' → ')}`,
        )
      expect(text).toMatch(/McNemar p /)
    },
  )
  test('rows that the topic has forgotten are judged from the database, to the digit, and no formula of it is lost', async () => {
    await using at = await place({})
    await at.store.insert(
      upTo(4500, (n) => p(n, { cc_num: LONG_CARD, amt: n % 5 === 0 ? 1000 : 10, event_time: T0 + n - (n % 7) })),
    )
    const into = `sqlite:${at.dir.file('other.db')}`
    const { lines } = await at.score(into, { source: 'database', batchSize: 500 } as Partial<ReplayOptions>)
    expect(lines[0]).toBe('4,500 transactions: 4,500 written, 0 there already, 0 set aside')
    expect(lines[1]).toBe('of 4,500: 3,600 as before, 900 newly fraud, 0 no longer fraud')
    const strip = ({
      prediction,
      score,
      model,
      predicted_at,
      threshold,
      trans_date_trans_time,
      ...row
    }: Record<string, unknown>) => row
    const all = 'SELECT * FROM predictions ORDER BY event_time, trans_num'
    expect(at.look('other.db', all).map(strip)).toEqual(at.look('fraud.db', all).map(strip))
    const some = `sqlite:${at.dir.file('some.db')}`
    const range = { from: '2026-11-20 00:00:01', to: '2026-11-20 00:00:02', source: 'database' }
    expect((await at.score(some, range as Partial<ReplayOptions>)).lines[0]).toMatch(/^1,00\d transactions/)
    await expect(at.score(some, { from: '3', source: 'database' } as Partial<ReplayOptions>)).rejects.toThrow(
      'want times',
    )
  })
  test('a database that cannot be asked leaves the topic, and that is said; one that is away for a while is waited for where it is the source', async () => {
    await using at = await place({ transactions: [t(1)], predictions: [p(1)] })
    const judgedBefore = () => Promise.reject(new Error('the database is away'))
    const { lines } = await at.score(at.dir.file('x.csv'), {
      reviews: { ...at.reviews, judgedBefore },
    } as Partial<ReplayOptions>)
    expect(lines.slice(1, 3)).toEqual([
      'of 1: 1 as before, 0 newly fraud, 0 no longer fraud',
      'verdicts count nowhere here, as the database could not be asked: the database is away',
    ])
    await at.store.insert(upTo(5, (n) => p(n)))
    let failures = 0
    const rows: Reviews['rows'] = (...given) =>
      failures++ < 2 ? Promise.reject(new Error('the database is away')) : at.reviews.rows(...given)
    const again = await at.score(at.dir.file('y.csv'), {
      reviews: { ...at.reviews, rows },
      source: 'database',
    } as Partial<ReplayOptions>)
    expect(again.lines[0]).toContain('5 written')
  })
})

/** As Kafka has it: one partition after the other. */
const partitions = (topics: Topics): Topics => ({
  ...topics,
  async *scan(topic) {
    for (const part of [0, 1])
      for await (const { id, record } of topics.scan(topic))
        if (Number(id) % 2 === part) yield { id: `${part}-${id}`, record }
  },
})
describe('several partitions', () => {
  test('have no offsets for a range, only times', async () => {
    await using at = await place({ predictions: upTo(25, (n) => p(n)) })
    const topics = partitions(at.topics)
    await expect(at.record({ topics, from: '3' })).rejects.toThrow(
      'the topic predictions has several partitions, each with offsets of its own: give times as --from and --to',
    )
    expect((await at.record({ topics, from: '2026-11-20 00:05', to: '2026-11-20 00:08' })).lines[0]).toContain(
      '3 written',
    )
    expect(at.names()).toEqual([5, 6, 7])
  })
})

describe('where it goes', () => {
  test('is nothing of the worker, and nothing that is there', async () => {
    await using at = await place({})
    await at.store.insert([p(1)])
    const wanted = 'wants a new file.csv, sqlite:<file>, or a new table in the PostgreSQL of DATABASE_URL'
    await expect(at.sink(undefined)).rejects.toThrow(`--into is missing, ${wanted}`)
    await expect(at.sink('sqlite:')).rejects.toThrow(`--into: got "sqlite:", ${wanted}`)
    await expect(at.sink('x.xlsx')).rejects.toThrow(`--into: got "x.xlsx", ${wanted}`)
    for (const file of ['topics.db', 'fraud.db', './fraud.db'])
      await expect(at.sink(`sqlite:${at.dir.path}/${file}`)).rejects.toThrow("is the worker's own, wants another file")
    await expect(at.sink('lab')).rejects.toThrow('lab would be a table, and DATABASE_URL is no PostgreSQL')
    const csv = at.dir.file('x.csv')
    await (await at.sink(csv)).close()
    await expect(at.sink(csv)).rejects.toThrow(`--into: ${csv} is there already, wants a new file`)
    await expect(at.sink(at.dir.file('no/where.csv'))).rejects.toThrow('cannot write')
    const url = new URL('postgres://127.0.0.1:1/db')
    const own = { ...at.own, database: { engine: 'postgres' as const, url } }
    for (const table of ['predictions', 'client_predict_schema'])
      await expect(openOutput(table, own, at.log)).rejects.toThrow("is the worker's own, wants another table")
    await expect(openOutput('lab; DROP TABLE x', own, at.log)).rejects.toThrow(wanted)
    await expect(openOutput('lab', own, at.log)).rejects.toThrow('the table lab cannot be used')
  })
  test('is reached by a link too', async () => {
    await using at = await place({})
    const { symlink } = await import('node:fs/promises')
    await symlink(at.dir.file('fraud.db'), at.dir.file('link.db'))
    await expect(at.sink(`sqlite:${at.dir.file('link.db')}`)).rejects.toThrow("is the worker's own")
  })
})
