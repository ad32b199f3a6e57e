import { expect, test } from 'vitest'
import { compare, comparisonLines } from '../../src/care/compare.ts'
import { DAY } from '../../src/io/time.ts'
import type { Paired } from '../../src/review/reviews.ts'
import { seeded } from '../../src/simulate/random.ts'

const RULES = { truth: 'producer', reviewCost: 2 } as const
const NAMES = { champion: 'fraud/7', challenger: 'fraud/8' }
type Said = { champion: 0 | 1; challenger: 0 | 1; label: 0 | 1 | null }
const cell = (day: number, said: Said, rows: number, amount = rows * 100): Paired => ({
  day,
  ...said,
  verdict: null,
  rows,
  amount,
})
const at = (days: number) => days * DAY + 1

test('counts the same rows by truth, and says the difference in money with its interval', () => {
  const paired = Array.from({ length: 20 }, (_, day) => [
    cell(day, { champion: 1, challenger: 1, label: 1 }, 5),
    cell(day, { champion: 0, challenger: 1, label: 1 }, 2, 200),
    cell(day, { champion: 1, challenger: 0, label: 1 }, 1, 50 + day),
    cell(day, { champion: 0, challenger: 0, label: 1 }, 1),
    cell(day, { champion: 0, challenger: 1, label: 0 }, 3),
    cell(day, { champion: 0, challenger: 0, label: 0 }, 88),
    cell(day, { champion: 0, challenger: 0, label: null }, 4),
  ]).flat()
  const found = compare([...paired, { ...paired[0]!, verdict: 0 }], RULES, at(20), seeded(1).uniform)
  expect(found).toMatchObject({ rows: 2085, unknown: 80, days: 20 })
  expect(found.frauds).toEqual({ both: 100, champion: 20, challenger: 40, neither: 20 })
  expect(found.others).toEqual({ both: 5, champion: 0, challenger: 60, neither: 1760 }) // five a person has called none
  const more =
    20 * 200 -
    paired.reduce((sum, one) => sum + (one.champion > one.challenger ? one.amount : 0), 0) -
    2 * 20 * (2 + 3 - 1)
  expect(found.money.more).toBe(more)
  expect(found.money.interval![0]).toBeLessThan(more)
  expect(found.money.interval![1]).toBeGreaterThan(more)
  expect(comparisonLines(found, NAMES).join('\n')).toContain(
    '100 caught by both, 40 by fraud/8 alone, 20 by fraud/7 alone, 20 by neither',
  )
})

test('says nothing of rows that nobody both has judged, or that are not ripe', () => {
  expect(comparisonLines(compare([], RULES, at(3), Math.random), NAMES)).toEqual([
    'fraud/7 and fraud/8 have judged no row both that counts yet',
  ])
  const today = [cell(9, { champion: 0, challenger: 1, label: 1 }, 99)]
  expect(compare(today, { ...RULES, delayDays: 7 }, at(9), Math.random).rows).toBe(0)
})

/** Days of 27 frauds, of which each model catches its share, `other` alone and `one` alone as given. */
function* world(seed: number, one: number, other: number) {
  const random = seeded(seed).uniform
  const paired: Paired[] = []
  for (let day = 0; ; day++) {
    const counts = [0, 0, 0]
    for (let i = 0; i < 27; i++) {
      const chance = random()
      counts[chance < other ? 0 : chance < other + one ? 1 : 2]!++
    }
    paired.push(
      cell(day, { champion: 0, challenger: 1, label: 1 }, counts[0]!),
      cell(day, { champion: 1, challenger: 0, label: 1 }, counts[1]!),
      cell(day, { champion: 1, challenger: 1, label: 1 }, counts[2]!),
    )
    yield compare(paired, RULES, at(day), () => 0.5)
  }
}
/** The day on which it was said first which one is better, looked at each day of two weeks. */
function decided(seed: number, one: number, other: number) {
  const days = world(seed, one, other)
  for (let day = 1; day <= 14; day++) {
    const { better } = days.next().value!
    if (better) return { day, better }
  }
  return undefined
}
const seeds = Array.from({ length: 50 }, (_, seed) => seed + 1)

test('a recall of .84 against .75 at 27 frauds a day is too early to tell at 3 days, and told within 14', () => {
  const found = seeds.map((seed) => decided(seed, 0.03, 0.12))
  expect(found.filter((one) => one?.better === 'challenger').length).toBeGreaterThanOrEqual(40)
  expect(found.filter((one) => one?.better === 'champion')).toEqual([])
  expect(found.filter((one) => one && one.day <= 3)).toEqual([])
  const third = [...world(1, 0.03, 0.12).take(3)].at(-1)!
  expect(comparisonLines(third, NAMES).join('\n')).toMatch(
    /too early to say which one catches more frauds .*: about \d+ more days? at this rate/,
  )
})

test('of two equal models hardly any pair is ever told apart', () => {
  const many = Array.from({ length: 400 }, (_, seed) => decided(seed + 1, 0.08, 0.08))
  expect(many.slice(0, 50).filter(Boolean).length).toBeLessThanOrEqual(2)
  expect(many.filter(Boolean).length / many.length).toBeLessThanOrEqual(0.05)
})
