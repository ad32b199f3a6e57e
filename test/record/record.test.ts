import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { recordStage } from '../../src/record/record.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Store } from '../../src/record/store.ts'
import type { DeadLetter, Prediction } from '../../src/transaction.ts'
import { LONG_CARD, listeningLog, prediction, tempDir, waitFor } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'

const predictions = (count: number) => Array.from({ length: count }, (_, i) => prediction(i + 1))
const names = (rows: readonly { trans_num: string }[]) => rows.map(({ trans_num }) => trans_num)
/** No column takes a text for a zip code: the database refuses the row. */
const bad = (n: number) => prediction(n, { cc_num: LONG_CARD, zip: 'none' as unknown as number })

/** Topics and a database that outlive the workers. */
async function world(rows: readonly Prediction[]) {
  const dir = await tempDir()
  const file = dir.file('fraud.db')
  await sqliteStore(file).close()
  const open = () => sqliteTopics({ path: dir.file('topics.db'), exclusive: true })
  const topics = await open()
  await topics.append({ predictions: rows }).finally(() => topics.close())
  const sql = (text: string) => {
    using db = new DatabaseSync(file)
    return db.prepare(text).all() as Record<string, unknown>[]
  }
  return {
    sql,
    recorded: () => sql('SELECT trans_num FROM predictions ORDER BY event_time').map((row) => row.trans_num),
    worker: async (options?: Options) => worker(await open(), sqliteStore(file), options),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}

type Options = { batchSize?: number; wrapTopics?: (topics: Topics) => Topics; wrapStore?: (store: Store) => Store }
function worker(topics: Topics, store: Store, options: Options = {}) {
  const { batchSize = 500, wrapTopics = (t) => t, wrapStore = (s) => s } = options
  const { log, lines } = listeningLog()
  const stop = new AbortController()
  const reader = wrapTopics(topics).reader('predictions', 'record')
  const ended = recordStage({ log, stop: stop.signal }, { reader, store: wrapStore(store), batchSize })
  ended.catch(() => {})
  const lag = () => topics.reader('predictions', 'record').lag()
  return {
    topics,
    lines,
    ended,
    lag,
    drained: () => waitFor('everything to be recorded', async () => (await lag()) === 0),
    warnings: () => lines.filter(({ msg }) => msg.includes('; retrying in ')).map(({ msg }) => msg),
    letters: async () => (await Array.fromAsync(topics.scan('dead-letters'))).map(({ record }) => record as DeadLetter),
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('stopped'))
      await ended.finally(async () => {
        await topics.close()
        await store.close()
      })
    },
  }
}

test('writes every prediction once, in batches, also what comes later and after a restart', async () => {
  await using w = await world(predictions(10))
  {
    await using first = await w.worker({ batchSize: 4 })
    await waitFor('the last line', () => first.lines.length === 3)
    expect(first.lines.map(({ msg }) => msg)).toEqual([4, 4, 2].map((n) => `recorded ${n} predictions`))
    await first.topics.append({ predictions: [prediction(11)] })
    await first.drained()
  }
  await using second = await w.worker()
  await second.topics.append({ predictions: [prediction(12)] })
  await second.drained()
  expect(w.recorded()).toEqual(names(predictions(12)))
  expect(await second.topics.reader('predictions', 'alert').lag()).toBe(12)
})

test('moves the position only when the rows are there', async () => {
  const lags: number[] = []
  const w = await world(predictions(6))
  await using _ = w
  await using only = await w.worker({
    batchSize: 3,
    wrapStore: (store) => ({
      ...store,
      async insert(rows) {
        await store.insert(rows)
        lags.push(await only.lag())
      },
    }),
  })
  await only.drained()
  expect(lags).toEqual([6, 3])
})

test('waits while the database is away, loses nothing, and sets nothing aside', async () => {
  await using w = await world([])
  await using only = await w.worker()
  w.sql('ALTER TABLE predictions RENAME TO elsewhere')
  await only.topics.append({ predictions: predictions(5) })
  await waitFor('two failures', () => only.warnings().length === 2)
  expect(only.warnings()[0]).toMatch(/^cannot record in .*fraud\.db: no such table: predictions; retrying in [\d.]+ s$/)
  expect(await only.lag()).toBe(5)
  await only.topics.append({ predictions: [prediction(6)] })
  w.sql('ALTER TABLE elsewhere RENAME TO predictions')
  await only.drained()
  expect(w.recorded()).toEqual(names(predictions(6)))
  expect(await only.letters()).toEqual([])
})

