import fc from 'fast-check'
import { expect, test } from 'vitest'
import { csvLine, defuse } from '../../src/io/csv.ts'
import { LONG_CARD } from '../rows.ts'

/** One line of RFC 4180, read character by character. */
function readLine(line: string): string[] {
  const cells: string[] = []
  let cell = ''
  let quoted = false
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!
    if (quoted && c === '"' && line[i + 1] === '"') cell += line[i++]
    else if (c === '"') quoted = !quoted
    else if (quoted || (c !== ',' && c !== '\n')) cell += c
    else {
      cells.push(cell)
      cell = ''
      if (c === '\n') expect(i).toBe(line.length - 1)
    }
  }
  expect({ quoted, cell }).toEqual({ quoted: false, cell: '' })
  return cells
}

test('a line is read back cell by cell, whatever is in the cells', () => {
  const cell = fc.string({
    unit: fc.oneof(fc.constantFrom(...'",\r\n\' '), fc.string({ unit: 'binary', maxLength: 1 })),
  })
  fc.assert(
    fc.property(fc.array(cell, { minLength: 1 }), (cells) => {
      expect(readLine(csvLine(cells))).toEqual(cells)
    }),
  )
})

test.for<[unknown, string]>([
  ['plain text', 'plain text'],
  ["O'Neil", "O'Neil"],
  ['Kutch, Hermiston and Farrell', '"Kutch, Hermiston and Farrell"'],
  ['the "best"', '"the ""best"""'],
  ['two\nlines', '"two\nlines"'],
  ['two\rlines', '"two\rlines"'],
  [LONG_CARD, '4992346398065154184'],
  [-89.5, '-89.5'],
  [0, '0'],
  [false, 'false'],
  [null, ''],
  [undefined, ''],
])('%o becomes %o: quoted only where it must be', ([value, cell]) => {
  expect(csvLine([value, 'end'])).toBe(`${cell},end\n`)
})

test.for(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1'])('the formula %o becomes a text', (formula) => {
  expect(defuse(formula)).toBe(`'${formula}`)
})

test.for(['plain', 'a=b', "O'Neil", '', -89.5, 12n, null, undefined])('%s stays as it is', (value) => {
  expect(defuse(value)).toBe(value)
})
