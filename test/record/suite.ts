import { describe, expect, onTestFinished, test } from 'vitest'
import { COLUMNS } from '../../src/columns.ts'
import { Refusal } from '../../src/io/errors.ts'
import type { Store } from '../../src/record/store.ts'
import { identity, type Prediction } from '../../src/transaction.ts'
import { LONG_CARD, NOTHING, prediction, transaction } from '../rows.ts'

/**
 * A database of its own, empty at first. `open` opens the store as the worker does at each start; `sql` is for a person
 * beside it and answers rows, integers as bigint.
 */
export type Place = AsyncDisposable & {
  open(): Promise<Store>
  sql(text: string): Promise<Record<string, unknown>[]>
}

const ALL = 'SELECT * FROM predictions ORDER BY event_time, trans_num'
const UNREVIEWED = { fraud_confirmed: null, reviewed_at: null, reviewed_by: null, sampled: null, threshold: null }
const predictions = (count: number, from = 1) => Array.from({ length: count }, (_, i) => prediction(from + i))
/** A row the way `sql` answers it. */
const stored = (p: Prediction) =>
  Object.fromEntries(
    Object.entries({ ...p, ...UNREVIEWED }).map(([column, value]) => [
      column,
      Number.isInteger(value) && column !== 'amt' ? BigInt(value as number) : value,
    ]),
  )