test('stops at once while the database is away', async () => {
  await using w = await world([])
  const only = await w.worker()
  w.sql('ALTER TABLE predictions RENAME TO elsewhere')
  await only.topics.append({ predictions: predictions(5) })
  await waitFor('a failure', () => only.warnings().length === 1)
  const before = performance.now()
  await only[Symbol.asyncDispose]()
  expect(performance.now() - before).toBeLessThan(2000)
})

test('a row that was written but not noted, because the process died, is there once', async () => {
  await using w = await world(predictions(5))
  {
    const broken = (): never => {
      throw new Error('disk full')
    }
    await using killed = await w.worker({
      wrapTopics: (topics) => ({
        ...topics,
        reader(topic, name) {
          const reader = topics.reader(topic, name)
          return { ...reader, read: async (...args) => ({ ...(await reader.read(...args)), commit: broken }) }
        },
      }),
    })
    await waitFor('the rows', () => w.recorded().length === 5)
    await waitFor('a failure', () => killed.warnings().length > 0)
    expect(await killed.lag()).toBe(5)
  }
  w.sql(`UPDATE predictions SET fraud_confirmed = 1, reviewed_by = 'Grace' WHERE trans_num = 'trans-3'`)
  await using second = await w.worker()
  await second.drained()
  expect(w.recorded()).toEqual(names(predictions(5)))
  expect(w.sql('SELECT trans_num FROM predictions WHERE fraud_confirmed = 1')).toEqual([{ trans_num: 'trans-3' }])
})

test('what comes behind rows that were written early, while the position cannot be noted, is written too', async () => {
  await using w = await world([])
  let broken: Promise<void> | undefined
  await using only = await w.worker({
    wrapTopics: (topics) => ({
      ...topics,
      reader(topic, name) {
        const reader = topics.reader(topic, name)
        const read: typeof reader.read = async (...args) => {
          const batch = await reader.read(...args)
          const commit: typeof batch.commit = async (...given) => {
            await broken
            return batch.commit(...given)
          }
          return { ...batch, commit }
        }
        return { ...reader, read }
      },
    }),
  })
  const append = (n: number) => only.topics.append({ predictions: [prediction(n)] })
  for (const n of [1, 2]) {
    await append(n)
    await only.drained() // from then on it reads ahead
  }
  const { promise, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  broken = promise
  for (const n of [3, 4]) {
    await append(n)
    await waitFor(`row ${n}, written early`, () => w.recorded().length === n)
  }
  reject(new Error('disk full'))
  await waitFor('a failure', () => only.warnings().length > 0)
  await append(5)
  await waitFor('another failure', () => only.warnings().length > 1)
  broken = undefined
  await only.drained()
  expect(w.recorded()).toEqual(names(predictions(5)))
})

describe('a row that the database refuses', () => {
  test('is set aside as it is, with the reason, and not its batch', async () => {
    const rows = predictions(12)
    rows[7] = bad(8)
    await using w = await world(rows)
    await using only = await w.worker()
    await only.drained()
    expect(w.recorded()).toEqual(names(rows.filter((_, i) => i !== 7)))
    expect(await only.letters()).toEqual([
      {
        stage: 'record',
        at: expect.any(Number),
        reason: 'the database refused the row: cannot store TEXT value in INTEGER column predictions.zip',
        record: bad(8),
      },
    ])
  })
  test('is not set aside while the database refuses every other one too', async () => {
    await using w = await world(predictions(3))
    w.sql(`CREATE TRIGGER no BEFORE INSERT ON predictions BEGIN SELECT RAISE(ABORT, 'read only today'); END`)
    await using only = await w.worker()
    await waitFor('two failures', () => only.warnings().length === 2)
    expect(only.warnings()[0]).toMatch(/^the database refuses everything: .*read only today; retrying in/)
    expect([await only.lag(), await only.letters()]).toEqual([3, []])
    w.sql('DROP TRIGGER no')
    await only.drained()
    expect(w.recorded()).toEqual(names(predictions(3)))
    expect(await only.letters()).toEqual([])
  })
})
