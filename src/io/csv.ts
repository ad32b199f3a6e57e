import { grouped } from './text.ts'

/** One line of CSV (RFC 4180, but with a bare newline): quoted only where it must be, null as nothing. */
export const csvLine = (values: readonly unknown[]) => `${values.map(cell).join(',')}\n`

const cell = (value: unknown) => {
  const text = String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A text that a spreadsheet would take for a formula, behind signs that it skips too, made a text again. */
export const defuse = (value: unknown) =>
  typeof value === 'string' && /^(?:[\t\r]|[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠])/u.test(value) ? `'${value}` : value

/** characters of a row, at most */
const LONGEST = 1_000_000
/** From some line on it is no CSV. */
export class BadCsv extends Error {}

/**
 * The rows of a CSV (RFC 4180) in lists, as it comes, each row a list of its cells; empty lines are none. Throws BadCsv where
 * it is none, after the rows before.
 */
export async function* csvRows(pieces: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string[][], void> {
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y
  let [text, line] = ['', 0]
  let fault: string | undefined
  /** Takes the rows that are whole; the last one that there is may go on in the next piece. */
  function taken(isLast: boolean): string[][] {
    const rows: string[][] = []
    let row: string[] = []
    let end = 0
    for (cells.lastIndex = 0; cells.lastIndex < text.length; ) {
      const found = cells.exec(text)
      const isOpen = !isLast && (!found || cells.lastIndex === text.length)
      if (isOpen && text.length - end <= LONGEST) break
      if (!found) fault = 'has a quote where none can be'
      else if (isOpen) fault = `has more than ${grouped(LONGEST)} characters`
      if (!found || isOpen) break
      row.push(found[1]?.replaceAll('""', '"') ?? found[2]!)
      if (found[3] === ',' && cells.lastIndex < text.length) continue
      if (found[3] === ',') row.push('')
      if (row.length > 1 || row[0] !== '') rows.push(row)
      row = []
      end = cells.lastIndex
    }
    text = text.slice(end)
    line += rows.length
    return rows
  }
  for await (const piece of pieces) {
    text += line === 0 && text === '' ? piece.replace(/^\ufeff/, '') : piece
    yield taken(false)
    if (fault) break
  }
  if (!fault) yield taken(true)
  if (fault) throw new BadCsv(`line ${line + 1} of the CSV ${fault}`)
}
