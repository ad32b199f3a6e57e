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
