import { expect, test } from 'vitest'
import { troubleRules } from '../../src/alert/trouble.ts'
import { openCare } from '../../src/care/care.ts'
import { columnDrifts, saidOf, shareDrift, shareDrifts } from '../../src/care/drift.ts'
import { driftConditions } from '../../src/care/watch.ts'
import { DAY, HOUR } from '../../src/io/time.ts'
import type { Hour, Measured } from '../../src/review/reviews.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Prediction } from '../../src/transaction.ts'
import { openRows } from '../desk/place.ts'
import { prediction } from '../rows.ts'

const YEARS = 20
const [BASE, A_DAY] = [20_000, 7200]

/** Counts of so many rows, each cell with its share; a count of many is as good as normal. */
function counts(rows: number, shares: readonly number[], { normal, uniform }: ReturnType<typeof seeded>) {
  let [left, rest] = [rows, 1]
  return shares.map((share, i) => {
    if (i === shares.length - 1) return left
    const p = Math.min(1, share / rest)
    const mean = left * p
    const drawn =
      mean > 20
        ? Math.round(mean + Math.sqrt(mean * (1 - p)) * normal())
        : Array.from({ length: Math.min(left, 2000) }, () => uniform() < mean / Math.min(left, 2000)).filter(Boolean)
            .length
    const count = Math.max(0, Math.min(left, drawn))
    left -= count
    rest -= share
    return count
  })
}
const DECILES = [...Array<number>(10).fill(0.0999), 0.001]
const NAMES = [...Array.from({ length: 20 }, (_, i) => 0.04 - i * 0.001), 0.389, 0.001]
const COLUMNS = [...Array<number[]>(9).fill(DECILES), ...Array<number[]>(4).fill(NAMES)]
const measured = (name: string, day: number, counts: readonly number[]): Measured => ({
  ...{ model: 'rf/7', name, first: day * DAY, last: (day + 1) * DAY - 1, counts },
  cells:
    counts.length === 11
      ? Array.from({ length: 9 }, (_, i) => 20 * (i + 1))
      : Array.from({ length: 20 }, (_, i) => `c${i}`),
})

const poissonOf =
  ({ uniform, normal }: ReturnType<typeof seeded>) =>
  (mean: number) => {
    if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal()))
    let n = 0
    for (let left = uniform() - Math.exp(-mean), p = Math.exp(-mean); left > 0 && n < 99; left -= p) p *= mean / ++n
    return n
  }
/** How often something begins. */
function begins(states: Iterable<unknown>): number {
  let [count, on] = [0, false]
  for (const state of states) {
    if (state && !on) count++
    on = Boolean(state)
  }
  return count
}

test('in twenty years without any drift there is at most one alarm a year, of columns and the share of alarms together', () => {
  const random = seeded(21)
  let alarms = 0
  for (let year = 0; year < YEARS; year++) {
    const days = (day: number, rows: number) =>
      COLUMNS.map((shares, i) => measured(`c${i}`, day, counts(rows, shares, random)))
    const base = days(0, BASE)
    const windows = Array.from({ length: 365 }, (_, day) => days(day + 3, A_DAY))
    // Every state in between: what has begun on some day is an alarm on that day.
    let on = 0
    for (let day = 2; day <= 365; day++) {
      const now = columnDrifts(base, windows.slice(day - 2, day)).length
      if (now > 0 && on === 0) alarms++
      on = now
    }
    const share = 0.004
    const poisson = poissonOf(random)
    const flagged = Math.round(BASE * share + Math.sqrt(BASE * share) * random.normal())
    const hours = Array.from({ length: 8760 }, (_, hour): Hour => ({ hour, rows: 300, flagged: poisson(300 * share) }))
    alarms += begins(shareDrifts(hours, { flagged, rows: BASE }))
  }
  expect(alarms).toBeLessThanOrEqual(YEARS)
}, 60_000)

