import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BadCsv, csvLine, csvRows, defuse } from '../../src/io/csv.ts'
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

test('rows are read as they come, wherever they are cut, with any end of a line', async () => {
  const cell = fc.string({ unit: fc.constantFrom(...'",\r\n\' aé') })
  const rows = fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 6 })
  const end = fc.constantFrom('\n', '\r\n', '\r', '\n\n')
  await fc.assert(
    fc.asyncProperty(rows, end, fc.array(fc.nat(20)), async (rows, end, cuts) => {
      let text = `\ufeff${rows.map((row) => csvLine(row).replace(/\n$/, end)).join('')}`
      const pieces = cuts.map((cut) => {
        const piece = text.slice(0, cut)
        text = text.slice(cut)
        return piece
      })
      const read = (await Array.fromAsync(csvRows([...pieces, text]))).flat()
      expect(read).toEqual(rows.filter((row) => row.length > 1 || row[0] !== ''))
    }),
  )
})
test('where it is no CSV it says so, after the rows before, and keeps no more than a row', async () => {
  const rows: string[][] = []
  async function until(pieces: Iterable<string>) {
    for await (const some of csvRows(pieces)) rows.push(...some)
  }
  await expect(until(['a,b\n1,"2', '"x\n3,4\n'])).rejects.toEqual(
    new BadCsv('line 2 of the CSV has a quote where none can be'),
  )
  expect(rows).toEqual([['a', 'b']])
  for (const [piece, what] of [
    ['x'.repeat(1000), 'has more than 1,000,000 characters'],
    ['"'.padEnd(1000), 'has a quote where none can be'],
  ] as const) {
    let read = 0
    function* endless() {
      for (; ; read += piece.length) yield read === 0 ? `a,b\n${piece}` : piece.replace('"', ' ')
    }
    await expect(until(endless())).rejects.toThrow(`line 2 of the CSV ${what}`)
    expect(read).toBeLessThan(1_100_000)
  }
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
