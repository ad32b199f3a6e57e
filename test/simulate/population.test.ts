import { expect, test } from 'vitest'
import { population } from '../../src/simulate/population.ts'
import { toTransaction } from '../../src/transaction.ts'

const NOON = Date.UTC(2026, 4, 5, 12)
const rows = (seed: number, count: number, fraud = false) => {
  const world = population(seed)
  return Array.from({ length: count }, (_, i) => world.transaction(NOON + i * 1000, fraud))
}

test('every row is a transaction with the columns of the producer, in its order', () => {
  const [first] = rows(1, 1)
  expect(Object.keys(first!).join(' ')).toBe(
    'cc_num merchant category amt first last gender street city state zip lat long city_pop job dob trans_num merch_lat merch_long is_fraud current_time',
  )
  for (const row of [...rows(1, 1000), ...rows(2, 1000, true)]) {
    const transaction = toTransaction(row, NOON)
    const { current_time, ...same } = row
    expect(transaction).toMatchObject({ ...same, event_time: current_time })
  }
})

test('cards have 11 to 19 digits, one in ten above 2^53', () => {
  const cards = new Set(rows(3, 6000).map((row) => row.cc_num))
  const lengths = new Set([...cards].map((card) => String(card).length))
  const long = [...cards].filter((card) => card > 2n ** 53n)
  expect(Math.min(...lengths)).toBe(11)
  expect(Math.max(...lengths)).toBe(19)
  expect(long.length / cards.size).toBeCloseTo(0.1, 1)
  expect(long.some((card) => BigInt(Number(card)) !== card)).toBe(true)
})

test('all 14 categories occur, and names with commas, apostrophes and slashes', () => {
  const honest = rows(4, 2000)
  expect(new Set(honest.map((row) => row.category)).size).toBe(14)
  expect(honest.every((row) => row.merchant.startsWith('fraud_'))).toBe(true)
  for (const mark of [',', "'", '/']) {
    expect(honest.some((row) => row.merchant.includes(mark))).toBe(true)
    expect(honest.some((row) => row.job.includes(mark))).toBe(true)
  }
  expect(honest.some((row) => row.zip < 10_000)).toBe(true)
})

test('frauds stand out by amount and category, at noon too', () => {
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!
  expect(median(rows(5, 1000).map((row) => row.amt))).toBeLessThan(80)
  const frauds = rows(5, 1000, true)
  expect(median(frauds.map((row) => row.amt))).toBeGreaterThan(600)
  expect([...new Set(frauds.map((row) => row.category))].sort()).toEqual(
    ['grocery_pos', 'misc_net', 'misc_pos', 'shopping_net', 'shopping_pos'], //
  )
})

test('the same seed gives the same world, another seed another one', () => {
  expect(rows(6, 20)).toEqual(rows(6, 20))
  expect(rows(6, 1)[0]!.trans_num).not.toBe(rows(7, 1)[0]!.trans_num)
})
