import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { sampler } from '../../src/review/sample.ts'
import { prediction } from '../rows.ts'

const rows = Array.from({ length: 50_000 }, (_, n) => prediction(n))
const secret = 'a secret of sixteen'
const drawn = (perDay: number, key = secret) => {
  const sample = sampler({ perDay, rowsPerDay: 7200, secret: key })
  return rows.filter((row) => sample(row) !== null).map(({ trans_num }) => trans_num)
}

test('an alarm is looked at for sure, and of the others about as many as are asked for', () => {
  const sample = sampler({ perDay: 20, rowsPerDay: 7200, secret })
  expect(sample(prediction(1, { prediction: 1 }))).toBe(1)
  const shares = rows.map(sample).filter((share) => share !== null)
  expect(new Set(shares)).toEqual(new Set([20 / 7200]))
  expect(Math.abs(shares.length - (rows.length * 20) / 7200)).toBeLessThan(3 * Math.sqrt((rows.length * 20) / 7200))
})

test('the same rows are drawn again, with more asked for more; another secret draws others', () => {
  const some = drawn(20)
  expect(drawn(20)).toEqual(some)
  const more = drawn(200)
  expect(some.filter((row) => !more.includes(row))).toEqual([])
  expect(drawn(20, 'another secret')).not.toEqual(some)
  expect(drawn(0)).toEqual([])
  expect(drawn(1_000_000)).toHaveLength(rows.length)
})

test('another process draws the same, rows that come in another order or again too', () => {
  const code = `import { sampler } from './src/review/sample.ts'
import { prediction } from './test/rows.ts'
const sample = sampler({ perDay: 20, rowsPerDay: 7200, secret: ${JSON.stringify(secret)} })
const rows = Array.from({ length: 50_000 }, (_, n) => prediction(49_999 - n))
const drawn = [...rows, ...rows].filter((row) => sample(row) !== null).map(({ trans_num }) => trans_num)
console.log(JSON.stringify([...new Set(drawn)].sort()))`
  const there = execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })
  expect(JSON.parse(there)).toEqual(drawn(20).sort())
})

test('the weights of those that are drawn add up to all there are, within three standard deviations', () => {
  for (const perDay of [20, 72, 720]) {
    const sample = sampler({ perDay, rowsPerDay: 7200, secret })
    const weights = rows.map(sample).flatMap((share) => (share === null ? [] : 1 / share))
    const deviation = Math.sqrt(rows.length * (7200 / perDay - 1))
    expect(Math.abs(weights.reduce((sum, one) => sum + one, 0) - rows.length)).toBeLessThan(3 * deviation)
  }
})