/** What every database has to pass: the contract in src/record/store.ts, and nothing that only one of them can do. */
export function storeSuite(database: string, makePlace: () => Promise<Place>) {
  /** A store in a place of its own, closed when the test is over. */
  async function start() {
    const stack = new AsyncDisposableStack()
    onTestFinished(() => stack.disposeAsync())
    const place = stack.use(await makePlace())
    const open = async () => stack.adopt(await place.open(), (store) => store.close())
    return { store: await open(), open, sql: place.sql }
  }

  describe(`predictions in ${database}`, { timeout: 120_000 }, () => {
    describe('the table', () => {
      test('has the columns of the design, in its order', async () => {
        const { store, sql } = await start()
        await store.insert([prediction(1)])
        expect(Object.keys((await sql(ALL))[0]!)).toEqual(COLUMNS)
        expect(COLUMNS.join(' ')).toBe(
          'trans_date_trans_time cc_num merchant category amt first last gender street city state zip lat long ' +
            'city_pop job dob trans_num unix_time merch_lat merch_long is_fraud prediction score model event_time ' +
            'fetched_at predicted_at fraud_confirmed reviewed_at reviewed_by sampled threshold',
        )
      })
      test('is empty at first, and keeps its rows when it is opened again', async () => {
        const { store, open, sql } = await start()
        expect(await sql(ALL)).toEqual([])
        await store.insert(predictions(3))
        await open()
        expect(await sql(ALL)).toHaveLength(3)
      })
    })

    describe('a row', () => {
      test('is kept as it is, for the reviewer nothing yet', async () => {
        const { store, sql } = await start()
        const row = prediction(1, { merchant: `O'Brien; "Söhne" 日本 🛒`, score: 0.1 + 0.2, amt: 1234.56 })
        await store.insert([row])
        expect(await sql(ALL)).toEqual([stored(row)])
      })
      test.for([60_400_000_001n, LONG_CARD, 9_223_372_036_854_775_807n])('keeps card %i exactly', async (cc_num) => {
        const { store, sql } = await start()
        await store.insert([prediction(1, { cc_num })])
        expect(await sql('SELECT cc_num FROM predictions')).toEqual([{ cc_num }])
      })
      test('is what was read of it, in every database, whatever the producer sent', async () => {
        const { store, sql } = await start()
        const sent: Record<string, unknown[]> = {
          dob: ['03/04/1980', '29/02/1980', 'infinity', 'epoch', 'today', '0001-01-01', '9999-12-31', '1980-01-01 BC'],
          merchant: ['a\0b', '\ud800', 'x'.repeat(1e5), '\u202e', 7n ** 30n],
          zip: ['02134', 2 ** 53 - 1, 1e20, 'K1A 0B1'],
          lat: ['1.5e-300', 5e-324, '1e400', -0.1],
          amt: ['1e308', 5e-324, 1e20],
          trans_num: ['\0', '\udfff', 42, 'é'.repeat(200)],
          current_time: [0, 253_402_300_799_999, '2000-02-29 23:59:59.999999999+00'],
        }
        const rows = Object.entries(sent).flatMap(([column, values], i) =>
          values.map((value, j): Prediction => ({ ...prediction(1), ...transaction(10 * i + j, { [column]: value }) })),
        )
        await store.insert(rows)
        const found = new Map((await sql(ALL)).map((row) => [`${row.trans_num}@${row.event_time}`, row]))
        for (const row of rows) expect(found.get(identity(row))).toEqual(stored(row))
      })
      test('may lack what a producer leaves out', async () => {
        const { store, sql } = await start()
        await store.insert([prediction(1, NOTHING)])
        expect(await sql(ALL)).toEqual([stored(prediction(1, NOTHING))])
      })
      test('may lack a column that came later', async () => {
        const { store, sql } = await start()
        const { model, score, ...older } = prediction(1)
        await store.insert([older as Prediction])
        expect(await sql(ALL)).toEqual([stored({ ...(older as Prediction), model: null, score: null })])
      })
      test('keeps apart what the producer, the model and a person say', async () => {
        const { store, sql } = await start()
        await store.insert([
          prediction(1, { is_fraud: 1, prediction: 0 }),
          prediction(2, { is_fraud: 0, prediction: 1 }),
        ])
        expect(await sql(`SELECT is_fraud, prediction, fraud_confirmed FROM predictions ORDER BY event_time`)).toEqual([
          { is_fraud: 1n, prediction: 0n, fraud_confirmed: null },
          { is_fraud: 0n, prediction: 1n, fraud_confirmed: null },
        ])
      })
      test('is one of many: more than a statement has parameters', async () => {
        const { store, sql } = await start()
        await store.insert(predictions(3000))
        expect(await sql('SELECT count(*) AS n FROM predictions')).toEqual([{ n: 3000n }])
        await store.insert([])
        expect(await sql('SELECT count(*) AS n FROM predictions')).toEqual([{ n: 3000n }])
      })
    })

    describe('written again', () => {
      test('a transaction is there once, also within one batch', async () => {
        const { store, sql } = await start()
        await store.insert([prediction(1), prediction(2), prediction(1)])
        await store.insert([prediction(2), prediction(3)])
        expect((await sql(ALL)).map(({ trans_num }) => trans_num)).toEqual(['trans-1', 'trans-2', 'trans-3'])
      })
      test('it stays as it is, with what the reviewer wrote', async () => {
        const { store, sql } = await start()
        await store.insert([prediction(1)])
        await sql(`UPDATE predictions SET fraud_confirmed = 1, reviewed_at = 1767323046000, reviewed_by = 'Grace'`)
        const reviewed = { fraud_confirmed: 1n, reviewed_at: 1_767_323_046_000n, reviewed_by: 'Grace' }
        await store.insert([prediction(1, { amt: 9, prediction: 1, score: 0.9, model: 'other', predicted_at: 1 })])
        expect(await sql(ALL)).toEqual([{ ...stored(prediction(1)), ...reviewed }])
      })
      test('another time, or another number, is another transaction', async () => {
        const { store, sql } = await start()
        const { trans_num, event_time } = prediction(1)
        await store.insert([prediction(1), prediction(2, { trans_num }), prediction(3, { event_time })])
        expect(await sql(ALL)).toHaveLength(3)
      })
      test('by two processes at a time, it is there once', async () => {
        const { store, open, sql } = await start()
        const other = await open()
        await Promise.all([store.insert(predictions(200)), other.insert(predictions(200, 100))])
        expect(await sql('SELECT count(*) AS n FROM predictions')).toEqual([{ n: 299n }])
      })
    })

    describe('a row that it refuses', () => {
      test.for<[string, unknown]>([
        ['zip', 'none'],
        ['amt', null],
        ['amt', 'much'],
        ['trans_num', null],
        ['cc_num', 2n ** 64n],
        ['city_pop', 1.5],
        ['lat', [39, 40]],
      ])('%s %o is told apart from an outage, and none of the batch is there', async ([column, value]) => {
        const { store, sql } = await start()
        const refused = store.insert([prediction(1), prediction(2, { [column]: value }), prediction(3)])
        await expect(refused).rejects.toBeInstanceOf(Refusal)
        expect(await sql(ALL)).toEqual([])
        await store.insert(predictions(3))
        expect(await sql(ALL)).toHaveLength(3)
      })
    })

    test('tells which rows are not there', async () => {
      const { store } = await start()
      const { trans_num, event_time } = prediction(1)
      expect(await store.missing([prediction(1)])).toEqual([prediction(1)])
      await store.insert(predictions(2))
      const names = [
        '"',
        '\\',
        '\\u0041',
        "'; --",
        '\u001b\n\u2028',
        '🙂 ж',
        '0123',
        '1e3',
        '{}',
        'null',
        '9'.repeat(30),
      ]
      const odd = names.map((name) => prediction(6, { trans_num: name, cc_num: LONG_CARD }))
      const near = [...names.map((name) => `${name} `), '123', '1000', 'A']
      await store.insert(odd)
      const others = [
        ...[prediction(3, { trans_num }), prediction(4, { event_time }), prediction(5)],
        ...near.map((name) => prediction(6, { trans_num: name })),
      ]
      expect(await store.missing([...predictions(2), ...odd, ...others])).toEqual(others)
      const brief = others.map(({ trans_num, event_time }) => ({ trans_num, event_time }))
      expect(await store.missing([...odd, ...brief])).toEqual(brief)
      expect(await store.missing([])).toEqual([])
    })

    test('a probe reads a row back as it was written, and leaves nothing', async () => {
      const { store, sql } = await start()
      const row = prediction(1, { cc_num: LONG_CARD })
      expect(await store.probe(row)).toMatchObject({ cc_num: LONG_CARD, trans_num: row.trans_num, amt: row.amt })
      expect(await sql(ALL)).toEqual([])
      await store.insert([row])
      expect(await sql(ALL)).toHaveLength(1)
    })

    test('a database that cannot take any row is no refusal, and is used again when it can', async () => {
      const { store, sql } = await start()
      await sql('ALTER TABLE predictions RENAME TO elsewhere')
      const failure = await store.insert([prediction(1)]).catch((error) => error)
      expect(failure).toBeInstanceOf(Error)
      expect(failure).not.toBeInstanceOf(Refusal)
      await sql('ALTER TABLE elsewhere RENAME TO predictions')
      await store.insert([prediction(1)])
      expect(await sql(ALL)).toHaveLength(1)
    })
  })
}
