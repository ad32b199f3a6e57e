import { expect, test } from 'vitest'
import { type Counted, rateLimit } from '../../src/alert/rate-limit.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const NOW = Date.UTC(2026, 4, 5, 12, 0, 30)
const counting = (limit: number, times: number[], counted: Counted = []) => {
  const daily = rateLimit(limit, counted)
  for (const time of times) daily.count(time)
  return daily
}

test('lets the limit through, and not one more', () => {
  const daily = rateLimit(3, [])
  for (const left of [3, 2, 1]) {
    expect([daily.left(NOW), daily.wait(NOW)]).toEqual([left, 0])
    daily.count(NOW)
  }
  expect(daily.left(NOW)).toBe(0)
  expect(daily.wait(NOW)).toBeGreaterThan(0)
})

test('never has more than the limit in any 24 h, and wastes less than two minutes of them', () => {
  const limit = 5
  const daily = rateLimit(limit, [])
  const sent: number[] = []
  for (let now = NOW; sent.length < 40; now += Math.max(1, daily.wait(now))) {
    if (daily.wait(now) > 0) continue
    daily.count(now)
    sent.push(now)
  }
  const distances = sent.slice(limit).map((time, i) => time - sent[i]!)
  expect(Math.min(...distances)).toBeGreaterThanOrEqual(DAY)
  expect(Math.max(...distances)).toBeLessThan(DAY + 2 * MINUTE)
})

test('says how long to wait: until the oldest mail is a day old', () => {
  const daily = counting(2, [NOW - DAY / 2, NOW - 1000])
  const wait = daily.wait(NOW)
  expect(wait).toBeGreaterThan(DAY / 2 - MINUTE)
  expect(wait).toBeLessThanOrEqual(DAY / 2 + MINUTE)
  expect(daily.wait(NOW + wait - 1)).toBeGreaterThan(0)
  expect([daily.wait(NOW + wait), daily.left(NOW + wait)]).toEqual([0, 1])
})

test('goes on with what an earlier process counted, through JSON', () => {
  const earlier = counting(3, [NOW - 5 * MINUTE, NOW - 1, NOW])
  const counted = JSON.parse(JSON.stringify(earlier.counted()))
  expect(rateLimit(3, counted).wait(NOW)).toBe(earlier.wait(NOW))
  expect(rateLimit(4, counted).left(NOW)).toBe(1)
})

test('a lower limit than before waits, and does not go below nothing', () => {
  const daily = counting(1, [], [[Math.floor(NOW / MINUTE), 9]])
  expect(daily.left(NOW)).toBe(0)
  expect(daily.wait(NOW)).toBeGreaterThan(0)
})

test('keeps one number a minute, for a day', () => {
  const daily = rateLimit(1e9, [])
  for (let now = NOW; now < NOW + 2 * DAY; now += 20_000) daily.count(now)
  daily.wait(NOW + 2 * DAY)
  expect(daily.counted().length).toBeLessThanOrEqual(1441)
  expect(daily.counted().at(-2)?.[1]).toBe(3)
})

test('a clock that was set back holds nothing for longer than a day', () => {
  const daily = counting(1, [NOW + 3650 * DAY])
  expect(daily.wait(NOW)).toBeLessThanOrEqual(DAY + MINUTE)
  expect(daily.wait(NOW + DAY + MINUTE)).toBe(0)
})
