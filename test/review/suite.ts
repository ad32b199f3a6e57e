import { describe, expect, onTestFinished, test } from 'vitest'
import type { Store } from '../../src/record/store.ts'
import { importLabels } from '../../src/review/labels.ts'
import { type Case, idOf, type Reviews, type Saying, seenOf, verdictOf } from '../../src/review/reviews.ts'
import type { Prediction } from '../../src/transaction.ts'
import { LONG_CARD, prediction } from '../rows.ts'

/** A database of its own, with the table; `sql` is for a person beside it. */
export type Place = AsyncDisposable & {
  store(): Promise<Store>
  reviews(): Reviews
  sql(text: string): Promise<Record<string, unknown>[]>
}

const fraud = (n: number, changes: Partial<Prediction> = {}) => prediction(n, { prediction: 1, score: 0.9, ...changes })
export const saying = (p: Prediction, changes: Partial<Saying> = {}): Saying => ({
  trans_num: p.trans_num,
  event_time: p.event_time,
  verdict: 'fraud',
  note: null,
  reviewer: 'anna',
  via: 'page',
  at: 1_767_400_000_000,
  ...changes,
})
/** What may stand in the column of scores by SQL alone. */
const NO_SCORES = (database: string) =>
  database === 'SQLite' ? ['9e999', '-9e999', '1.5'] : ["'NaN'", "'Infinity'", "'-Infinity'", '1.5']
const COLUMNS = 'SELECT fraud_confirmed, reviewed_at, reviewed_by FROM predictions ORDER BY event_time'