test('one day that is off is none; two are, from the first on, in words; two as before end it', () => {
  const random = seeded(22)
  const column = (day: number, shares: readonly number[], rows = A_DAY) => [
    measured('amt', day, counts(rows, shares, random)),
  ]
  const base = column(0, DECILES, BASE)
  const usual = (day: number) => column(day, DECILES)
  const high = [...Array<number>(9).fill(0.079), 0.288, 0.001]
  const off = (day: number) => column(day, high)
  const drifts = (...windows: Measured[][]) => columnDrifts(base, windows).map(({ since, text }) => [since / DAY, text])
  expect(drifts(usual(3), off(4))).toEqual([])
  expect(drifts(off(3), usual(4), off(5), usual(6))).toEqual([])
  const [[since, text]] = drifts(usual(3), off(4), off(5)) as [[number, string]]
  expect(since).toBe(4)
  expect(text).toMatch(/^amounts in \$ over 180: [\d.]+ % before, 2[6-9](\.\d+)? % now$/)
  expect(drifts(off(4), off(5), usual(6))).toHaveLength(1)
  expect(drifts(off(4), off(5), usual(6), usual(7))).toEqual([])
  expect(drifts(off(4), off(5), usual(6), usual(7), off(8), off(9)).map(([at]) => at)).toEqual([8])
})

/** Hours of a share, and those after which it is told: the data of an hour is looked at within three more. */
const LATER = 3
function world(seed: number, share: number, rows = 300) {
  const random = seeded(seed)
  const poisson = poissonOf(random)
  const hours = (from: number, count: number, now: number): Hour[] =>
    Array.from({ length: count }, (_, i) => ({ hour: from + i, rows, flagged: Math.min(rows, poisson(rows * now)) }))
  return { hours, base: { flagged: poisson(BASE * share), rows: BASE } }
}

test.for([
  [300, 0.004],
  [300, 0.01],
  [1500, 0.004],
])(
  'of alarms at %i rows an hour and a share of %f, doubled: told within three days 95 times in 100',
  ([rows, share]) => {
    const seeds = 400
    let told = 0
    for (let seed = 1; seed <= seeds; seed++) {
      const { hours, base } = world(seed, share!, rows)
      const drift = shareDrift([...hours(0, 240, share!), ...hours(240, 72 - LATER, 2 * share!)], base)
      if (drift && drift.since >= 240 * HOUR) told++
    }
    expect(told / seeds).toBeGreaterThanOrEqual(0.95)
  },
)

test.for([
  [300, 0.004],
  [300, 0.0005],
  [300, 0.05],
  [3000, 0.004],
])(
  'of alarms at %i rows an hour and a share of %f, which stays: told falsely less than once a year',
  ([rows, share]) => {
    const years = 40
    let alarms = 0
    for (let year = 1; year <= years; year++) {
      const { hours, base } = world(year, share!, rows)
      alarms += begins(shareDrifts(hours(0, 8760, share!), base))
    }
    expect(alarms / years).toBeLessThanOrEqual(0.75)
  },
)

test('a share of alarms that is doubled is said once, in words, and is over once', () => {
  let once = 0
  for (let seed = 1; seed <= 50; seed++) {
    const { hours, base } = world(seed, 0.004)
    const doubled = [...hours(0, 240, 0.004), ...hours(240, 240, 0.008)]
    expect(shareDrift(doubled, base)?.text).toMatch(/^more payments are alarms: 0\.\d+ % before, 0\.\d+ % now$/)
    const all = [...doubled, ...hours(480, 240, 0.004)]
    if (begins(shareDrifts(all, base)) === 1 && shareDrift(all, base) === undefined) once++
  }
  expect(once).toBeGreaterThanOrEqual(45)
})

