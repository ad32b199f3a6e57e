import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  beta,
  bootstrap,
  chiSquareTail,
  excessPsi,
  fayFeuer,
  gammaTail,
  holm,
  homogeneity,
  jeffreys,
  mcNemar,
  mcNemarEvidence,
  shareOfBoth,
  sum,
} from '../../src/care/statistics.ts'
import { seeded } from '../../src/simulate/random.ts'

const FUNCTIONS = { beta, gammaTail, chiSquareTail, jeffreys, fayFeuer, holm, homogeneity, mcNemar, mcNemarEvidence }
type Case = { name: keyof typeof FUNCTIONS; given: unknown[]; expected: number[] }
const CASES = JSON.parse(readFileSync(new URL('./statistics.json', import.meta.url), 'utf8')) as Case[]

describe('what SciPy says', () => {
  test.for([...new Set(CASES.map(({ name }) => name))])('%s, to 1e-9', (name) => {
    for (const { given, expected } of CASES.filter((one) => one.name === name)) {
      const got = [(FUNCTIONS[name] as (...given: unknown[]) => number | number[])(...given)].flat()
      const off = expected.map((value, i) => Math.abs(got[i]! - value) / Math.max(Math.abs(value), 1e-30))
      expect({ given, got, expected, off: Math.max(...off) < 1e-9 }).toMatchObject({ off: true })
    }
  })
  test('there are 500 cases', () => expect(CASES.length).toBe(500))
})

/** How many of so many come by chance. */
const binomial = (random: () => number, of: number, share: number) => {
  let hits = 0
  for (let i = 0; i < of; i++) if (random() < share) hits++
  return hits
}

