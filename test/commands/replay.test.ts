import { readFileSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { FEATURES } from '../../src/columns.ts'
import { openOutput } from '../../src/commands/output.ts'
import { readRange } from '../../src/commands/range.ts'
import { type ReplayOptions, replay } from '../../src/commands/replay.ts'
import { Refusal } from '../../src/io/errors.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { mlflow } from '../../src/score/mlflow.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import type { Topics, Writes } from '../../src/topic/topic.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { disposable, fakeModel } from '../outside.ts'
import { held, LONG_CARD, listeningLog, prediction, tempDir, transaction, waitFor } from '../rows.ts'

const T0 = Date.UTC(2026, 10, 20)
const MINUTE = 60_000
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
        return await replay({ ...common, stage: 'score', model, name: 'new/1', sink, ...more } as ReplayOptions)
      } finally {
        await sink.close()
      }
    },
    sink: (into: string | undefined) => openOutput(into, own, log),
    async [Symbol.asyncDispose]() {
      await topics.close()
      await store.close()
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
    expect(await at.score(file)).toEqual({
      lines: [
        '25 transactions: 25 written, 0 there already, 0 set aside',
        'of 24: 21 as before, 1 newly fraud, 2 no longer fraud; 1 are not in the topic predictions',
      ],
      left: 0,
    })
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
    expect((await at.score(into, { to: '2026-11-20 00:11' })).lines).toEqual([
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
