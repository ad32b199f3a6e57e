import { describe, expect, onTestFinished, test } from 'vitest'
import { type Board, boards, type Rules } from '../../src/care/board.ts'
import { openCare } from '../../src/care/care.ts'
import { fayFeuer, jeffreys } from '../../src/care/statistics.ts'
import { figuresOf } from '../../src/care/words.ts'
import { qualityLines } from '../../src/commands/quality.ts'
import { DAY } from '../../src/io/time.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Payment, Reviews } from '../../src/review/reviews.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { seeded } from '../../src/simulate/random.ts'
import { openRows } from '../desk/place.ts'
import { prediction, tempDir } from '../rows.ts'

const START = Date.UTC(2026, 0, 1)
const NOW = START + 30 * DAY
const RULES: Rules = { reviewCost: 2 }
const AUDITED = 0.05

type Pattern = 'producer' | 'reviewer' | 'both' | 'none'
/** Thirty days of two models, of which one has two thresholds; what is known of them is what the pattern says. */
function world(pattern: Pattern, rows = 6000) {
  const { uniform } = seeded(11)
  return Array.from({ length: rows }, (_, n) => {
    const fraud = uniform() < 0.03
    const score = Math.min(1, Math.max(0, (fraud ? 0.6 : 0.2) + 0.4 * (uniform() - 0.5)))
    const [model, threshold] = n < rows / 2 ? ['rf/7', n < rows / 4 ? 0.5 : 0.45] : ['rf/8', null]
    const flagged = score >= (threshold ?? 0.5)
    const sampled = flagged ? 1 : uniform() < AUDITED ? AUDITED : null
    const people = pattern === 'reviewer' || pattern === 'both'
    const judged = people && sampled !== null && uniform() < (flagged ? 0.9 : 0.6)
    const unsure = judged && uniform() < 0.05
    const verdict = !judged || unsure ? null : fraud === uniform() < 0.97 ? 1 : 0
    const p = prediction(n, {
      ...{ model, threshold, score, sampled, prediction: flagged ? 1 : 0 },
      event_time: START + Math.floor((n / rows) * 30 * DAY),
      is_fraud: pattern === 'producer' || pattern === 'both' ? (fraud ? 1 : 0) : null,
      amt: Math.round(uniform(1, 300) * 100) / 100,
    })
    return { ...p, fraud_confirmed: verdict as 0 | 1 | null, reviewed_at: judged ? p.event_time + 1 : null }
  })
}
type World = ReturnType<typeof world>

async function recorded(rows: World) {
  const { sql, reviews, store, file } = await openRows(rows)
  const judged = rows.filter((row) => row.reviewed_at !== null)
  for (let i = 0; i < judged.length; i += 400) {
    const some = judged.slice(i, i + 400)
    const cases = (value: (row: World[number]) => unknown) =>
      `CASE trans_num ${some.map((row) => `WHEN '${row.trans_num}' THEN ${value(row) ?? 'NULL'}`).join(' ')} END`
    sql(
      `UPDATE predictions SET fraud_confirmed = ${cases((r) => r.fraud_confirmed)}, reviewed_at = ${cases((r) => r.reviewed_at)}
       WHERE trans_num IN (${some.map((row) => `'${row.trans_num}'`)}) RETURNING 1`,
    )
  }
  return { sql, reviews, store, file }
}

/** The same figures from the rows themselves, one after the other. */
function byHand(rows: World, truth: 'producer' | 'reviewer', until: number) {
  const ripe = rows.filter((row) => row.event_time < until)
  const was = (row: World[number]) =>
    row.fraud_confirmed ?? (row.reviewed_at !== null || truth === 'reviewer' ? undefined : (row.is_fraud ?? undefined))
  const of = (flagged: number, fraud: 0 | 1 | undefined) =>
    ripe.filter((row) => row.prediction === flagged && was(row) === fraud)
  const amount = (some: World) => some.reduce((sum, { amt }) => sum + amt, 0)
  return { ripe, caught: of(1, 1), missed: of(0, 1), falseAlarms: of(1, 0), amount }
}