describe('in simulated worlds', () => {
  test.for([
    [20, 0.2],
    [40, 0.05],
    [80, 0.2],
    [160, 0.05],
    [400, 0.003],
  ])("Jeffreys' interval of %i rows holds a share of %f 93 times in 100", ([of, share], { expect }) => {
    const { uniform } = seeded(of! * 7 + 1)
    const intervals = Array.from({ length: of! + 1 }, (_, hits) => jeffreys(hits, of!))
    let held = 0
    for (let i = 0; i < 20_000; i++) {
      const [low, high] = intervals[binomial(uniform, of!, share!)]!
      if (low <= share! && share! <= high) held++
    }
    expect(held / 20_000).toBeGreaterThanOrEqual(0.93)
  })

  /** Days of 7,200 rows, of which so many frauds are missed; rows are drawn with one probability, or with two. */
  test.for([
    ['one weight', 1, 20, 30],
    ['one weight, few', 1, 5, 30],
    ['two weights', 4, 20, 30],
    ['two weights, long', 4, 50, 90],
  ] as const)("Fay and Feuer's interval of missed frauds holds them 95 times in 100: %s", ([, ratio, aDay, days]) => {
    const random = seeded(aDay + ratio).uniform
    const missed = Math.round(6.8 * days)
    // A tenth of the rows are suspicious, hold half of what is missed, and are drawn `ratio` times as often.
    const base = aDay / 7200 / (0.9 + 0.1 * ratio)
    const chances = [base, base * ratio]
    const largest = 1 / base
    let held = 0
    for (let i = 0; i < 1000; i++) {
      const found = chances.flatMap((p) => Array<number>(binomial(random, missed / 2, p)).fill(1 / p))
      const [low, high] = fayFeuer(found, largest)
      if (low <= missed && missed <= high) held++
    }
    expect(held / 1000).toBeGreaterThanOrEqual(0.95)
  })

  /** Frauds in all, of which a share is missed; each of the missed is in the sample with one probability, or with two. */
  test.for([
    ...[0.02, 0.25, 0.5, 0.9, 0.98, 1].map((rate) => [60, rate, 0.1, 1] as const),
    ...[0, 0.25, 0.9].map((rate) => [800, rate, 0.01, 4] as const),
    [12, 0.5, 0.5, 1] as const,
    [30, 0.95, 1, 1] as const,
    [5000, 0.25, 0.02, 4] as const,
  ])(
    'of %i frauds %f are missed, and one in %f of them audited: the interval of the rate holds it 95 times in 100',
    ([frauds, rate, chance, ratio]) => {
      const random = seeded(Math.round(frauds + 1000 * rate)).uniform
      const poisson = (mean: number) => binomial(random, Math.ceil(mean * 20), mean / Math.ceil(mean * 20 || 1))
      let [held, shown] = [0, 0]
      for (let i = 0; i < 1000; i++) {
        const caught = poisson(frauds * (1 - rate))
        const chances = [chance, Math.min(1, chance * ratio)]
        const found = chances.flatMap((p) => Array<number>(poisson((frauds * rate * p) / 2)).fill(1 / p))
        if (caught + found.length < 5) continue
        const missed = { value: sum(found), interval: fayFeuer(found, 1 / chance) }
        const [low, high] = shareOfBoth(missed, { value: caught, interval: fayFeuer(Array(caught).fill(1), 1) })
        shown++
        if (low <= rate && rate <= high) held++
      }
      expect(shown).toBeGreaterThan(100)
      expect(held / shown).toBeGreaterThanOrEqual(0.95)
    },
  )

  test('at nothing missed and at nothing caught the interval of the rate ends there, and is as wide as a few rows allow', () => {
    const of = (value: number, weight = 1) => ({
      value: value * weight,
      interval: fayFeuer(Array(value).fill(weight), weight),
    })
    const [low, high] = shareOfBoth(of(5, 20), of(0))
    expect(high).toBe(1)
    expect(low).toBeGreaterThan(0.9)
    expect(low).toBeLessThan(0.97)
    expect(shareOfBoth(of(5), of(0))[0]).toBeLessThan(0.6)
    const [none, most] = shareOfBoth(of(0, 20), of(5))
    expect([none, most > 0.9]).toEqual([0, true])
    expect(shareOfBoth(of(0), of(0))).toEqual([0, 1])
  })

  test('two samples of the same differ by an index that is 0 on average', () => {
    const random = seeded(5)
    const cells = (rows: number) => {
      const counts = Array<number>(10).fill(0)
      for (let i = 0; i < rows; i++) counts[random.integer(0, 9)]!++
      return counts
    }
    const excess = Array.from({ length: 300 }, () => excessPsi(cells(256), cells(256)))
    expect(Math.abs(excess.reduce((all, one) => all + one, 0) / 300)).toBeLessThan(0.01)
    expect(excessPsi([100, 100], [10, 190])).toBeGreaterThan(0.5)
  })

  test('the bootstrap of days holds the total 90 times in 100, and is wider where days differ more', () => {
    const random = seeded(6)
    let held = 0
    for (let i = 0; i < 200; i++) {
      const days = Array.from({ length: 30 }, () => 100 + 40 * random.normal())
      const [low, high] = bootstrap(days, random.uniform, 400)
      if (low <= 3000 && 3000 <= high) held++
    }
    expect(held / 200).toBeGreaterThanOrEqual(0.9)
    let drawn = 0
    const [least, most] = bootstrap(
      Array.from({ length: 18_000 }, () => 100 + 40 * random.normal()),
      () => {
        drawn++
        return random.uniform()
      },
      400,
    )
    expect([least < 1.8e6 && 1.8e6 < most && most - least < 60_000, drawn <= 80_000]).toEqual([true, true])
    const [low, high] = bootstrap(Array(20).fill(7), random.uniform, 200)
    expect([low, high].map(Math.round)).toEqual([140, 140])
  })

  test('of two equal models at most one pair in 20 is ever told apart, however often it is looked at', () => {
    const { uniform } = seeded(9)
    let told = 0
    for (let i = 0; i < 1000; i++) {
      let [one, other, apart] = [0, 0, false]
      for (let n = 0; n < 300 && !apart; n++) {
        if (uniform() < 0.5) one++
        else other++
        apart = mcNemarEvidence(one, other) >= 20
      }
      if (apart) told++
    }
    expect(told / 1000).toBeLessThanOrEqual(0.05)
  })
})
