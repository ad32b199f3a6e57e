import { expect, test } from 'vitest'
import { mixed, openWhy, shapley } from '../../src/care/why.ts'
import { FEATURES } from '../../src/columns.ts'
import type { Payment } from '../../src/review/reviews.ts'
import { idOf } from '../../src/review/reviews.ts'
import { type Model, mlflow } from '../../src/score/mlflow.ts'
import { startDesk } from '../desk/place.ts'
import { LONG_CARD, prediction } from '../rows.ts'
import { modelServer } from '../score/server.ts'

const payment = (n: number, changes: Partial<Payment> = {}): Payment => ({
  ...prediction(n, { category: n % 2 ? 'food' : 'net', merch_lat: n, job: `job ${n}` }),
  ...{ sampled: null, threshold: null, fraud_confirmed: null, reviewed_at: null, reviewed_by: null },
  ...changes,
})

test('each coalition has its own columns of the payment, and the others of another one; nothing else', () => {
  const [mine, ...others] = [payment(1), payment(2), payment(3)]
  expect(mixed(mine!, others, 0)).toEqual(others)
  const all = mixed(mine!, others, 63)
  expect(all).toHaveLength(2)
  for (const column of FEATURES) expect(all[1]![column]).toEqual(mine![column])
  expect(mixed(mine!, others, 1)[0]).toEqual({ ...others[0], amt: mine!.amt })
})

test("Shapley's values: what a group adds wherever it joins, and together all of it", () => {
  const worth = (of: (has: (bit: number) => number) => number) =>
    Array.from({ length: 64 }, (_, coalition) => of((bit) => (coalition >> bit) & 1))
  expect(shapley(worth((has) => 0.1 + 0.3 * has(0) - 0.2 * has(4))).map((v) => Math.round(v * 1e9) / 1e9)).toEqual([
    ...[0.3, 0, 0, 0],
    ...[-0.2, 0],
  ])
  const together = shapley(worth((has) => has(1) * has(2) + 0.5 * has(3)))
  expect(together[1]).toBeCloseTo(0.5, 12)
  expect(together[2]).toBeCloseTo(0.5, 12)
  const odd = worth((has) => Math.sin(3 * has(0) + 5 * has(1) * has(2) + has(5) * 2) ** 2)
  expect(shapley(odd).reduce((sum, v) => sum + v, 0)).toBeCloseTo(odd[63]! - odd[0]!, 12)
})

const features = [...FEATURES]
const asking = (url: URL) => mlflow({ url, headers: {}, features, unixTimeUnit: 's', threshold: 0.5 })
const usual = async () => Array.from({ length: 8 }, (_, n) => payment(n, { amt: 10 }))

test('of a model that looks at the amount alone the amount is all, by few rows at a time; asked again it is known', async () => {
  await using server = await modelServer((rows) => ({
    predictions: rows.map(({ amt }) => [1 - Number(amt) / 1000, Number(amt) / 1000]),
  }))
  const why = openWhy({ champion: async () => ({ model: asking(server.url), name: 'rf/7' }), reviews: { usual } })
  const found = (await why(payment(50, { amt: 900 })))!
  expect(found.parts[0]!.group).toBe('amount')
  expect(found.parts[0]!.value).toBeCloseTo(0.89, 9)
  expect(found.parts.slice(1).every(({ value }) => Math.abs(value) < 1e-9)).toBe(true)
  expect(found.score - found.base).toBeCloseTo(
    found.parts.reduce((sum, { value }) => sum + value, 0),
    9,
  )
  await why(payment(50, { amt: 900 }))
  expect(server.asked.map((rows) => rows.length)).toEqual(Array(4).fill(128))
})

test('classes alone are explained too; another model, none to compare with, an outage and a slow one are not', async () => {
  await using server = await modelServer((rows) => ({
    predictions: rows.map(({ amt }) => (Number(amt) > 500 ? 1 : 0)),
  }))
  const model = asking(server.url)
  const alarm = payment(50, { amt: 900 })
  const why = ({ judge = model as Model, name = 'rf/7', ...options }) =>
    openWhy({ champion: async () => ({ model: judge, name }), reviews: { usual }, ...options })
  expect((await why({})(alarm))!.parts[0]).toEqual({ group: 'amount', value: expect.closeTo(1, 9) })
  expect(await why({ name: 'rf/8' })(alarm)).toBe(undefined)
  expect(await why({ reviews: { usual: async () => [alarm] } })({ ...alarm, prediction: 1 })).toBeDefined()
  expect(await why({ reviews: { usual: async () => [] } })(alarm)).toBe(undefined)
  const down = asking(new URL('http://127.0.0.1:1'))
  expect(await why({ judge: down })(alarm)).toBe(undefined)
  const began = performance.now()
  const never = { judge: () => new Promise<never>(() => {}) }
  const slow = why({ judge: never, within: 100 })
  expect(await slow(alarm)).toBe(undefined)
  expect(performance.now() - began).toBeLessThan(5000)
  expect(await slow(payment(51))).toBe(undefined) // one at a time
})

test('the page of the payment says it, in words that claim no cause; without it the page is as before', async () => {
  const row = prediction(1, { prediction: 1, score: 0.9, cc_num: LONG_CARD })
  const why = async () => ({
    base: 0.02,
    score: 0.9,
    parts: [
      { group: 'amount' as const, value: 0.9 },
      { group: 'time' as const, value: -0.02 },
    ],
  })
  const d = await startDesk([row], { why })
  const { text } = await d.client().get(`/desk/${idOf(row)}`)
  expect(text).toMatch(/<h2>Why<\/h2><dl><dt>amount<\/dt><dd><b class="fraud">\+90\.0<\/b>/)
  expect(text).toContain('<b class="legit">−2.0</b>')
  expect(text).toContain('not the cause')
  const without = await (await startDesk([row])).client().get(`/desk/${idOf(row)}`)
  expect(without.status).toBe(200)
  expect(without.text).not.toContain('<h2>Why</h2>')
})

test('a row of the audit is not explained before somebody has judged it', async () => {
  const row = prediction(1, { sampled: 0.01 })
  let asked = 0
  const why = async () => {
    asked++
    return undefined
  }
  const d = await startDesk([row], { why })
  await d.client().get(`/desk/${idOf(row)}`)
  expect(asked).toBe(0)
})