test('hours in which nothing was judged, and a base without an alarm, are nothing to go by', () => {
  const { hours } = world(1, 0.004)
  const gaps = [...hours(0, 24, 0.004), ...hours(500, 24, 0.004)]
  expect(shareDrift(gaps, { flagged: 80, rows: BASE })).toBe(undefined)
  const few = hours(0, 24, 0).map((hour, i) => ({ ...hour, flagged: i === 20 ? 1 : 0 }))
  expect(shareDrift(few, { flagged: 0, rows: BASE })).toBe(undefined)
  expect(shareDrift(hours(0, 72, 0.004), { flagged: 0, rows: BASE })?.text).toMatch(/: 0 % before, [\d.]+ % now/)
  const all = hours(0, 72, 1).map((hour) => ({ ...hour, flagged: hour.rows }))
  expect(shareDrift(all, { flagged: BASE, rows: BASE })).toBe(undefined)
})

test('a drift is said by the cell that has changed most', () => {
  const text = (name: string, cells: (string | number)[], before: number[], now: number[]) => {
    const of = (counts: number[]): Measured => ({ model: '', name, first: 0, last: 0, cells, counts })
    return saidOf(of(before), of(now))
  }
  expect(text('amt', [10, 1234.5], [50, 40, 10, 0], [30, 30, 40, 0])).toBe(
    'amounts in $ over 1,235: 10 % before, 40 % now',
  )
  expect(text('category', ['food', 'net'], [50, 40, 10, 0], [20, 70, 10, 0])).toMatch(/^category (food|net): /)
  expect(text('job', ['nurse'], [90, 10, 0], [20, 80, 0])).toMatch(/^(job nurse: 90 % before, 20 % now|other job: .*)$/)
  expect(text('gender', ['F', 'M'], [50, 50, 0, 0], [10, 10, 0, 80])).toBe('no gender: 0 % before, 80 % now')
})

const START = Date.UTC(2026, 0, 1)
/** Rows of a day, a few thousand; `change` may make others of them. */
function day(
  n: number,
  rows: number,
  random: ReturnType<typeof seeded>,
  change: (p: Prediction) => Partial<Prediction> = () => ({}),
) {
  return Array.from({ length: rows }, (_, i) => {
    const at = START + n * DAY + Math.floor((i / rows) * DAY)
    const is_fraud = random.uniform() < 0.01 ? 1 : 0
    const p = prediction(n * 100_000 + i, {
      ...{ event_time: at, amt: Math.exp(3 + random.normal()), is_fraud, prediction: is_fraud, score: null },
      category: random.pick(['food', 'net', 'travel']),
      city_pop: random.integer(100, 100_000),
    })
    return { ...p, ...change(p) }
  })
}

test('amounts that double for three rows in ten are told within two days by one mail, with what moved, and their end by one', async () => {
  const random = seeded(31)
  const [base, rows] = [7000, 5200]
  const doubled = ({ amt }: Prediction): Partial<Prediction> =>
    random.uniform() < 0.3 ? { amt: 2 * amt + 60, prediction: 0 } : {}
  const { store, reviews, sql } = await openRows([])
  let now = START
  const care = () => openCare({ reviews, rules: { reviewCost: 2 }, now: () => now })
  let worker = care()
  const rules = troubleRules()
  const mails: string[] = []
  async function endOf(n: number, ofDay: Prediction[]) {
    await store.insert(ofDay)
    now = START + (n + 1) * DAY + 3 * HOUR
    worker = care() // as after a restart: what is known is in the database
    await worker.look()
    for (const at of [now, now + HOUR])
      mails.push(
        ...rules.saw(worker.conditions(), at).map(({ subject, lines }) => `${n}: ${subject}\n${lines.join('\n')}`),
      )
  }
  const ahead = day(9000, 50, random)
  await endOf(0, [...day(0, base, random), ...ahead, { ...ahead[0]!, trans_num: 'first', event_time: 0 }])
  for (let n = 1; n < 3; n++) await endOf(n, day(n, base, random))
  for (let n = 3; n < 6; n++) await endOf(n, day(n, rows, random))
  expect(mails).toEqual([])
  for (let n = 6; n < 8; n++) await endOf(n, day(n, rows, random, doubled))
  expect(mails).toHaveLength(1)
  expect(mails[0]).toMatch(/^7: client-predict: rf\/7 judges other payments than at first since 2026-01-07/)
  expect(mails[0]).toMatch(/amounts in \$ over [\d.]+: \d+(\.\d+)? % before, \d+(\.\d+)? % now \(since 2026-01-07\)/)
  expect(mails[0]).toMatch(
    /More frauds are missed since then: \d+ % \(\d+ % to \d+ %\) of them, 0 % \(0 % to .* %\) before\./,
  )
  await endOf(8, day(8, rows, random, doubled))
  expect(mails).toHaveLength(1)
  for (let n = 9; n < 12; n++) await endOf(n, day(n, rows, random))
  expect(mails).toHaveLength(2)
  expect(mails[1]).toMatch(/^10: client-predict: what rf\/7 judges is as at first again/)
  const page = await worker.shown()
  expect(page.drift).toMatchObject([{ model: 'rf/7', drifts: [] }])
  expect(sql("SELECT count(*) AS n FROM baselines WHERE cells <> ''")).toEqual([{ n: 14 }])
})

