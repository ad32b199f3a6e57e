import { expect, test } from 'vitest'
import { csv } from '../../src/simulate/csv.ts'
import { history } from '../../src/simulate/history.ts'

const end = Date.UTC(2026, 4, 5)
const print = (seed: number, rows = 1200) => [...csv({ rows, seed, end })].join('')
/** Cells of one line; quotes around a cell are taken off, doubled ones made one. */
const cells = (line: string) =>
  [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map((m) => m[1]?.replaceAll('""', '"') ?? m[2]!)

test('prints the header and the indexed rows of the training file', () => {
  const lines = print(1).split('\n')
  expect(lines[0]).toBe(
    ',trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,dob,trans_num,unix_time,merch_lat,merch_long,is_fraud',
  )
  expect(lines.at(-1)).toBe('')
  const rows = lines.slice(1, -1).map(cells)
  expect(rows.map((row) => row[0])).toEqual(Array.from({ length: 1200 }, (_, i) => String(i)))
  const truth = [...history({ rows: 1200, seed: 1, end })]
  rows.forEach((row, i) => {
    const { cc_num, merchant, amt, job, merch_long, is_fraud } = truth[i]!
    expect(row).toHaveLength(23)
    expect([row[2], row[3], row[5], row[16], row[21], row[22]]).toEqual(
      [cc_num, merchant, amt, job, merch_long, is_fraud].map(String),
    )
  })
})

test('unix_time is in seconds and the same time as trans_date_trans_time in UTC', () => {
  for (const line of print(2).split('\n').slice(1, -1)) {
    const row = cells(line)
    expect(row[1]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
    expect(Number(row[19])).toBe(Date.parse(`${row[1]!.replace(' ', 'T')}Z`) / 1000)
  }
})

test('quotes only what needs quotes', () => {
  const quoted = print(3).match(/"[^"]*"/g)!
  expect(quoted.length).toBeGreaterThan(0)
  expect(quoted.every((cell) => cell.includes(','))).toBe(true)
})

test('the same seed and end print the same file, another seed another one', () => {
  expect(print(4)).toBe(print(4))
  expect(print(4)).not.toBe(print(5))
})

test('yields the lines in chunks, the first without making the rest', () => {
  const chunks = csv({ rows: 1_000_000, seed: 1, end })
  expect((chunks.next().value as string).split('\n')).toHaveLength(502)
  chunks.return(undefined)
})
