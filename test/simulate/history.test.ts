import { expect, test } from 'vitest'
import { history } from '../../src/simulate/history.ts'

const end = Date.UTC(2026, 4, 5, 16, 20)

test('runs through the last days in the order of time', () => {
  const times = [...history({ rows: 2000, seed: 1, end, days: 30 })].map((row) => row.current_time)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(times[0]).toBeGreaterThanOrEqual(end - 30 * 86_400_000)
  expect(times[0]).toBeLessThan(end - 29 * 86_400_000)
  expect(times.at(-1)).toBeLessThanOrEqual(end)
  expect(times.at(-1)).toBeGreaterThan(end - 86_400_000)
})

test('a small history has enough frauds to learn from', () => {
  for (let seed = 0; seed < 10; seed++) {
    const rows = [...history({ rows: 1000, seed, end })]
    const frauds = (list: typeof rows) => list.filter((row) => row.is_fraud === 1).length
    expect(Math.abs(frauds(rows) - 20)).toBeLessThanOrEqual(1)
    expect(frauds(rows.slice(0, 800))).toBeGreaterThanOrEqual(10)
  }
})

test('honest cards sleep at night, stolen ones do not', () => {
  const rows = [...history({ rows: 5000, seed: 1, end, fraudShare: 0.1 })]
  const atNight = (label: 0 | 1) => {
    const hours = rows.filter((row) => row.is_fraud === label).map((row) => new Date(row.current_time).getUTCHours())
    return hours.filter((hour) => hour >= 22 || hour < 4).length / hours.length
  }
  expect(atNight(0)).toBeLessThan(0.2)
  expect(atNight(1)).toBeGreaterThan(0.4)
})