test('a model that is swapped for a bad one under its name is told once by its alarms, and once when the first is back; the board of another name is another one', async () => {
  const random = seeded(33)
  const { store, reviews } = await openRows([])
  const rules = troubleRules()
  const mails: string[] = []
  async function passes(n: number, rows: number, change: (p: Prediction) => Partial<Prediction>) {
    await store.insert(day(n, rows, random, change))
    const now = START + (n + 1) * DAY + 3 * HOUR
    const care = openCare({ reviews, rules: { reviewCost: 2 }, now: () => now })
    await care.look()
    for (const at of [now, now + HOUR])
      mails.push(...rules.saw(care.conditions(), at).map((mail) => `${n}: ${mail.subject} ${mail.lines[0]}`))
    return care.quality()
  }
  const good = ({ is_fraud }: Prediction): Partial<Prediction> => ({ prediction: is_fraud! })
  const bad = ({ amt }: Prediction): Partial<Prediction> => ({ prediction: amt > 100 ? 1 : 0 })
  for (let n = 0; n < 3; n++) await passes(n, 7000, good)
  await passes(3, 1500, good)
  expect(mails).toEqual([])
  for (let n = 4; n < 7; n++) await passes(n, 1500, bad)
  expect(mails).toHaveLength(1)
  expect(mails[0]).toMatch(
    /^4: .* rf\/7 judges other payments .* more payments are alarms: [\d.]+ % before, [\d.]+ % now/,
  )
  for (let n = 7; n < 11; n++) await passes(n, 1500, good)
  expect(mails).toHaveLength(2)
  expect(mails[1]).toMatch(/what rf\/7 judges is as at first again/)
  const { boards } = await passes(11, 500, (p) => ({ ...bad(p), model: 'rf/8' }))
  expect(boards.map(({ model }) => model)).toEqual(['rf/8', 'rf/7'])
  expect(boards[0]!.falseNegativeRate ?? boards[0]!.missed).toBeDefined()
  expect(boards[1]!.falseNegativeRate!.value).toBeLessThan(0.5)
})

test('looking at the page notes nothing, and a base that is not complete says how far it is', async () => {
  const { reviews, sql } = await openRows(day(0, 300, seeded(1)))
  const care = openCare({ reviews, rules: { reviewCost: 2 }, now: () => START + DAY })
  expect((await care.shown()).drift).toEqual([{ model: 'rf/7', rows: 300, windows: 0, drifts: [] }])
  expect(care.conditions()).toEqual([])
  expect(sql('SELECT count(*) AS n FROM baselines')).toEqual([{ n: 0 }])
  expect(driftConditions([])).toEqual([])
})