describe.for<[Pattern, 'producer' | 'reviewer']>([
  ['producer', 'producer'],
  ['reviewer', 'reviewer'],
  ['both', 'producer'],
  ['none', 'reviewer'],
])('where %s says what was fraud, TRUTH=%s', ([pattern, truth]) => {
  test('the board is what the rows say, one by one', async () => {
    const rows = world(pattern)
    const { reviews } = await recorded(rows)
    const found = boards(await reviews.counted(), RULES, NOW, seeded(1).uniform)
    expect(found.map(({ model, threshold }) => [model, threshold])).toEqual([
      ['rf/8', null],
      ['rf/7', 0.45],
      ['rf/7', 0.5],
    ])
    for (const board of found) {
      const mine = rows.filter((row) => row.model === board.model && row.threshold === board.threshold)
      const hand = byHand(mine, truth, truth === 'producer' ? NOW : NOW - 7 * DAY)
      const flagged = hand.ripe.filter((row) => row.prediction === 1).length
      const { caught, missed, falseAlarms } = hand
      expect(board).toMatchObject({
        ...{ rows: hand.ripe.length, unripe: mine.length - hand.ripe.length },
        ...{ caught: caught.length, missed: missed.length, falseAlarms: falseAlarms.length },
        flagged: { interval: hand.ripe.length ? jeffreys(flagged, hand.ripe.length) : [0, 1] },
      })
      expect(board.money.caught).toBeCloseTo(hand.amount(caught), 6)
      if (truth === 'producer') {
        expect(board.falseNegativeRate!.interval).toEqual(jeffreys(missed.length, caught.length + missed.length))
        expect(board.precision!.interval).toEqual(jeffreys(caught.length, caught.length + falseAlarms.length))
        expect(board.money.missed).toBeCloseTo(hand.amount(missed), 6)
        expect(board).not.toHaveProperty('audit')
      }
      if (pattern === 'none') {
        expect(board).not.toHaveProperty('falseNegativeRate')
        expect(board).not.toHaveProperty('precision')
      }
      if (pattern !== 'reviewer') continue
      const drawn = hand.ripe.filter((row) => row.prediction === 0 && row.sampled !== null)
      const judged = drawn.filter((row) => row.fraud_confirmed !== null)
      expect(board.audit).toMatchObject({ drawn: drawn.length, judged: judged.length })
      const weight = drawn.length / judged.length / AUDITED
      const [low, high] = fayFeuer(Array(missed.length).fill(weight), weight)
      const open = hand.ripe.filter((row) => row.prediction === 1 && row.reviewed_at === null).length
      expect(board.open).toBe(open)
      const least = Math.max(low, missed.length)
      if (caught.length + missed.length < 5) continue
      // As Donner and Zou print the bounds of a ratio of `a`, which may be down to `low`, to `b`, which may be up to `high`.
      const lowest = (a: number, low: number, b: number, high: number) =>
        (a * b - Math.sqrt((a * b) ** 2 - low * high * (2 * a - low) * (2 * b - high))) / (high * (2 * b - high))
      const [known, all] = [missed.length * weight, caught.length + open]
      const bounds = (count: number) => fayFeuer(Array(count).fill(1), 1)
      const ratio = lowest(known, least, all, bounds(all)[1])
      const inverse = lowest(caught.length, bounds(caught.length)[0], known, high)
      expect(board.falseNegativeRate!.interval[0]).toBeCloseTo(ratio / (1 + ratio), 9)
      expect(board.falseNegativeRate!.interval[1]).toBeCloseTo(1 / (1 + inverse), 9)
      expect(board.money.missed).toBeCloseTo(hand.amount(missed) * weight, 5)
    }
  })
})

const one = (found: Board[]) => found[0]!
const said = (board: Board) => Object.fromEntries(figuresOf(board))
async function boardOf(rows: World, rules: Rules = RULES) {
  const { reviews } = await recorded(rows)
  return one(boards(await reviews.counted(), rules, NOW, seeded(1).uniform))
}
const row = (n: number, changes: Partial<Payment> = {}) => ({
  ...{ ...prediction(n), fraud_confirmed: null, reviewed_at: null, event_time: START + n * 1000, is_fraud: null },
  ...changes,
})
const alarm = (n: number, verdict: 0 | 1 | null) =>
  row(n, { prediction: 1, sampled: 1, fraud_confirmed: verdict, reviewed_at: verdict === null ? null : 1 })

test('alarms alone never give a false-negative rate, however many: how many audited rows it takes is said', async () => {
  const alarms = Array.from({ length: 400 }, (_, n) => alarm(n, n % 4 ? 1 : 0))
  const others = Array.from({ length: 4000 }, (_, n) => row(1000 + n, { sampled: n % 40 ? null : 0.025 }))
  const board = await boardOf([...alarms, ...others])
  expect(board).toMatchObject({ caught: 300, falseAlarms: 100, audit: { drawn: 100, judged: 0 } })
  expect(board.audit!.wanted).toBeGreaterThan(100)
  expect(board).not.toHaveProperty('falseNegativeRate')
  expect(said(board).Missed).toMatch(
    /^alarms alone cannot tell; 0 of 100 audited rows have a verdict; for ±10 points .* \d/,
  )
  expect(JSON.stringify(board)).not.toContain('falseNegativeRate')
})