/** What every database has to pass: the contract in src/review/reviews.ts. */
export function reviewSuite(database: string, makePlace: () => Promise<Place>) {
  async function start(rows: readonly Prediction[] = []) {
    const stack = new AsyncDisposableStack()
    onTestFinished(() => stack.disposeAsync())
    const place = stack.use(await makePlace())
    const store = stack.adopt(await place.store(), (s) => s.close())
    await store.insert(rows)
    const open = () => stack.adopt(place.reviews(), (r) => r.close())
    const reviews = open()
    const see = async (p: Prediction) => (await reviews.find(idOf(p))) as Case
    return { store, reviews, open, see, sql: place.sql }
  }

  describe(`reviews in ${database}`, () => {
    test('a challenger says of each row once what it says; what it alone flags comes before a person for certain', async () => {
      const rows = [fraud(1), prediction(2), prediction(3, { sampled: 0.01 }), prediction(4)]
      const { store, reviews, sql } = await start(rows)
      const judged = (p: Prediction, is: 0 | 1, changes = {}) => ({
        ...{ ...p, prediction: is, score: null, model: 'fraud/8', threshold: 0.5, predicted_at: 1000 },
        ...changes,
      })
      const late = prediction(5)
      const all = [...rows, late].map((p, i) => judged(p, i === 3 ? 0 : 1))
      await reviews.keep(all)
      await reviews.keep(all.map((one) => ({ ...one, prediction: 0, predicted_at: 2000 })))
      await reviews.keep([judged(rows[3]!, 0, { model: 'fraud/9', score: 0.25 })])
      const kept = await sql('SELECT trans_num, model, prediction, score FROM judgements ORDER BY model, trans_num')
      expect(kept.map((row) => Object.values(row))).toEqual([
        ...[1, 2, 3, 4, 5].map((n) => [`trans-${n}`, 'fraud/8', n === 4 ? 0n : 1n, null]),
        ['trans-4', 'fraud/9', 0n, 0.25],
      ])
      const names = async (tab: 'alarms' | 'disagreements' | 'audit') =>
        (await reviews.queue(tab, 10)).map(({ trans_num }) => trans_num).sort()
      const draw = async () => reviews.draw(await reviews.undrawn(0))
      expect([await names('disagreements'), await names('audit')]).toEqual([[], ['trans-3']])
      await draw()
      expect([await names('disagreements'), await names('audit')]).toEqual([['trans-2', 'trans-3'], []])
      await store.insert([late]) // which the challenger was faster with
      await draw()
      expect(await names('disagreements')).toEqual(['trans-2', 'trans-3', 'trans-5'])
      expect(await reviews.undrawn(0)).toEqual([])
      await reviews.say([saying(late)])
      expect(await reviews.counts()).toEqual({ alarms: 1, disagreements: 2, audit: 0, unsure: 0, done: 1, sum: 11 })
    })

    test('the queue has the open alarms, the largest first; the tabs have what was said, and the sample', async () => {
      const rows = [fraud(1), fraud(2, { amt: 900 }), fraud(3), prediction(4), prediction(5, { sampled: 0.01 })]
      const { reviews } = await start(rows)
      const names = async (tab: 'alarms' | 'audit' | 'unsure' | 'done') =>
        (await reviews.queue(tab, 10)).map(({ trans_num }) => trans_num)
      expect(await names('alarms')).toEqual(['trans-2', 'trans-3', 'trans-1'])
      expect(await names('audit')).toEqual(['trans-5'])
      expect(await reviews.queue('alarms', 1)).toHaveLength(1)
      expect(await reviews.counts()).toEqual({
        alarms: 3,
        disagreements: 0,
        audit: 1,
        unsure: 0,
        done: 0,
        sum: 11 + 900 + 13,
      })
      await reviews.say([
        saying(rows[0]!, { verdict: 'legit' }),
        saying(rows[1]!, { verdict: 'unsure', at: 7 }),
        saying(rows[4]!, { at: 9 }),
      ])
      expect(await names('alarms')).toEqual(['trans-3'])
      expect(await names('unsure')).toEqual(['trans-2'])
      expect(await names('done')).toEqual(['trans-1', 'trans-5'])
      expect(await reviews.counts()).toEqual({ alarms: 1, disagreements: 0, audit: 0, unsure: 1, done: 2, sum: 13 })
    })

    test('days and growth are counted: what was judged and said then, what was missed, what is open by age and money', async () => {
      const [DAY, now] = [86_400_000, 1_767_400_000_000]
      const one = (n: number, age: number, changes: Partial<Prediction> = {}) =>
        prediction(n, { event_time: now - age * DAY - n, predicted_at: now - age * DAY, amt: n, ...changes })
      const rows = [
        one(1, 0.1, { prediction: 1 }),
        one(2, 0.2, { prediction: 1 }),
        one(4, 0.3, { is_fraud: 1 }), // missed, says the producer
        one(8, 0.4), // missed, says a person
        one(16, 0.5, { is_fraud: null }),
        one(32, 3, { prediction: 1 }),
        one(64, 30, { prediction: 1, is_fraud: 1 }),
        one(128, 31, { is_fraud: 1 }),
        one(256, 1.5, { prediction: 1, predicted_at: now - 0.9 * DAY }), // it waited for the model
      ]
      const { reviews } = await start(rows)
      const none = { count: 0, amount: 0 }
      expect(await reviews.days(now - DAY, now)).toEqual({
        rows: 6,
        alarms: { count: 3, amount: 259 },
        unseen: { count: 1, amount: 4 },
        said: { fraud: none, legit: none, missed: none },
        open: { day: { count: 2, amount: 3 }, week: { count: 2, amount: 288 }, older: { count: 1, amount: 64 } },
        oldest: now - 30 * DAY - 64,
      })
      await reviews.say([
        saying(rows[0]!, { at: now - 5 }),
        saying(rows[6]!, { at: now - 5, verdict: 'legit' }),
        saying(rows[5]!, { at: now - 2 * DAY, verdict: 'legit' }),
        saying(rows[1]!, { at: now - 5, verdict: 'unsure' }),
        saying(rows[3]!, { at: now - 5 }),
      ])
      expect(await reviews.days(now - DAY, now)).toMatchObject({
        said: { fraud: { count: 1, amount: 1 }, legit: { count: 1, amount: 64 }, missed: { count: 1, amount: 8 } },
        open: { day: none, week: { count: 1, amount: 256 }, older: none },
      })
      expect(await reviews.grown(now - 7 * DAY)).toEqual({ rows: 9, recent: 7, first: now - 31 * DAY - 128 })
    })

    test('all rows come by their time, page after page, each once, with what was said of them', async () => {
      const at = (n: number) => 1_767_400_000_000 + Math.floor(n / 3) // three at a time
      const rows = Array.from({ length: 20 }, (_, n) =>
        prediction(n, {
          event_time: at(n),
          prediction: n % 4 === 0 ? 1 : 0,
          is_fraud: n % 5 === 0 ? null : 0,
          amt: n + 0.5,
        }),
      )
      const { reviews } = await start(rows)
      await reviews.say([saying(rows[3]!), saying(rows[4]!, { verdict: 'unsure' })])
      const pages = async <T extends Saying | { trans_num: string; event_time: number }>(
        ask: (after: T | undefined) => Promise<T[]>,
      ) => {
        const found: T[] = []
        for (let page = await ask(undefined); page.length > 0; page = await ask(found.at(-1))) found.push(...page)
        return found
      }
      const [first, last] = [at(3), at(17)]
      const before = await pages((after) => reviews.judgedBefore(first, last, after, 4))
      const names = (some: readonly { trans_num: string }[]) => some.map(({ trans_num }) => trans_num).sort()
      expect(names(before)).toEqual(names(rows.slice(3, 18)))
      expect(before.find(({ trans_num }) => trans_num === 'trans-3')).toEqual({
        ...{ trans_num: 'trans-3', event_time: at(3), prediction: 0, label: 0, verdict: 1, amount: 3.5 },
      })
      expect(before.find(({ trans_num }) => trans_num === 'trans-4')).toMatchObject({ prediction: 1, verdict: 2 })
      expect(before.find(({ trans_num }) => trans_num === 'trans-5')).toMatchObject({ label: null, verdict: null })
      const all = await pages((after) => reviews.rows({ kind: 'all', from: first, to: last }, after, 4))
      expect(names(all)).toEqual(names(rows.slice(3, 15)))
      const times = all.map(({ event_time }) => event_time)
      expect(times).toEqual([...times].sort((a, b) => a - b))
    })

    test('none are nothing', async () => {
      const { reviews } = await start()
      const { open, oldest, rows } = await reviews.days(0, 1)
      expect([open.day, oldest, rows]).toEqual([{ count: 0, amount: 0 }, undefined, 0])
      expect(await reviews.grown(0)).toEqual({ rows: 0, recent: 0, first: undefined })
    })

    test('a payment is what was recorded, to the digit, found by an id that is neither its number nor its time', async () => {
      const row = fraud(1, { cc_num: LONG_CARD, score: 0.1 + 0.2, dob: '1980-02-29', trans_num: 'x'.repeat(200) })
      const { reviews } = await start([row, fraud(2, { event_time: row.event_time })])
      const nothing = { sampled: null, threshold: null, fraud_confirmed: null, reviewed_at: null, reviewed_by: null }
      expect(await reviews.find(idOf(row))).toEqual({ payment: { ...row, ...nothing }, trail: [] })
      expect(idOf(row)).toMatch(/^[0-9a-z]{8}-[0-9a-f]{8}$/)
      for (const id of ['', '-', 'a-b', 'zzzzzzzzz-00000000', `${idOf(row)}0`, '1e9-', "'-'", idOf(fraud(3))])
        expect(await reviews.find(id)).toBe(undefined)
      const chosen = await reviews.chosen(['a-b', idOf(row), '', idOf(fraud(3))])
      expect(chosen.map((p) => p?.trans_num)).toEqual([undefined, row.trans_num, undefined, undefined])
    })

    test('rows are counted by what is known of them, by day, and by score', async () => {
      const day = 20_000
      const at = (days: number) => ({ event_time: (day + days) * 86_400_000 + 5 })
      const rows = [
        fraud(1, { ...at(0), threshold: 0.5, amt: 10, is_fraud: null }),
        prediction(2, { ...at(0), threshold: 0.5, amt: 20, is_fraud: 1, score: 0.29 }),
        prediction(3, { ...at(0), threshold: 0.5, amt: 30, is_fraud: 1, score: 0.29 }),
        prediction(4, { ...at(1), threshold: 0.5, amt: 40, score: null, sampled: 0.01, model: null }),
        prediction(5, { ...at(2), threshold: 0.5, amt: 50, score: 1 }),
      ]
      const { reviews, store } = await start(rows)
      await reviews.say([
        saying(rows[0]!),
        saying(rows[3]!, { verdict: 'unsure' }),
        saying(rows[4]!, { verdict: 'legit' }),
      ])
      const alike = {
        model: 'rf/7',
        threshold: 0.5,
        day,
        prediction: 0,
        label: 0,
        verdict: null,
        sampled: null,
        rows: 1,
      }
      const byDay = (a: { day: number; amount: number }, b: typeof a) => a.day - b.day || a.amount - b.amount
      expect((await reviews.counted()).sort(byDay)).toEqual([
        { ...alike, prediction: 1, label: null, verdict: 1, amount: 10 },
        { ...alike, label: 1, rows: 2, amount: 50 },
        { ...alike, model: null, day: day + 1, verdict: 2, sampled: 0.01, amount: 40 },
        { ...alike, day: day + 2, verdict: 0, amount: 50 },
      ])
      const { model, threshold, ...same } = alike
      expect((await reviews.scored({ model, threshold }, day + 2)).sort(byDay)).toEqual([
        { ...same, day: 0, step: 90, prediction: 1, label: null, verdict: 1, amount: 10 },
        { ...same, day: 0, step: 29, label: 1, rows: 2, amount: 50 },
      ])
      expect((await reviews.scored({ model, threshold }, day + 3, 0.29)).map(({ step }) => step)).toEqual([1, 1, 1])
      expect((await reviews.scored({ model, threshold }, day + 3, 0.3)).map(({ step }) => step).sort()).toEqual([
        0, 1, 1,
      ])
      expect(await reviews.scored({ model: null, threshold }, day + 9)).toEqual([])
      const missed = async (labelled: boolean) => (await reviews.missed(labelled, 9)).map(({ trans_num }) => trans_num)
      expect([await missed(false), (await missed(true)).sort()]).toEqual([[], ['trans-2', 'trans-3']])
      await reviews.say([saying(rows[1]!, { verdict: 'legit' }), saying(rows[4]!)])
      await store.insert([prediction(6, { ...at(2), is_fraud: 1, sampled: 0.01 })]) // which is first to be audited
      expect([await missed(false), await missed(true)]).toEqual([['trans-5'], ['trans-5', 'trans-3']])
    })

    test('of any number of models those that judged last are counted, and what is no score is none', async () => {
      const day = 20_000
      const rows = Array.from({ length: 60 }, (_, n) =>
        prediction(n, { event_time: (day + n) * 86_400_000, model: `rf/${n}`, threshold: 0.5, score: 0.4 }),
      )
      const strange = prediction(70, { ...rows[59]!, trans_num: 'trans-70', threshold: 0.7, score: 0.4 })
      const { reviews, sql } = await start([...rows, strange])
      const counted = await reviews.counted()
      expect(counted).toHaveLength(50)
      expect(new Set(counted.map(({ day }) => day))).toEqual(
        new Set(Array.from({ length: 49 }, (_, n) => day + 11 + n)),
      )
      expect(
        counted
          .filter(({ model }) => model === 'rf/59')
          .map(({ threshold }) => threshold)
          .sort(),
      ).toEqual([0.5, 0.7])
      for (const value of NO_SCORES(database)) {
        await sql(`UPDATE predictions SET score = ${value} WHERE trans_num = 'trans-70'`)
        expect(await reviews.scored({ model: 'rf/59', threshold: 0.7 }, day + 99)).toEqual([])
        const [score] = (await reviews.measured('rf/59', 0, Number.MAX_SAFE_INTEGER)).filter(
          ({ name }) => name === 'score',
        )
        expect(score).toMatchObject({ cells: [0.4], counts: [1, 0, 1] })
      }
    })

    test('columns are counted in the cells of a base; what is noted stays as it was', async () => {
      const at = (n: number) => 1_767_400_000_000 + n * 60_000
      const rows = Array.from({ length: 40 }, (_, n) =>
        prediction(n, {
          ...{ event_time: at(n), amt: n + 1, category: n % 4 ? 'food' : 'net', job: n === 3 ? null : `job ${n}` },
          ...{ dob: n === 5 ? null : '1980-02-29', score: n === 7 ? null : n / 40, threshold: 0.5, city_pop: n },
          prediction: n % 10 ? 0 : 1,
        }),
      )
      const { reviews } = await start([...rows, prediction(99, { model: null })])
      const found = await reviews.firstRows('rf/7', 20, Number.MAX_SAFE_INTEGER)
      expect(found).toEqual({ first: at(0), last: at(19), rows: 20 })
      const base = await reviews.measured('rf/7', found.first, found.last)
      const of = (measured: typeof base, name: string) => measured.find((one) => one.name === name)!
      expect(base.map(({ name }) => name).sort()).toEqual(
        'age amt category city_pop distance gender job lat long merch_lat merch_long score state'.split(' '),
      )
      for (const { counts } of base) expect(counts.reduce((sum, one) => sum + one, 0)).toBe(20)
      expect(of(base, 'amt')).toMatchObject({
        cells: [2, 4, 6, 8, 10, 12, 14, 16, 18],
        counts: [...Array(10).fill(2), 0],
      })
      expect(of(base, 'category')).toMatchObject({ cells: ['food', 'net'], counts: [15, 5, 0, 0] })
      expect(of(base, 'gender')).toMatchObject({ cells: ['F'], counts: [20, 0, 0] })
      expect(of(base, 'age')).toMatchObject({ cells: [46], counts: [19, 0, 1] })
      expect(of(base, 'job').counts.at(-1)).toBe(1)
      expect(of(base, 'score').counts.at(-1)).toBe(1)
      const now = await reviews.measured('rf/7', at(20), at(39), base)
      expect(of(now, 'amt').counts).toEqual([...Array(9).fill(0), 20, 0])
      expect(of(now, 'job').counts).toEqual([...Array(19).fill(0), 20, 0])
      const hours = await reviews.hours({ model: 'rf/7', threshold: 0.5 }, 0)
      expect(hours.reduce((sum, { rows }) => sum + rows, 0)).toBe(40)
      expect(hours.reduce((sum, { flagged }) => sum + flagged, 0)).toBe(4)
      const notes = [...base.map((one) => ({ ...one, base: true })), ...now.map((one) => ({ ...one, base: false }))]
      await reviews.noteBaselines(notes)
      await reviews.noteBaselines(notes.map((one) => ({ ...one, counts: [1] })))
      const noted = await reviews.baselines(0)
      const inOrder = (all: typeof noted) => all.toSorted((a, b) => a.first - b.first || (a.name < b.name ? -1 : 1))
      expect(inOrder(noted)).toEqual(inOrder(notes.map((one) => (one.base ? one : { ...one, cells: [] }))))
      expect(await reviews.baselines(at(60))).toHaveLength(13)
    })

    test('what is said is there, in a row of its own and in the three columns', async () => {
      const rows = [fraud(1), fraud(2)]
      const { reviews, see, sql, open } = await start(rows)
      const said = await reviews.say([saying(rows[0]!, { note: 'called "her"; 日本' })])
      expect(said).toEqual([{ review: { ...saying(rows[0]!, { note: 'called "her"; 日本' }), id: 1 } }])
      const after = { fraud_confirmed: 1n, reviewed_at: 1_767_400_000_000n, reviewed_by: 'anna' }
      const none = { fraud_confirmed: null, reviewed_at: null, reviewed_by: null }
      expect(await sql(COLUMNS)).toEqual([after, none])
      expect((await see(rows[0]!)).trail).toEqual([{ ...saying(rows[0]!, { note: 'called "her"; 日本' }), id: 1 }])
      for (const [verdict, fraud_confirmed] of [
        ['legit', 0n],
        ['unsure', null],
      ] as const) {
        await open().say([saying(rows[0]!, { verdict, at: 5, reviewer: 'bruno' })])
        expect((await sql(COLUMNS))[0]).toEqual({ fraud_confirmed, reviewed_at: 5n, reviewed_by: 'bruno' })
      }
      await reviews.say([saying(rows[0]!, { verdict: 'withdrawn', at: 6 })])
      expect(await sql(COLUMNS)).toEqual([none, none])
      expect((await see(rows[0]!)).trail.map((r) => r.verdict)).toEqual(['fraud', 'legit', 'unsure', 'withdrawn'])
    })

    test('whoever had something else before them is told, and changes nothing; the same said twice counts once', async () => {
      const rows = [fraud(1), fraud(2)]
      const { reviews, see, sql } = await start(rows)
      const seen = seenOf(await see(rows[0]!))
      const first = saying(rows[0]!, { seen })
      await reviews.say([first])
      expect(await reviews.say([first])).toMatchObject([{ review: { id: 1 } }]) // a button pressed twice
      const other = saying(rows[0]!, { seen, verdict: 'legit', reviewer: 'bruno' })
      const [stale, fine] = await reviews.say([other, saying(rows[1]!, { seen: seenOf(await see(rows[1]!)) })])
      expect(stale).toMatchObject({ stale: { trail: [{ verdict: 'fraud', reviewer: 'anna' }] } })
      expect(fine).toHaveProperty('review')
      expect(await sql('SELECT verdict FROM reviews ORDER BY id')).toEqual([{ verdict: 'fraud' }, { verdict: 'fraud' }])
      await reviews.say([{ ...other, seen: seenOf(await see(rows[0]!)) }])
      expect(verdictOf((await see(rows[0]!)).payment)).toBe('legit')
      await expect(reviews.say([saying(fraud(9))])).resolves.toEqual([
        { missing: { trans_num: 'trans-9', event_time: fraud(9).event_time } },
      ])
    })

    test('labels of thousands of lines are taken as they come: what is unknown is told, what is repeated counts once', async () => {
      const rows = Array.from({ length: 1000 }, (_, n) => fraud(n))
      const { reviews, sql } = await start(rows)
      // Four lines of a payment follow each other; the last 250 payments are unknown.
      const of = (n: number) => ['fraud,2026-01-20', 'fraud,2026-01-20', 'legit,2026-01-21', 'fraud,2026-01-20'][n % 4]
      const line = (n: number) => `trans-${Math.floor(n / 4)},${of(n)}\r\n`
      const text = `trans_num,verdict,at\r\n${Array.from({ length: 5000 }, (_, n) => line(n)).join('')}`
      for (let again = 0; again < 2; again++) {
        let [read, readBefore] = [0, 0] // of it, when the first verdict counts
        function* pieces() {
          for (; read < text.length; read += 777) yield text.slice(read, read + 777)
        }
        const say: Reviews['say'] = (sayings) => {
          readBefore ||= read
          return reviews.say(sayings)
        }
        const told: string[] = []
        const seen: [lines: number, verdicts: number][] = []
        const counted = await importLabels({ ...reviews, say }, pieces(), {
          reviewer: 'bank',
          tell: (line) => void told.push(line),
          progress: (...far) => void seen.push(far),
        })
        expect(counted).toEqual({ verdicts: 4000, wrong: 1000 })
        expect(told).toEqual(
          Array.from({ length: 1000 }, (_, n) => `trans-${1000 + Math.floor(n / 4)}: is not in the database`),
        )
        expect(readBefore).toBeLessThan(text.length / 4)
        expect(seen.at(-1)).toEqual([5000, 4000])
        expect(await sql('SELECT count(*) AS n, count(DISTINCT trans_num) AS of FROM reviews')).toEqual([
          { n: 2000n, of: 1000n },
        ])
        expect(await sql('SELECT DISTINCT fraud_confirmed, reviewed_at, reviewed_by FROM predictions')).toEqual([
          { fraud_confirmed: 0n, reviewed_at: BigInt(Date.UTC(2026, 0, 21)), reviewed_by: 'bank' },
        ])
      }
      const trail = (await reviews.find(idOf(rows[7]!)))!.trail
      expect(trail.map(({ verdict }) => verdict)).toEqual(['fraud', 'legit'])
    })

    test('of twenty at a time one counts', async () => {
      const row = fraud(1)
      const { open, see, sql } = await start([row])
      const seen = seenOf(await see(row))
      const both = [open(), open()]
      const said = await Promise.all(
        Array.from({ length: 20 }, (_, n) => both[n % 2]!.say([saying(row, { seen, reviewer: `r${n}` })])),
      )
      expect(said.flat().filter((one) => 'review' in one)).toHaveLength(1)
      expect(await sql('SELECT count(*) AS n FROM reviews')).toEqual([{ n: 1n }])
    })

    test('a verdict set by SQL alone counts, and makes stale what was seen before', async () => {
      const row = fraud(1)
      const { reviews, see, sql } = await start([row])
      const seen = seenOf(await see(row))
      await sql('UPDATE predictions SET fraud_confirmed = 1')
      expect(await reviews.counts()).toMatchObject({ alarms: 0, done: 1 })
      expect(await reviews.say([saying(row, { seen })])).toMatchObject([{ stale: { trail: [] } }])
      expect(await reviews.setBySql(undefined, 9)).toMatchObject([{ trans_num: 'trans-1' }])
      await reviews.say([saying(row)])
      expect(await reviews.setBySql(undefined, 9)).toEqual([])
      await sql("UPDATE predictions SET fraud_confirmed = 0, reviewed_by = 'me'")
      expect(await reviews.setBySql(undefined, 9)).toMatchObject([{ reviewed_by: 'me' }])
      // Whoever says again what SQL has overruled meanwhile did not see that.
      expect(await reviews.say([saying(row, { seen })])).toMatchObject([{ stale: { trail: [{ verdict: 'fraud' }] } }])
      expect(await sql('SELECT fraud_confirmed FROM predictions')).toEqual([{ fraud_confirmed: 0n }])
    })

    test('what was said since an export is what is new, by SQL alone too, and what nobody knows the time of', async () => {
      const rows = [1, 2, 3, 4, 5].map((n) => fraud(n))
      const { reviews, sql } = await start(rows)
      await reviews.say(rows.slice(0, 3).map((row) => saying(row, { at: 100 })))
      const since = { review: 3, at: 200 }
      const wanted = { kind: 'validated', from: 0, to: Number.MAX_SAFE_INTEGER, since } as const
      const names = async () => (await reviews.rows(wanted, undefined, 9)).map(({ trans_num }) => trans_num)
      expect(await names()).toEqual([])
      await sql("UPDATE predictions SET fraud_confirmed = 0, reviewed_at = 300 WHERE trans_num = 'trans-2'")
      await sql("UPDATE predictions SET fraud_confirmed = 0, reviewed_at = 150 WHERE trans_num = 'trans-4'")
      await sql("UPDATE predictions SET fraud_confirmed = 1 WHERE trans_num = 'trans-5'")
      expect(await names()).toEqual(['trans-2', 'trans-5'])
      await reviews.say([saying(rows[2]!, { at: 0, via: 'import' })])
      expect(await names()).toEqual(['trans-2', 'trans-3', 'trans-5'])
    })

    test.for(['UPDATE reviews SET verdict = verdict', 'DELETE FROM reviews'])('nothing does %s', async (text) => {
      const row = fraud(1)
      const { reviews, sql } = await start([row])
      await reviews.say([saying(row)])
      await expect(sql(text)).rejects.toThrow('reviews are only ever added')
      expect(await sql('SELECT verdict FROM reviews')).toEqual([{ verdict: 'fraud' }])
    })

    test("a card's last payments are there, and those before this one", async () => {
      const cc_num = LONG_CARD
      const rows = Array.from({ length: 30 }, (_, n) => prediction(n, { cc_num }))
      const { reviews, see } = await start([...rows, prediction(40)])
      const { last, before } = await reviews.card((await see(rows[25]!)).payment)
      expect(last.map((p) => p.trans_num)).toEqual(
        rows
          .slice(10)
          .reverse()
          .map((p) => p.trans_num),
      )
      expect(before).toEqual(
        rows
          .slice(0, 25)
          .reverse()
          .map(({ event_time, amt, merch_lat, merch_long }) => ({ event_time, amt, merch_lat, merch_long })),
      )
    })

    test('usual rows are some of the last that nobody takes for fraud, apart, and whole', async () => {
      const rows = Array.from({ length: 41 }, (_, n) => prediction(n))
      const others = [fraud(50), prediction(51, { is_fraud: 1 }), prediction(52)]
      const { reviews, see } = await start([...rows, ...others])
      await reviews.say([saying(others[2]!)])
      const usual = await reviews.usual(8)
      expect(usual.map((p) => p.trans_num)).toEqual([40, 35, 30, 25, 20, 15, 10, 5].map((n) => `trans-${n}`))
      expect(usual[0]).toEqual((await see(rows[40]!)).payment)
      expect(await reviews.usual(100)).toHaveLength(41)
    })

    test('is searched by last four digits, transaction, and part of a merchant, whatever signs are in it', async () => {
      const now = Date.now()
      const rows = [
        prediction(1, { cc_num: LONG_CARD, event_time: now }),
        prediction(2, { merchant: '50%_off\\ "Söhne"', event_time: now - 1 }),
        prediction(3, { event_time: now - 2 }),
      ]
      const { reviews } = await start(rows)
      const found = async (words: string) => (await reviews.search(words, 9)).map((p) => p.trans_num)
      expect(await found('4184')).toEqual(['trans-1'])
      expect(await found('trans-3')).toEqual(['trans-3'])
      expect(await found('%')).toEqual(['trans-2'])
      expect(await found('\\ "SÖ')).toEqual(['trans-2'])
      expect(await found('KUTCH')).toEqual(['trans-1', 'trans-3'])
      expect(await found("' OR 1=1")).toEqual([])
      expect((await reviews.recent(2)).map((p) => p.trans_num)).toEqual(['trans-1', 'trans-2'])
    })

    test('a database that cannot be asked says so, and is asked again when it can', async () => {
      const row = fraud(1)
      const { reviews, sql } = await start([row])
      await sql('ALTER TABLE predictions RENAME TO elsewhere')
      await expect(reviews.queue('alarms', 1)).rejects.toThrow()
      await sql('ALTER TABLE elsewhere RENAME TO predictions')
      expect(await reviews.queue('alarms', 1)).toHaveLength(1)
    })
  })
}
