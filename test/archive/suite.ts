import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { describe, expect, onTestFinished, test } from 'vitest'
import { archive, archivedAmong, putBack } from '../../src/archive/archive.ts'
import { reason } from '../../src/io/errors.ts'
import type { Aged, Forgotten, Reviews } from '../../src/review/reviews.ts'
import type { Prediction } from '../../src/transaction.ts'
import type { Place } from '../review/suite.ts'
import { saying } from '../review/suite.ts'
import { LONG_CARD, NOTHING, prediction, tempDir } from '../rows.ts'

const YEAR = 366 * 86_400_000
/** The rows of test/rows.ts are of January 2026: all of them are older. */
const BEFORE = Date.UTC(2026, 5)
const fraud = (n: number, changes: Partial<Prediction> = {}) => prediction(n, { prediction: 1, score: 0.9, ...changes })
const earlier = (n: number, changes: Partial<Prediction> = {}) =>
  prediction(n, { event_time: prediction(n).event_time - YEAR, predicted_at: BEFORE - YEAR, ...changes })

/** What every database has to pass: old rows are in the file or in the table, whole, and never in both for good. */
export function archiveSuite(database: string, makePlace: () => Promise<Place>) {
  async function start(rows: readonly Prediction[]) {
    const stack = new AsyncDisposableStack()
    onTestFinished(() => stack.disposeAsync())
    const [place, dir] = [stack.use(await makePlace()), stack.use(await tempDir())]
    const store = stack.adopt(await place.store(), (s) => s.close())
    await store.insert(rows)
    const reviews = stack.adopt(place.reviews(), (r) => r.close())
    const folder = dir.file('archive')
    const read = async () => {
      const files = readdirSync(folder).filter((name) => name.endsWith('.parquet'))
      const all = files.map(async (name) =>
        parquetReadObjects({ file: await asyncBufferFromFile(`${folder}/${name}`) }),
      )
      return (await Promise.all(all)).flat()
    }
    return {
      ...{ store, reviews, folder, read },
      sql: place.sql,
      /** All that the table holds of each row. */
      rows: () => place.sql('SELECT * FROM predictions ORDER BY event_time, trans_num'),
      move: (changes: Partial<Parameters<typeof archive>[0]> = {}) =>
        archive({ reviews, folder, before: BEFORE, ...changes }),
    }
  }
  const named = (rows: readonly Record<string, unknown>[]) => rows.map(({ trans_num }) => String(trans_num)).sort()

  describe(`the archive of ${database}`, () => {
    test('old rows go into a file for each year, with every digit, text, verdict and judgement; young ones stay', async () => {
      const odd = prediction(2, {
        ...NOTHING,
        cc_num: 9_223_372_036_854_775_807n,
        merchant: 'fraud_日本 "=1+1"',
        amt: 0.1 + 0.2,
      })
      const young = prediction(4, { event_time: BEFORE })
      const lately = prediction(5, { predicted_at: BEFORE + 1 }) // of a producer whose times are long over
      const at = await start([fraud(1, { cc_num: LONG_CARD }), odd, earlier(3), young, lately])
      await at.reviews.say([saying(fraud(1), { note: "it's 'his' own", at: 1000 })])
      await at.reviews.say([saying(fraud(1), { verdict: 'legit', at: 2000, reviewer: 'ben' })])
      const judged = { trans_num: odd.trans_num, event_time: odd.event_time, prediction: 1 as const, score: 0.25 }
      await at.reviews.keep([{ ...judged, model: 'rf/8', threshold: 0.5, predicted_at: 3000 }])
      const lines = await at.move()
      expect(lines).toEqual([
        expect.stringMatching(/predictions-2025\.parquet: 1 more row$/),
        expect.stringMatching(/predictions-2026\.parquet: 2 more rows$/),
        '3 rows from before 2026-06-01 00:00:00 UTC moved',
      ])
      expect(named(await at.rows())).toEqual(['trans-4', 'trans-5'])
      expect(await at.sql('SELECT * FROM judgements')).toEqual([])
      const found = new Map((await at.read()).map((row) => [row.trans_num, row]))
      expect(found.get('trans-1')).toMatchObject({
        cc_num: LONG_CARD,
        event_time: new Date(prediction(1).event_time),
        trans_date_trans_time: new Date('2026-01-02T03:04:06Z'),
        ...{ prediction: 1, fraud_confirmed: 0, reviewed_at: new Date(2000), reviewed_by: 'ben' },
      })
      expect(JSON.parse(String(found.get('trans-1')!.reviews))).toMatchObject([
        { verdict: 'fraud', note: "it's 'his' own", reviewer: 'anna', at: 1000 },
        { verdict: 'legit', reviewer: 'ben', at: 2000 },
      ])
      expect(found.get('trans-2')).toMatchObject({
        ...{ cc_num: 9_223_372_036_854_775_807n, merchant: 'fraud_日本 "=1+1"', amt: 0.1 + 0.2, zip: null, dob: null },
        judgements: '[{"model":"rf/8","prediction":1,"score":0.25,"threshold":0.5,"predicted_at":3000}]',
      })
      expect((await at.sql('SELECT count(*) AS n FROM reviews')).map(({ n }) => Number(n))).toEqual([2])
    })

    test('an alarm that nobody has judged stays until somebody has', async () => {
      const at = await start([fraud(1), fraud(2)])
      await at.reviews.say([saying(fraud(2), { verdict: 'unsure' })])
      await at.move()
      expect([named(await at.rows()), named(await at.read())]).toEqual([['trans-1'], ['trans-2']])
      await at.reviews.say([saying(fraud(1))])
      await at.move()
      expect([named(await at.rows()), named(await at.read())]).toEqual([[], ['trans-1', 'trans-2']])
    })

    test('put back they are as they were, and moved again the file is the same', async () => {
      const all = [fraud(1, { cc_num: LONG_CARD }), prediction(2, NOTHING), prediction(3, { sampled: 0.5 } as object)]
      const at = await start(all)
      await at.reviews.say([saying(fraud(1))])
      const before = await at.rows()
      await at.move()
      const path = `${at.folder}/predictions-2026.parquet`
      const content = readFileSync(path)
      expect(await at.rows()).toEqual([])
      expect(await archivedAmong(at.folder, [...all, prediction(9)])).toEqual(new Set(all))
      const back = () => putBack({ reviews: at.reviews, folder: at.folder, path })
      expect(await back()).toBe(`${path}: 3 rows put back`)
      expect(await back()).toBe(`${path}: 0 rows put back, 3 were there already`)
      expect(await at.rows()).toEqual(before)
      expect((await at.sql('SELECT verdict FROM reviews')).map(({ verdict }) => verdict)).toEqual(['fraud'])
      await at.move()
      expect(await at.rows()).toEqual([])
      expect(readFileSync(path).equals(content)).toBe(true)
    })

    test('what was said of a row that was put back is in the file, which has it once', async () => {
      const rows = [1, 2, 3, 4, 5].map((n) => prediction(n))
      const at = await start(rows)
      await at.move({ written: 2 })
      const path = `${at.folder}/predictions-2026.parquet`
      await putBack({ reviews: at.reviews, folder: at.folder, path })
      await at.reviews.say([saying(rows[2]!, { verdict: 'fraud' })])
      await at.move({ written: 2 })
      expect(await at.rows()).toEqual([])
      const found = await at.read()
      expect(named(found)).toEqual(['trans-1', 'trans-2', 'trans-3', 'trans-4', 'trans-5'])
      expect(found.map(({ fraud_confirmed }) => fraud_confirmed).filter((v) => v !== null)).toEqual([1])
    })

    test('a verdict that is given while the rows are moved keeps its row here, and out of the file', async () => {
      const rows = [1, 2, 3].map((n) => prediction(n))
      const at = await start(rows)
      const late: Reviews = {
        ...at.reviews,
        async forget(old) {
          await at.reviews.say([saying(rows[1]!)])
          return at.reviews.forget(old)
        },
      }
      await at.move({ reviews: late })
      expect([named(await at.rows()), named(await at.read())]).toEqual([['trans-2'], ['trans-1', 'trans-3']])
      await at.move()
      expect([named(await at.rows()), named(await at.read())]).toEqual([[], ['trans-1', 'trans-2', 'trans-3']])
    })

    test('moved in two places at once a row is in one of the files', async () => {
      const at = await start([1, 2, 3].map((n) => prediction(n)))
      const other = `${at.folder}-other`
      const both: Reviews = {
        ...at.reviews,
        async forget(old) {
          await at.move({ folder: other })
          return at.reviews.forget(old)
        },
      }
      await at.move({ reviews: both })
      expect(await at.rows()).toEqual([])
      expect(readdirSync(at.folder).filter((name) => name.endsWith('.parquet'))).toEqual([])
      expect(
        (
          await archivedAmong(
            other,
            [1, 2, 3].map((n) => prediction(n)),
          )
        ).size,
      ).toBe(3)
    })

    test('broken off between any two steps nothing is lost, and the next run makes it whole', async () => {
      const rows = Array.from({ length: 9 }, (_, n) => (n < 4 ? earlier(n) : prediction(n)))
      for (let step = 0; ; step++) {
        const at = await start(rows)
        let left = step
        const dying = async <T>(work: () => Promise<T>) => {
          if (left-- === 0) throw new Error('killed')
          return work()
        }
        const reviews = {
          ...at.reviews,
          aged: (...given: Parameters<Reviews['aged']>) => dying(() => at.reviews.aged(...given)),
          forget: (old: readonly Aged[]): Promise<Forgotten[]> =>
            dying(async () => {
              const done = await at.reviews.forget(old.slice(0, Math.ceil(old.length / 2)))
              return [...done, ...(await dying(() => at.reviews.forget(old.slice(Math.ceil(old.length / 2)))))]
            }),
        }
        const whole = await at.move({ reviews, written: 3 }).then(
          () => true,
          (error) => expect(String(error)).toContain('killed'),
        )
        const there = new Set([...named(await at.rows()), ...named(await at.read())])
        expect([...there].sort()).toEqual(named(rows))
        await at.move({ written: 3 })
        expect([named(await at.rows()), named(await at.read())]).toEqual([[], named(rows)])
        if (whole === true) return expect(step).toBeGreaterThan(10)
      }
    })

    test('a file that is damaged, cut or of something else is added to by nobody, and no row goes', async () => {
      const at = await start([prediction(1), prediction(2)])
      await at.move({ before: prediction(2).event_time })
      const path = `${at.folder}/predictions-2026.parquet`
      const content = readFileSync(path)
      const flipped = Buffer.from(content)
      flipped[100]! ^= 1
      for (const [bytes, said] of [
        [flipped, 'is not as it was written: put it back from a backup'],
        [content.subarray(0, 300), 'is it whole? Put it back from a backup'],
        [Buffer.from('text'), 'is it whole?'],
      ] as const) {
        writeFileSync(path, bytes)
        await expect(at.move()).rejects.toThrow(said)
        expect(named(await at.rows())).toEqual(['trans-2'])
      }
      writeFileSync(path, content)
      await at.move()
      expect(named(await at.read())).toEqual(['trans-1', 'trans-2'])
    })

    test('a column of the user has no place in the file: nothing goes', async () => {
      const at = await start([prediction(1)])
      await at.sql('ALTER TABLE predictions ADD COLUMN mine text')
      expect(reason(await at.move().catch((error) => error))).toMatch(/columns of yours \(mine\)/)
      expect(await at.rows()).toHaveLength(1)
    })
  })
}