test('a person beats the producer, unsure counts nowhere, and below 5 frauds there is no rate', async () => {
  const rows = [
    row(1, { prediction: 1, is_fraud: 1, fraud_confirmed: 0, reviewed_at: 1 }),
    row(2, { is_fraud: 0, fraud_confirmed: 1, reviewed_at: 1 }),
    row(3, { is_fraud: 1, reviewed_at: 1 }), // unsure
    row(4, { is_fraud: 1 }),
    row(5, { is_fraud: 0 }),
    row(6),
    row(7, { prediction: 1, is_fraud: 1 }),
  ]
  const board = await boardOf(rows)
  expect(board).toMatchObject({ caught: 1, missed: 2, falseAlarms: 1, unknown: 2 })
  expect(board).not.toHaveProperty('falseNegativeRate')
  expect(said(board).Missed).toBe('too few frauds to say: 3 of the 5 that it takes at least')
  expect(await boardOf(rows, { ...RULES, truth: 'reviewer', delayDays: 0 })).toMatchObject({
    caught: 0,
    missed: 1,
    falseAlarms: 1,
  })
})

test('alarms that nobody has judged may be either', async () => {
  const board = await boardOf([...Array.from({ length: 40 }, (_, n) => alarm(n, n < 15 ? 1 : n < 20 ? 0 : null))])
  expect(board).toMatchObject({ open: 20, precision: { value: 0.75, interval: jeffreys(15, 20) } })
  expect(board.precision!.worst[0]).toBe(jeffreys(15, 40)[0])
  expect(board.precision!.worst[1]).toBe(jeffreys(35, 40)[1])
})

test('a day counts once it is ripe', async () => {
  const rows = Array.from({ length: 30 }, (_, day) =>
    row(day, { is_fraud: 1, prediction: 1, event_time: START + day * DAY + 1000 }),
  )
  const caught = async (rules: Rules) => (await boardOf(rows, rules)).caught
  const now = NOW - 1 // in the last of them
  const { reviews } = await recorded(rows)
  const counted = await reviews.counted()
  const at = (rules: Rules, when = now) => one(boards(counted, rules, when, seeded(1).uniform)).caught
  expect(await caught(RULES)).toBe(30)
  expect([at(RULES), at({ ...RULES, delayDays: 1 }), at({ ...RULES, delayDays: 7 })]).toEqual([30, 28, 22])
  expect(at({ ...RULES, delayDays: 1 }, NOW)).toBe(29)
  expect(at({ ...RULES, delayDays: 45 })).toBe(0)
})

test('the net of money needs 14 days, and holds it', async () => {
  const days = (count: number) =>
    Array.from({ length: count * 20 }, (_, n) =>
      row(n, {
        ...{ is_fraud: n % 2 ? 1 : 0, prediction: 1, amt: 50 },
        event_time: START + Math.floor(n / 20) * DAY + n * 1000,
      }),
    )
  expect((await boardOf(days(13))).money).not.toHaveProperty('net')
  const { money } = await boardOf(days(20))
  expect(money).toMatchObject({ caught: 20 * 500, missed: 0, reviews: 400, spent: 800 })
  expect(money.net!.map(Math.round)).toEqual([9200, 9200])
})

test('what all rows are needed for is counted once for many who ask, and the last answer serves meanwhile', async () => {
  let asked = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const counted = async () => {
    asked++
    await promise
    return []
  }
  const care = openCare({ reviews: { ...({} as Reviews), counted }, rules: RULES })
  expect(care.latest()).toBe(undefined)
  const both = [care.quality(), care.quality()]
  resolve()
  expect((await Promise.all(both)).map(({ boards }) => boards)).toEqual([[], []])
  expect(care.latest()?.boards).toEqual([])
  expect(asked).toBe(1)
})

test('a database that fails is asked again', async () => {
  let fails = true
  const counted = async () => {
    if (fails) throw new Error('down')
    return []
  }
  const care = openCare({ reviews: { ...({} as Reviews), counted }, rules: RULES })
  await expect(care.quality()).rejects.toThrow('down')
  fails = false
  expect((await care.quality()).boards).toEqual([])
})

test('npm run quality says each figure with its interval, and no name breaks a line', async () => {
  await using dir = await tempDir()
  const store = sqliteStore(dir.file('fraud.db'))
  onTestFinished(() => store.close())
  await store.insert(
    world('producer').map(({ fraud_confirmed, reviewed_at, ...p }) => ({ ...p, model: 'rf\u202e\n7' })),
  )
  await using reviews = Object.assign(sqliteReviews(dir.file('fraud.db')), {
    async [Symbol.asyncDispose]() {
      await reviews.close()
    },
  })
  const text = qualityLines(await openCare({ reviews, rules: RULES, now: () => NOW }).quality()).join('\n')
  expect(text).toContain("the producer's is_fraud")
  expect(text).toMatch(/^rf 7, threshold 0.5$/m)
  expect(text).toMatch(/^ {2}Missed +\d+(\.\d+)? % \(\d.* % to \d.* %\) of all frauds$/m)
  expect(text).toMatch(/^ {2}Money +\$[\d,]+ caught, \$[\d,]+ missed, \d+ reviews cost \$\d+/m)
  expect(text).not.toContain('\u202e')
})
